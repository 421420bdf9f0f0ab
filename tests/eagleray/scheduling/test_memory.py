"""What memory killers have ended is counted where kernel and Ray say so."""

from __future__ import annotations

from types import SimpleNamespace

import ray
from ray._private.state import state
from ray.core.generated import common_pb2, gcs_pb2

from eagleray.scheduling import memory_kills
from eagleray.scheduling.memory import _kernel_kills, _ray_kills


def test_the_kernels_count_is_read(tmp_path):
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 12\noom_kill 3\nnr_dirty 0\n")
    assert _kernel_kills(counters) == 3
    assert _kernel_kills(tmp_path / "nowhere") == 0


def test_workers_that_rays_monitor_killed_are_counted(monkeypatch):
    def entry(exit_type):
        return gcs_pb2.WorkerTableData(exit_type=exit_type).SerializeToString()

    table = [
        entry(common_pb2.NODE_OUT_OF_MEMORY),
        entry(common_pb2.SYSTEM_ERROR),
        entry(common_pb2.INTENDED_USER_EXIT),
    ]
    accessor = SimpleNamespace(get_worker_table=lambda: table)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(state, "_connect_and_get_accessor", lambda: accessor)
    assert _ray_kills() == 1


def test_without_ray_nothing_is_asked_of_it(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert _ray_kills() == 0 and memory_kills() >= 0
