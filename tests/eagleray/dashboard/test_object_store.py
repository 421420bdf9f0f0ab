"""The dashboard over an object store that speaks S3."""

from __future__ import annotations

import json
import time

import pytest
from experiments.benchmarks.fake_store import FakeRun, write_run
from experiments.benchmarks.fake_sweep import FakeSweep, write_sweep_of
from tests.eagleray.dashboard.visitor import Visitor, text, values
from tests.eagleray.prepare.test_object_store import bucket  # noqa: F401

from eagleray.browse import index as index_module
from eagleray.browse import sweep_index
from eagleray.storage import Store


@pytest.fixture
def storage(bucket):  # noqa: F811
    uri = f"{bucket}/dashboard"
    for seed in range(2):
        write_run(uri, FakeRun("exp", f"main-{seed}", seed=seed, points=30, pictures=3), side_px=24)
    return uri


def test_every_page_is_shown_from_an_object_store(storage, tmp_path, monkeypatch):
    visitor = Visitor(storage, tmp_path / "cache")
    runs = text(visitor.open("/", "?sort=run"))
    assert "2 runs" in runs
    assert "exp/main-0 seamseg evaluated 30 val: miou" in runs
    assert len(values(visitor.open("/run/exp/main-0"), "figure")) > 3
    assert "step 10" in text(visitor.open("/run/exp/main-0", "?tab=log"))
    assert "scene-broken" in text(visitor.open("/run/exp/main-0", "?tab=rejects"))
    gallery = visitor.open("/gallery", "?run=exp/main-0")
    for address in values(gallery, "src"):
        assert visitor.client.get(address).mimetype == "image/jpeg"

    monkeypatch.setattr(index_module, "_REFRESH_REMOTE_S", -1.0)
    run = Store(storage).child("runs/exp/main-0")
    summary = json.loads(run.read("summary.json"))
    run.write("summary.json", json.dumps({**summary, "state": "failed"}).encode())
    end = time.monotonic() + 20
    while "failed" not in text(visitor.open("/")) and time.monotonic() < end:
        time.sleep(0.2)
    assert "failed" in text(visitor.open("/"))


def test_sweeps_are_shown_from_an_object_store(storage, tmp_path, monkeypatch):
    sweep = write_sweep_of(storage, FakeSweep("exp", "lr-2", "search", 4, runs=["exp/main-0"]))
    visitor = Visitor(storage, tmp_path / "cache")
    assert "exp/lr-2 seamseg search" in text(visitor.open("/sweeps"))
    before = visitor.open("/sweep/exp/lr-2")
    assert "4 trials" in text(before)
    assert "/run/exp/main-0" in values(before, "href")
    assert len(values(before, "figure")) == 2

    monkeypatch.setattr(sweep_index, "_REFRESH_REMOTE_S", -1.0)
    sweep.write("trials/trial-0001.json", b'{"id": "trial')
    answer = visitor.follow("/sweep/exp/lr-2", is_tick=True, before=before)
    assert "3 trials" in text(answer)
    assert "trials/trial-0001.json" in text(answer)
