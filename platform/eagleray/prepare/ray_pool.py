"""Shards on a pool of Ray actors: Ray Data schedules, workers commit, small entries come back."""

from __future__ import annotations

import json
import os
import pickle
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import ray

from eagleray.prepare.canonical import canonical_json
from eagleray.prepare.fit import run_fit
from eagleray.prepare.journal import MemoryJournal, Suspects
from eagleray.prepare.manifest import ShardEntry, entry_of
from eagleray.prepare.shard import ComputedShard, DeviceLostError
from eagleray.prepare.worker import StageJob, StageWorker
from eagleray.scheduling import WorkerGroup
from eagleray.task import EaglerayError, Item

_SETUP_DEATHS_ALLOWED = 2
"""Workers per place in the pool that may die in ``setup`` before the job gives up."""


class WorkerError(RuntimeError):
    """An error on a worker that is neither a bad item nor a user's mistake, with its traceback."""


class _Coordinator(MemoryJournal):
    """An actor that holds the job and its journal, so that workers can be restarted anywhere."""

    def __init__(self, job: StageJob) -> None:
        super().__init__()
        self._job = job

    def job(self) -> StageJob:
        return self._job


class _RemoteJournal:
    """The coordinator as workers see it; calls that matter return when the note is taken."""

    def __init__(self, coordinator: Any) -> None:
        self._actor = coordinator

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
        self._actor.end.remote(shard_id)


class _PoolWorker:
    """What Ray Data runs: gets the position of a shard, returns its entry or what went wrong.

    Errors travel as data, because Ray would lose their type.
    """

    def __init__(self, coordinator: Any, num_workers: int) -> None:
        self._failure = b""
        self._compute = ThreadPoolExecutor(1, "compute")
        try:
            self._worker = self._compute.submit(_set_up, coordinator, num_workers).result()
        except Exception as error:
            self._failure = _pickled(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        entry, seconds = b"", 0.0
        if not self._failure:
            try:
                entry, seconds = self._run(int(batch["item"][0]))
            except Exception as error:
                return {"entry": [b""], "seconds": [0.0], "failure": [_pickled(error)]}
        return {"entry": [entry], "seconds": [seconds], "failure": [self._failure]}

    def _run(self, position: int) -> tuple[bytes, float]:
        """Compute in the thread for that; commit in this one while the next shard is computed."""
        items = self._worker.items(position)
        shard, seconds = self._compute.submit(self._timed, position, items).result()
        return canonical_json(asdict(entry_of(self._worker.commit(shard)))), seconds

    def _timed(self, position: int, items: Sequence[Item]) -> tuple[ComputedShard, float]:
        begin = time.perf_counter()
        try:
            shard = self._worker.compute(position, items)
        except DeviceLostError:
            os._exit(1)  # the journal counts it as a death, and Ray starts another process
        return shard, time.perf_counter() - begin


def _set_up(coordinator: Any, num_workers: int) -> StageWorker:
    journal = _RemoteJournal(coordinator)
    job: StageJob = ray.get(coordinator.job.remote())
    died = journal.starting()
    if died > _SETUP_DEATHS_ALLOWED * num_workers:
        raise EaglerayError(
            f"stage {job.stage.label}: workers died {died} times in setup; "
            "run it with --inline to see where"
        )
    worker = StageWorker(job, journal)
    journal.started()
    return worker


def compute_on_ray(job: StageJob, group: WorkerGroup) -> Iterator[tuple[ShardEntry, float]]:
    """Compute the job's shards on a pool of actors; yields each one's entry and seconds as it is
    committed.

    Args:
        job: What to do.
        group: The workers, which must fit on the cluster.

    Raises:
        EaglerayError: A worker could not be set up, or the storage failed.
        WorkerError: Something else went wrong on a worker.
    """
    num_workers = min(group.num_workers, len(job.shards))
    coordinator = ray.remote(num_cpus=0)(_Coordinator).remote(job)
    # from_items has its blocks in place: the read tasks of ray.data.range would wait for a CPU
    # where the pool holds all of them
    largest_first = sorted(range(len(job.shards)), key=lambda i: -job.shards[i].num_items)
    positions = ray.data.from_items(largest_first, override_num_blocks=len(job.shards))
    computed = positions.map_batches(
        _PoolWorker,
        fn_constructor_args=(coordinator, num_workers),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=1 if group.is_elastic else num_workers,
            max_size=num_workers,
            max_concurrent_calls_per_actor=2,
            max_tasks_in_flight_per_actor=2,
            enable_true_multi_threading=True,
        ),
        **_request(group),
    )
    for row in computed.iter_rows():
        if row["failure"]:
            raise pickle.loads(row["failure"])
        yield ShardEntry(**json.loads(row["entry"])), float(row["seconds"])


def fit_on_ray(job: StageJob, group: WorkerGroup) -> None:
    """Run ``Stage.fit`` on a worker of the cluster."""
    remote = ray.remote(max_retries=0)(_fit).options(**_request(group))
    failure: bytes = ray.get(remote.remote(job))
    if failure:
        raise pickle.loads(failure)


def _fit(job: StageJob) -> bytes:
    try:
        run_fit(job.stage, job.listing, job.upstream, job.fit_digest, job.device)
    except Exception as error:
        return _pickled(error)
    return b""


def _request(group: WorkerGroup) -> dict[str, float]:
    request: dict[str, float] = {"num_cpus": group.cpus}
    if group.gpus:
        request["num_gpus"] = group.gpus
    if group.memory_gb:
        request["memory"] = group.memory_gb * 1e9
    return request


def _pickled(error: Exception) -> bytes:
    """Return our own errors as they are, others with their traceback as text."""
    if isinstance(error, EaglerayError):
        try:
            return pickle.dumps(error)
        except Exception:
            return pickle.dumps(EaglerayError(str(error)))
    return pickle.dumps(WorkerError(f"on a worker:\n{traceback.format_exc()}"))
