"""A small made-up store for tests: four runs of two experiments, ablations and a search."""

from __future__ import annotations

import shutil

import pytest
from experiments.benchmarks.fake_store import FakeRun, write_run
from experiments.benchmarks.fake_sweep import FakeSweep, write_sweep_of

POINTS = 40
RUNS = ("exp/main-0", "exp/main-1", "exp/main-2")


@pytest.fixture(scope="session")
def written_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    for seed, name in enumerate(RUNS):
        experiment, run = name.split("/")
        fake = FakeRun(experiment, run, seed=seed, points=POINTS, pictures=9, layers=7)
        write_run(str(folder), fake, side_px=48)
    failed = FakeRun("other", "main-7", "ops", seed=7, points=20, pictures=0, state="failed")
    write_run(str(folder), failed)
    write_sweep_of(str(folder), FakeSweep("exp", "heads-1", runs=RUNS))
    write_sweep_of(str(folder), FakeSweep("exp", "lr-2", "search", 21, runs=RUNS))
    return folder


@pytest.fixture
def storage(tmp_path, written_store):
    """A copy that the test may change and damage."""
    return shutil.copytree(written_store, tmp_path / "store")
