"""A small store with a dashboard over it."""

from __future__ import annotations

import shutil

import pytest
from experiments.benchmarks.fake_store import FakeRun, write_run
from tests.eagleray.dashboard.visitor import Visitor


@pytest.fixture(scope="session")
def written_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    for seed in range(3):
        fake = FakeRun("exp", f"main-{seed}", seed=seed, points=40, pictures=9)
        write_run(str(folder), fake, side_px=24)
    failed = FakeRun("other", "main-7", "ops", seed=7, points=20, pictures=0, state="failed")
    write_run(str(folder), failed)
    return folder


@pytest.fixture
def storage(tmp_path, written_store):
    """A copy that the test may damage."""
    return shutil.copytree(written_store, tmp_path / "store")


@pytest.fixture
def visitor(storage, tmp_path, monkeypatch):
    monkeypatch.setattr("eagleray.results.index._REFRESH_LOCAL_S", -1.0)
    return Visitor(storage, tmp_path / "cache")
