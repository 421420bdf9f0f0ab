"""Workers of streamed stages on Ray, and how a process that trains or evaluates asks them.

The driver starts the pool before the processes that read, places both together, and ends it after
them: the pool outlives restarts of the readers and changes of their number. A worker computes by
``StageServer``, so that it loads ahead and batches what all readers ask for, and keeps what fits
into its memory; a key always goes to the same worker.

A row is pulled: its reader holds the only reference to it, and lets go of it when the row is read.
A worker that dies is started again by Ray. What its readers had asked of it they ask again, one row
at a time with nothing else on the worker, so that an item is charged with a death only where it
died by itself; at three it is bad input, as in a stage that is stored.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
from ray.exceptions import ObjectLostError, RayActorError

from eagleray.options import RunOptions
from eagleray.prepare.answering import EncodedRow, LostDeviceError
from eagleray.prepare.computed import Computation, ComputedRows
from eagleray.prepare.streamed import RowServer, SocketSource, StreamedRows, portable
from eagleray.scheduling import (
    WorkerGroup,
    await_nodes,
    cluster_machine,
    fit_beside,
    on_this_node,
    resource_request,
)
from eagleray.task import EaglerayError, InputError, Resources, Rows

_DEATHS_ALLOWED = 2
"""Of workers, at one item alone; one more and the item is bad input."""

_PATIENCE_S = 300.0
"""Without any answer of a worker that is started again, this is long: its machine is gone for good
and nothing takes its place."""

_PAUSE_S = 0.5
"""Between two questions to a worker that is being started again."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One worker and one item: what it is at while it is alone with it."""

    worker: int
    label: str
    key: str


class _Blame:
    """An actor that knows which items workers are alone with, and how many died at each."""

    def __init__(self) -> None:
        self._current: dict[int, _Place] = {}
        self._deaths: dict[tuple[str, str], int] = {}

    def begin(self, place: _Place) -> None:
        """Note that a worker is alone with an item; it has died at the one before if that never
        ended.
        """
        self._charge(place.worker)
        self._current[place.worker] = place

    def end(self, place: _Place) -> None:
        """Note that a worker has come through."""
        self._current.pop(place.worker, None)

    def died(self, place: _Place) -> int:
        """Return how many workers died at an item, after one of them has died."""
        if self._current.get(place.worker) == place:
            self._charge(place.worker)
        return self._deaths.get((place.label, place.key), 0)

    def _charge(self, worker: int) -> None:
        before = self._current.pop(worker, None)
        if before is not None:
            name = (before.label, before.key)
            self._deaths[name] = self._deaths.get(name, 0) + 1


class _RowWorker:
    """An actor that answers for items of the streamed stages; each is set up when first asked."""

    def __init__(
        self, number: int, blame: Any, computations: Mapping[str, Computation], cpus: float
    ) -> None:
        import torch

        torch.set_num_threads(max(1, int(cpus)))
        self._number, self._blame = number, blame
        self._rows = {label: ComputedRows(how) for label, how in computations.items()}
        self._changed = asyncio.Condition()
        self._num_active, self._is_alone, self._num_waiting = 0, False, 0

    async def ready(self) -> int:
        """Return the process id, once there is a process."""
        return os.getpid()

    async def answer(self, label: str, key: str) -> tuple[Any, dict[str, bytes], bytes]:
        """Return a row, its files, and the error where there is none."""
        async with self._changed:
            await self._changed.wait_for(lambda: not (self._is_alone or self._num_waiting))
            self._num_active += 1
        try:
            return await self._answer(label, key)
        finally:
            async with self._changed:
                self._num_active -= 1
                self._changed.notify_all()

    async def answer_alone(self, label: str, key: str) -> tuple[Any, dict[str, bytes], bytes]:
        """Return a row as ``answer`` does, while nothing else is computed here."""
        place = _Place(self._number, label, key)
        async with self._changed:
            self._num_waiting += 1
            await self._changed.wait_for(lambda: not (self._is_alone or self._num_active))
            self._num_waiting -= 1
            self._is_alone = True
        try:
            await self._blame.begin.remote(place)
            answered = await self._answer(label, key)
            await self._blame.end.remote(place)
            return answered
        finally:
            async with self._changed:
                self._is_alone = False
                self._changed.notify_all()

    async def _answer(self, label: str, key: str) -> tuple[Any, dict[str, bytes], bytes]:
        try:
            row = await asyncio.wrap_future(self._rows[label].answer(key))
        except LostDeviceError:
            os._exit(1)  # Ray starts another process, which may have a device
        except Exception as error:
            return None, {}, portable(error)
        return np.frombuffer(row.batch, np.uint8), dict(row.files), b""


class PoolSource:
    """Rows of the pool for one process.

    Args:
        workers: Their actors.
        blame: The actor that charges items with deaths.
    """

    def __init__(self, workers: Sequence[Any], blame: Any) -> None:
        self._workers, self._blame = list(workers), blame
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, str], Any] = {}
        self._server: RowServer | None = None

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        if self._server is not None:
            return (SocketSource, (self._server.address, self._server.key))
        return (PoolSource, (self._workers, self._blame))

    @property
    def num_asked(self) -> int:
        """Rows that were asked for and not read."""
        return len(self._asked)

    def serve(self) -> None:
        """Be pickled, from now on, as what loader processes of this process read from."""
        if self._server is None:
            self._server = RowServer(self)

    def ask(self, label: str, keys: Iterable[str]) -> None:
        """Have rows computed that are read soon."""
        for key in keys:
            with self._lock:
                if (label, key) not in self._asked:
                    self._asked[label, key] = self._worker(key).answer.remote(label, key)

    def forget(self, label: str, keys: Iterable[str]) -> None:
        """Let go of rows that were asked for and are not read."""
        with self._lock:
            for key in keys:
                self._asked.pop((label, key), None)

    def read(self, label: str, key: str) -> EncodedRow:
        """Return a row; a worker that died at it is asked again.

        Raises:
            InputError: The item is bad, or three workers died at it alone.
            EaglerayError: No worker answers.
        """
        with self._lock:
            answer = self._asked.pop((label, key), None)
        worker = self._worker(key)
        if answer is None:
            answer = worker.answer.remote(label, key)
        place = _Place(self._workers.index(worker), label, key)
        since = time.monotonic()
        while True:
            try:
                batch, files, error = ray.get(answer)
            except (RayActorError, ObjectLostError) as died:
                if ray.get(self._blame.died.remote(place)) > _DEATHS_ALLOWED:
                    raise InputError(
                        f"item {key!r} cannot be processed: WorkerDied: the worker process of "
                        f"stage {label} died three times at this item"
                    ) from died
                if time.monotonic() - since > _PATIENCE_S:
                    raise EaglerayError(
                        f"no worker of stage {label} has answered for {_PATIENCE_S:.0f} s ({died}):"
                        " was its machine lost? Give the same command again"
                    ) from died
                time.sleep(_PAUSE_S)
                answer = worker.answer_alone.remote(label, key)
                continue
            if error:
                raise pickle.loads(error)
            return EncodedRow(batch, files)

    def _worker(self, key: str) -> Any:
        return self._workers[zlib.crc32(key.encode()) % len(self._workers)]


@dataclass(frozen=True)
class RowPool:
    """A pool that runs.

    Args:
        rows: All rows by label, the streamed ones with their source.
        group: Its workers; None where nothing is streamed.
    """

    rows: Mapping[str, Rows]
    group: WorkerGroup | None


@contextmanager
def row_pool(
    rows: Mapping[str, Rows],
    options: RunOptions,
    *,
    workers: int | None,
    beside: WorkerGroup | None = None,
) -> Iterator[RowPool]:
    """Have workers for all streamed rows while the ``with`` statement lasts. Ray runs already.
    Where nothing is streamed, nothing is started.

    Args:
        rows: Rows by label.
        options: Where the stages run.
        workers: How many workers; None for as many as fit.
        beside: The group of workers that reads them, for which room is kept.

    Raises:
        SchedulingError: Not all of them fit.
    """
    streamed = {label: own for label, own in rows.items() if isinstance(own, StreamedRows)}
    if not streamed:
        yield RowPool(rows, None)
        return
    machine = cluster_machine()
    group = fit_beside(
        machine,
        _resources([own.how.run.stage.resources for own in streamed.values()]),
        beside,
        device=options.device,
        asked=workers,
        what=", ".join(streamed),
        setting="prepare.workers",
    )
    await_nodes(group, group.num_workers, what=", ".join(streamed), note=options.progress.note)
    options.progress.note(
        f"{', '.join(streamed)}: streamed by {group.num_workers} workers on {group.device}"
    )
    computations = ray.put(
        {
            label: replace(own.how, asked="cuda" if group.device == "cuda" else "cpu")
            for label, own in streamed.items()
        }
    )
    blame = on_this_node(_Blame, max_restarts=-1).remote()
    actor = ray.remote(max_restarts=-1, max_task_retries=0)(_RowWorker)
    actors = [
        actor.options(**resource_request(group)).remote(number, blame, computations, group.cpus)
        for number in range(group.num_workers)
    ]
    try:
        ray.get([one.ready.remote() for one in actors])
        source = PoolSource(actors, blame)
        given = {label: own.from_source(source) for label, own in streamed.items()}
        yield RowPool({**rows, **given}, group)
    finally:
        for one in (*actors, blame):
            ray.kill(one, no_restart=True)


def _resources(asked: Sequence[Resources]) -> Resources:
    """Return what a worker needs that is set up for several stages: the most CPUs and GPUs that one
    asks for, and the memory of all.
    """
    return asked[0].model_copy(
        update={
            "cpus": max(r.cpus for r in asked),
            "gpus": max(r.gpus for r in asked),
            "memory_gb": sum(r.memory_gb for r in asked),
        }
    )
