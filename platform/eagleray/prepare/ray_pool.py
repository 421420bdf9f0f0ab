"""Shards on a pool of Ray actors: Ray Data schedules, workers commit, small entries come back."""

from __future__ import annotations

import json
import os
import pickle
import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import ray

from eagleray.log_lines import speak_json
from eagleray.prepare.faults import FaultError, TransientError
from eagleray.prepare.fingerprint import canonical_json
from eagleray.prepare.here import Outcome, Times
from eagleray.prepare.item import DeviceLostError
from eagleray.prepare.journal import Journal, Suspects
from eagleray.prepare.loads import LoadElsewhere
from eagleray.prepare.marker import ShardEntry, ShardMarker
from eagleray.prepare.remote_loads import load_elsewhere
from eagleray.prepare.worker import StageJob, StageWorker, run_fit
from eagleray.scheduling import WorkerGroup, memory_kills, on_this_node, resource_request
from eagleray.task import EaglerayError, Item

_SETUP_DEATHS_ALLOWED = 2
"""Workers per place in the pool that may die in ``setup`` before the job gives up."""


_SILENT_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0
"""A worker that finds no storage pauses after each shard, twice as long each time: one machine that
sees nothing would otherwise be through with its shards first, and be dealt those of all others."""


class WorkerError(RuntimeError):
    """An error on a worker that is neither a bad item nor a user's mistake, with its traceback."""


class _Coordinator:
    """An actor that holds a journal of each job, so that workers can be restarted anywhere."""

    def __init__(self, num_jobs: int) -> None:
        self._journals = [Journal(memory_kills=memory_kills) for _ in range(num_jobs)]

    def note(self, job_idx: int, what: str, *arguments: Any) -> Any:
        return getattr(self._journals[job_idx], what)(*arguments)


class _RemoteJournal(Journal):
    """One job's journal as workers see it; calls that matter return when the note is taken."""

    def __init__(self, coordinator: Any, job_idx: int) -> None:
        self._actor, self._job_idx = coordinator, job_idx

    def starting(self) -> int:
        return int(ray.get(self._note("starting")))

    def started(self) -> None:
        ray.get(self._note("started"))

    def begin(self, shard_id: str) -> Suspects:
        suspects: Suspects = ray.get(self._note("begin", shard_id))
        return suspects

    def is_suspect(self, shard_id: str) -> bool:
        return bool(ray.get(self._note("is_suspect", shard_id)))

    def at(self, shard_id: str, item_idx: int) -> None:
        ray.get(self._note("at", shard_id, item_idx))

    def end(self, shard_id: str) -> None:
        self._note("end", shard_id)

    def _note(self, what: str, *arguments: Any) -> Any:
        return self._actor.note.remote(self._job_idx, what, *arguments)


@dataclass(frozen=True, slots=True)
class _Place:
    """One shard among all jobs."""

    job_idx: int
    position: int


@dataclass(frozen=True, slots=True)
class _Handout:
    """What workers are told, as references into Ray's object store."""

    places: Any
    jobs: Sequence[Any]


class _PoolWorker:
    """What Ray Data runs: gets the number of a place, returns its shard's entry or what went wrong.

    It is set up for one job at a time, and for the next one when it is dealt a shard of that.
    Errors travel as data, because Ray would lose their type.

    Args:
        coordinator: The actor that holds the journals.
        task: References to the places and to each job: Ray's object store holds them once per node,
            however many workers run there.
        num_workers: Size of the pool.
    """

    def __init__(self, coordinator: Any, task: _Handout, num_workers: int) -> None:
        self._coordinator, self._num_workers = coordinator, num_workers
        speak_json()
        places: Sequence[_Place] = ray.get(task.places)
        self._places, self._job_refs = places, task.jobs
        self._failure, self._num_silent = b"", 0
        self._jobs: dict[int, StageJob] = {}
        self._worker: StageWorker | None = None
        self._job_idx = -1
        self._compute = ThreadPoolExecutor(1, "compute")
        self._commits = ThreadPoolExecutor(1, "commit")
        if len({place.job_idx for place in places}) > 1:
            return  # which job comes first is not known yet
        try:
            self._compute.submit(self._worker_of, places[0].job_idx).result()
        except Exception as error:
            self._failure = _pickled(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        place = self._places[int(batch["item"][0])]
        entry, times, failure = b"", Times(0.0), self._failure
        if not failure:
            try:
                entry, times = self._run(place)
                self._num_silent = 0
            except Exception as error:
                failure = _pickled(error)
                if isinstance(error, TransientError):
                    time.sleep(min(_SILENT_PAUSE_S * 2**self._num_silent, _LONGEST_PAUSE_S))
                    self._num_silent += 1
        row = {"entry": entry, "seconds": times.seconds, "waited": times.waited_s}
        row |= {"failure": failure, "job": place.job_idx}
        return {name: [value] for name, value in row.items()}

    def _run(self, place: _Place) -> tuple[bytes, Times]:
        """Compute in the thread for that; the next shard is loaded while this one is computed, and
        computed while this one is written.
        """
        worker, job = self._worker, self._job(place.job_idx)
        if worker is not None and worker.job is job:  # another thread may be setting up the next
            items = worker.load_ahead(place.position)
        else:
            shard = job.shards[place.position]
            items = job.listing.items(shard.start, shard.num_items)
        committed, times = self._compute.submit(self._timed, place, items).result()
        return canonical_json(asdict(committed.result().entry)), times

    def _timed(self, place: _Place, items: Sequence[Item]) -> tuple[Future[ShardMarker], Times]:
        worker = self._worker_of(place.job_idx)
        begin = time.perf_counter()
        try:
            shard = worker.compute(place.position, items)
        except DeviceLostError:
            os._exit(1)  # the journal counts it as a death, and Ray starts another process
        times = Times(time.perf_counter() - begin, shard.waited_s)
        return self._commits.submit(worker.commit, shard), times

    def _worker_of(self, job_idx: int) -> StageWorker:
        if self._worker is None or job_idx != self._job_idx:
            if self._worker is not None:
                self._commits.submit(int).result()  # its shards are written before it ends
                self._worker.close()
                self._worker = None
            journal = _RemoteJournal(self._coordinator, job_idx)
            job = self._job(job_idx)
            elsewhere = load_elsewhere(job, self._job_refs[job_idx])
            self._worker = _set_up(job, journal, self._num_workers, elsewhere)
            self._job_idx = job_idx
        return self._worker

    def _job(self, job_idx: int) -> StageJob:
        if job_idx not in self._jobs:
            self._jobs[job_idx] = ray.get(self._job_refs[job_idx])
        return self._jobs[job_idx]


def _set_up(
    job: StageJob, journal: _RemoteJournal, num_workers: int, elsewhere: LoadElsewhere | None
) -> StageWorker:
    died = journal.starting()
    if died > _SETUP_DEATHS_ALLOWED * num_workers:
        raise EaglerayError(
            f"stage {job.run.stage.label}: workers died {died} times in setup; "
            "run it with --inline to see where"
        )
    check_seen(job)
    worker = StageWorker(job, journal, elsewhere)
    journal.started()
    return worker


def check_seen(job: StageJob) -> None:
    """Refuse a machine that does not see what the driver has written.

    Raises:
        EaglerayError: It does not.
    """
    try:
        job.listing.items(0, 1)
    except FileNotFoundError as error:
        raise EaglerayError(
            f"{socket.gethostname()} does not see {job.run.folder.uri}, into which the driver has "
            "written: use storage that all machines see (a shared folder, s3://, gs://)"
        ) from error


def compute_on_ray(
    jobs: Sequence[StageJob], group: WorkerGroup
) -> Iterator[tuple[int, Outcome, Times]]:
    """Compute the shards of all jobs on one pool of actors; yields the job's position, the entry
    (or what leaves it open) and the times of each shard as it is committed.

    Ray Data deals numbers of shards and nothing else: it keeps a pool of actors busy, starts dead
    ones again and repeats what they were at. That a shard is there, and there once, is the markers'
    business. Shards of the first job are dealt first, so that a worker is set up once per job at
    most.

    Args:
        jobs: What to do; no job reads what another one gives.
        group: The workers, which must fit on the cluster.

    Raises:
        EaglerayError: A worker could not be set up, or the storage failed.
        WorkerError: Something else went wrong on a worker.
    """
    places = [_Place(idx, position) for idx, job in enumerate(jobs) for position in _order(job)]
    num_workers = min(group.num_workers, len(places))
    coordinator = on_this_node(_Coordinator).remote(len(jobs))
    handout = _Handout(ray.put(places), [ray.put(job) for job in jobs])
    # from_items has its blocks in place: the read tasks of ray.data.range would wait for a CPU
    # where the pool holds all of them
    numbers = ray.data.from_items(list(range(len(places))), override_num_blocks=len(places))
    computed = numbers.map_batches(
        _PoolWorker,
        fn_constructor_args=(coordinator, handout, num_workers),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=1 if group.is_elastic else num_workers,
            max_size=num_workers,
            # two shards at a time in each actor: one is computed, by a thread of its own that all
            # calls share, while the other is loaded before it or committed behind it
            max_concurrent_calls_per_actor=2,
            max_tasks_in_flight_per_actor=2,
            enable_true_multi_threading=True,
        ),
        **resource_request(group),
    )
    for row in computed.iter_rows():
        times = Times(float(row["seconds"]), float(row["waited"]))
        if row["failure"]:
            failure = pickle.loads(row["failure"])
            if not isinstance(failure, FaultError | TransientError):
                raise failure
            yield int(row["job"]), failure, times
            continue
        yield int(row["job"]), ShardEntry(**json.loads(row["entry"])), times


def _order(job: StageJob) -> list[int]:
    """Return the positions of a job's shards, the largest first."""
    return sorted(range(len(job.shards)), key=lambda i: -job.shards[i].num_items)


def fit_on_ray(job: StageJob, group: WorkerGroup) -> None:
    """Run ``Stage.fit`` on a worker of the cluster."""
    remote = ray.remote(max_retries=0)(_fit).options(**resource_request(group))
    failure: bytes = ray.get(remote.remote(job))
    if failure:
        raise pickle.loads(failure)


def _fit(job: StageJob) -> bytes:
    try:
        run_fit(job)
    except Exception as error:
        return _pickled(error)
    return b""


def _pickled(error: Exception) -> bytes:
    """Return our own errors as they are, others with their traceback as text."""
    if isinstance(error, EaglerayError):
        try:
            return pickle.dumps(error)
        except Exception:
            return pickle.dumps(EaglerayError(str(error)))
    return pickle.dumps(WorkerError(f"on a worker:\n{traceback.format_exc()}"))
