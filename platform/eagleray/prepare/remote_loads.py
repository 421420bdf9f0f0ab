"""``Stage.load`` in CPU-only tasks on other machines (``Resources.remote_loads``), for stages whose
decoding needs more CPUs than stand beside the device.

The worker keeps its shard, its order and its commits; only samples travel. Each process that loads
sets the stage up once, on the CPU.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import ray
from ray.util.placement_group import NODE_ID_LABEL_KEY

from eagleray.prepare.loads import LoadElsewhere
from eagleray.prepare.worker import StageJob
from eagleray.task import EaglerayError, Item, Stage

_PATIENCE_S = 60.0
"""A sample that is not there after so long is loaded by the worker: no other machine is free."""

_set_up: dict[str, Stage] = {}
"""The stage that this process has set up, by the id of its job."""


def load_elsewhere(job: StageJob, reference: Any) -> LoadElsewhere | None:
    """Return what loads items of a job on other machines than this process'; None where the stage
    does not ask for it or no other machine has a CPU.

    Args:
        job: The job.
        reference: The same in Ray's object store.
    """
    own = ray.get_runtime_context().get_node_id()
    if not job.run.stage.resources.remote_loads or not _nodes_with_cpus() - {own}:
        return None
    task = ray.remote(num_cpus=1, max_retries=0, label_selector={NODE_ID_LABEL_KEY: f"!{own}"})(
        _load
    )

    def load(item: Item) -> Any:
        if not _nodes_with_cpus() - {own}:
            raise EaglerayError("no other machine has a CPU")
        answer = task.remote([reference], reference.hex(), item)
        try:
            content: bytes = ray.get(answer, timeout=_PATIENCE_S)
        except ray.exceptions.GetTimeoutError:
            ray.cancel(answer)
            raise
        return pickle.loads(content)

    return load


def _load(reference: list[Any], job_id: str, item: Item) -> bytes:
    """Return a loaded sample as bytes, of which its arrays are copies that may be written to; what
    Ray unpacks by itself may not.
    """
    stage = _set_up.get(job_id)
    if stage is None:
        job: StageJob = ray.get(reference[0])
        stage = copy.copy(job.run.stage)
        stage.setup("cpu", job.run.upstream, job.fitted)
        _set_up.clear()
        _set_up[job_id] = stage
    return ray.cloudpickle.dumps(stage.load(item))  # type: ignore[no-any-return]


def _nodes_with_cpus() -> set[str]:
    """Return the ids of the living machines on which a task of one CPU has a place."""
    return {
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0.0) >= 1
    }
