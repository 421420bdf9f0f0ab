"""Loading ahead in threads and in other processes, which may fail at any item."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.eagleray.stages import Squares, folder_of, tree

from eagleray.prepare.loads import Loads
from eagleray.prepare.shard import ShardWorker
from eagleray.task import InputError, Resources

ROOT = Path(__file__).resolve().parents[3]


class Elsewhere:
    """Another process, played by a function that cannot load some items."""

    def __init__(self, stage, failing=()):
        self._stage, self._failing = stage, failing
        self.asked, self.most, self._now = [], 0, 0
        self._lock = threading.Lock()

    def __call__(self, item):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.asked.append(item.payload["number"])
        try:
            if item.payload["number"] in self._failing:
                raise ConnectionError("that machine is gone")
            threading.Event().wait(0.002)
            return self._stage.load(item)
        finally:
            with self._lock:
                self._now -= 1


def compute(stage, folder, elsewhere=None, places=0):
    folder = folder_of(folder)
    loads = Loads(stage, elsewhere, places)
    with ShardWorker(stage, folder, loads=loads) as worker:
        shard = worker.compute("0123456789abcdef", list(stage.items({})))
        return worker.commit(shard), shard


def test_what_others_load_changes_no_byte(tmp_path):
    stage = Squares(40, bad=[7, 8], files=True, batch_size=3, loader_threads=2)
    elsewhere = Elsewhere(stage, failing=range(20, 30))
    alone, _ = compute(stage, tmp_path / "a")
    helped, _ = compute(stage, tmp_path / "b", elsewhere, places=3)
    assert alone == helped and tree(tmp_path / "a") == tree(tmp_path / "b")
    assert [reject.key for reject in helped.rejected] == ["n00007", "n00008"]
    assert elsewhere.asked and elsewhere.most <= 3


def test_an_error_is_the_stages_own_wherever_it_was_tried():
    stage = Squares(1, bad=[0])
    loads = Loads(stage, Elsewhere(stage), places=8)
    (item,) = stage.items({})
    for future in [loads.submit(item) for _ in range(16)]:
        with pytest.raises(InputError, match="0 is bad"):
            future.result()
    loads.close()


def test_no_places_elsewhere_without_anybody_there():
    stage = Squares(1, resources=Resources(loader_threads=3, remote_loads=5))
    assert Loads(stage, None, 5).num_places == 3
    assert Loads(stage, Elsewhere(stage), 5).num_places == 8


def test_time_without_a_sample_counts_as_waiting(tmp_path, monkeypatch):
    ticks = itertools.count()  # one between the two looks at the clock around each sample
    clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr("eagleray.prepare.shard.time", clock)
    _, shard = compute(Squares(8), tmp_path)
    assert shard.waited_s == 8.0


@pytest.mark.slow
def test_loads_go_to_a_machine_too_small_for_the_workers(tmp_path):
    command = [sys.executable, "-m", "tests.eagleray.prepare.two_machines_job", str(tmp_path)]
    job = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=500)
    assert job.returncode == 0, job.stderr.decode()[-3000:]
    found = json.loads(job.stdout.decode().splitlines()[-1])
    alone, helped = found["alone"], found["helped"]
    assert len(alone["loaded_on"]) == 1 and len(alone["computed_on"]) == 1
    assert len(helped["loaded_on"]) == 2, "some on the small machine"
    assert len(helped["computed_on"]) == 1, "the worker keeps its shards"
    assert helped["waited_s"] < 0.7 * alone["waited_s"]
    assert helped["shown"] < alone["shown"]
    assert tree(tmp_path / "alone") == tree(tmp_path / "helped")
    alone, helped = found["streamed_alone"], found["streamed"]
    assert [len(one["loaded_on"]) for one in (alone, helped)] == [1, 2]
    assert [len(one["computed_on"]) for one in (alone, helped)] == [1, 1]
    assert alone["squares"] == helped["squares"] == [float(n**2) for n in range(48)]
    assert helped["took_s"] < 0.7 * alone["took_s"]
