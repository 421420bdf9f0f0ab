"""Shards on a pool of Ray actors: Ray Data schedules, workers commit, small entries come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import ray
from ray.exceptions import RayError

from eagleray.prepare.canonical import canonical_json
from eagleray.prepare.fit import run_fit
from eagleray.prepare.journal import MemoryJournal, Suspects
from eagleray.prepare.manifest import ShardEntry, entry_of
from eagleray.prepare.worker import StageJob, StageWorker
from eagleray.scheduling import WorkerGroup
from eagleray.task import EaglerayError

_SETUP_DEATHS_ALLOWED = 2
"""Workers per place in the pool that may die in ``setup`` before the job gives up."""


class _RemoteJournal:
    """A journal kept by an actor; picklable, answers when the note is taken."""

    def __init__(self) -> None:
        actor = ray.remote(num_cpus=0, max_restarts=0)(MemoryJournal)
        self._actor: Any = actor.remote()

    def starting(self) -> int:
        return int(ray.get(self._actor.starting.remote()))

    def started(self) -> None:
        ray.get(self._actor.started.remote())

    def begin(self, shard_id: str) -> Suspects:
        suspects: Suspects = ray.get(self._actor.begin.remote(shard_id))
        return suspects

    def at(self, shard_id: str, item_idx: int) -> None:
        ray.get(self._actor.at.remote(shard_id, item_idx))

    def end(self, shard_id: str) -> None:
        ray.get(self._actor.end.remote(shard_id))


class _PoolWorker:
    """What Ray Data runs: gets the position of a shard, returns its entry."""

    def __init__(self, job: Any, journal: _RemoteJournal, num_workers: int) -> None:
        stage_job: StageJob = ray.get(job[0])
        died = journal.starting()
        if died > _SETUP_DEATHS_ALLOWED * num_workers:
            raise EaglerayError(
                f"stage {stage_job.stage.label}: workers died {died} times in setup; "
                "run it with --inline to see where"
            )
        self._worker = StageWorker(stage_job, journal)
        journal.started()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        results = [self._worker.run(int(position)) for position in batch["item"]]
        return {
            "entry": [canonical_json(asdict(entry_of(marker))).decode() for marker, _ in results],
            "seconds": [seconds for _, seconds in results],
        }


def compute_on_ray(job: StageJob, group: WorkerGroup) -> Iterator[tuple[ShardEntry, float]]:
    """Compute the job's shards on a pool of actors; yields each one's entry and seconds as it is committed.

    Args:
        job: What to do.
        group: The workers, which must fit on the cluster.

    Raises:
        EaglerayError: A worker could not be set up, or the storage failed.
    """
    num_workers = min(group.num_workers, len(job.shards))
    positions = ray.data.from_items(
        list(range(len(job.shards))), override_num_blocks=len(job.shards)
    )
    computed = positions.map_batches(
        _PoolWorker,
        fn_constructor_args=([ray.put(job)], _RemoteJournal(), num_workers),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=num_workers),
        **_request(group),
    )
    try:
        for row in computed.iter_rows():
            yield ShardEntry(**json.loads(row["entry"])), float(row["seconds"])
    except RayError as error:
        raise _own_error(error, job) from error


def fit_on_ray(job: StageJob, group: WorkerGroup) -> None:
    """Run ``Stage.fit`` on a worker of the cluster."""
    remote = ray.remote(max_retries=0)(run_fit).options(**_request(group))
    arguments = (job.stage, job.listing, dict(job.upstream), job.fit_digest, job.device)
    try:
        ray.get(remote.remote(*arguments))
    except RayError as error:
        raise _own_error(error, job) from error


def _request(group: WorkerGroup) -> dict[str, float]:
    request: dict[str, float] = {"num_cpus": group.cpus}
    if group.gpus:
        request["num_gpus"] = group.gpus
    if group.memory_gb:
        request["memory"] = group.memory_gb * 1e9
    return request


def _own_error(error: RayError, job: StageJob) -> EaglerayError:
    """Return the error that a worker raised, with its own traceback's text where it is not ours."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EaglerayError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return EaglerayError(f"stage {job.stage.label} failed on a worker:\n{error}")
