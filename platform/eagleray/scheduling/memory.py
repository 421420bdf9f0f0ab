"""What memory killers have ended: that of Ray (its memory monitor), which kills a worker before the
machine is full, and that of the kernel, which leaves nothing but a SIGKILL and a count.
"""

from __future__ import annotations

import logging
from pathlib import Path

_VMSTAT = Path("/proc/vmstat")
_CGROUP = Path("/sys/fs/cgroup/memory.events")

_log = logging.getLogger(__name__)


def memory_kills() -> int:
    """Return how many processes memory killers have ended so far: Ray's on all nodes, the kernel's
    on this one. The difference of two calls tells whether one did meanwhile.
    """
    return _kernel_kills(_VMSTAT) + _kernel_kills(_CGROUP) + _ray_kills()


def _kernel_kills(counters: Path) -> int:
    """Return the kernel's count of processes that it killed for memory; 0 where it keeps none."""
    try:
        lines = counters.read_text().splitlines()
    except OSError:
        return 0
    counts = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(counts.get("oom_kill", 0))


def _ray_kills() -> int:
    """Return how many workers the memory monitors of Ray's nodes have killed; 0 without Ray."""
    import ray

    if not ray.is_initialized():
        return 0
    from ray._private.state import state
    from ray.core.generated import common_pb2, gcs_pb2

    try:
        table = state._connect_and_get_accessor().get_worker_table()
        workers = [gcs_pb2.WorkerTableData.FromString(entry) for entry in table]
    except Exception as error:  # private to Ray: without it deaths only lose their name
        _log.warning("Ray does not say which workers its memory monitor killed: %s", error)
        return 0
    return sum(worker.exit_type == common_pb2.NODE_OUT_OF_MEMORY for worker in workers)
