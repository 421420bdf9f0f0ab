"""``Stage.load`` in CPU-only tasks on other machines (``Resources.remote_loads``), for stages whose
decoding needs more CPUs than stand beside the device.

The worker keeps its shard, its order and its commits; only samples travel. Each process that loads
sets the stage up once, on the CPU. Rows that are computed on demand are loaded in the same way.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any, Protocol

import ray
from ray.util.placement_group import NODE_ID_LABEL_KEY

from eagleray.prepare.listing import Listing
from eagleray.prepare.loads import LoadElsewhere
from eagleray.prepare.survey import StageRun
from eagleray.task import EaglerayError, Item, Stage

_PATIENCE_S = 60.0
"""A sample that is not there after so long is loaded by the worker: no other machine is free."""

_set_up: dict[str, Stage] = {}
"""The stage that this process has set up, by what it computes."""


class Work(Protocol):
    """What a process must know to load items of a stage: a job, or rows computed on demand."""

    @property
    def run(self) -> StageRun:
        """The stage, its folder, and the rows that it reads."""
        ...

    @property
    def listing(self) -> Listing:
        """Its inputs."""
        ...

    @property
    def fit_digest(self) -> str:
        """Name of what ``fit`` found."""
        ...

    @property
    def fitted(self) -> Mapping[str, Any]:
        """What it found."""
        ...


def load_elsewhere(job: Work, reference: Any = None) -> LoadElsewhere | None:
    """Return what loads items of a stage on other machines than this process'; None where the stage
    does not ask for it or no other machine has a CPU.

    Args:
        job: The stage and its inputs.
        reference: The same in Ray's object store, where it is there already.
    """
    own = ray.get_runtime_context().get_node_id()
    if not job.run.stage.resources.remote_loads or not _nodes_with_cpus() - {own}:
        return None
    held = [ray.put(job) if reference is None else reference]
    # Not the reference: several processes that read rows of one stage each have their own.
    name = f"{job.run.folder.uri} {job.run.stage.label} {job.listing.digest} {job.fit_digest}"
    task = ray.remote(num_cpus=1, max_retries=0, label_selector={NODE_ID_LABEL_KEY: f"!{own}"})(
        _load
    )

    def load(item: Item) -> Any:
        if not _nodes_with_cpus() - {own}:
            raise EaglerayError("no other machine has a CPU")
        answer = task.remote(held, name, item)
        try:
            # Not ``ray.get``, which scolds threads of an asynchronous actor.
            content: bytes = answer.future().result(_PATIENCE_S)
        except TimeoutError:
            ray.cancel(answer)
            raise
        return pickle.loads(content)

    return load


def _load(held: list[Any], name: str, item: Item) -> bytes:
    """Return a loaded sample as bytes, of which its arrays are copies that may be written to; what
    Ray unpacks by itself may not.
    """
    stage = _set_up.get(name)
    if stage is None:
        job: Work = ray.get(held[0])
        stage = copy.copy(job.run.stage)
        stage.setup("cpu", job.run.upstream, job.fitted)
        _set_up.clear()
        _set_up[name] = stage
    return ray.cloudpickle.dumps(stage.load(item))  # type: ignore[no-any-return]


def _nodes_with_cpus() -> set[str]:
    """Return the ids of the living machines on which a task of one CPU has a place."""
    return {
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0.0) >= 1
    }
