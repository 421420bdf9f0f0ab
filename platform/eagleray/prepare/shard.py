"""The unit of work of prepare, evaluation and prediction: one shard, a plain function that Ray only
schedules.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import BoundedSemaphore, Lock
from typing import Any

import pyarrow as pa

from eagleray.log_lines import lines_about
from eagleray.prepare.columns import arrow_schema, to_parquet, to_table
from eagleray.prepare.faults import Fault, Faults, TransientError, persistently
from eagleray.prepare.fingerprint import record_identity
from eagleray.prepare.folder import StageFolder
from eagleray.prepare.item import Failed, describe_error, judge, process_batch
from eagleray.prepare.journal import DEATHS_ALLOWED, Journal, Suspects
from eagleray.prepare.loads import Loads
from eagleray.prepare.marker import CommittedFile, Reject, ShardMarker
from eagleray.task import EaglerayError, InputError, Item, Record, Stage, is_transient

_log = logging.getLogger(__name__)

_WRITES_AHEAD = 32
"""Files that may wait to be written while the device goes on."""

_DIED = "WorkerDied: the worker process died three times at this item"
_STARVED = (
    ", and the memory killer of the machine or of Ray ended it: the item needs more memory than is "
    "there, alone or beside other workers (Resources.memory_gb, prepare.workers)"
)

Sample = tuple[int, Any]
"""Position of the item within the shard, and what ``load`` gave for it."""


@dataclass
class _Result:
    """What one item came to: its records, or the error that rejects it."""

    tables: list[pa.Table] = field(default_factory=list)
    files: list[CommittedFile] = field(default_factory=list)
    error: str | None = None


@dataclass
class ComputedShard:
    """A shard that is computed, but not committed yet."""

    id: str
    items: Sequence[Item]
    results: list[_Result]
    faults: Faults
    keys: set[str] = field(default_factory=set)
    encodes: deque[tuple[int, Future[Sequence[Record] | Failed]]] = field(default_factory=deque)
    writes: list[Future[None]] = field(default_factory=list)
    waited_s: float = 0.0
    """Time that the device stood still until samples were loaded."""


@dataclass
class _Begun:
    """A shard that is loaded ahead: its first items."""

    loads: list[Future[Any]] = field(default_factory=list)


class ShardWorker:
    """Works on shards of a stage that is set up already.

    Args:
        stage: The stage, after ``setup``.
        folder: The stage's folder.
        fit_digest: Name of what ``fit`` found; part of the items' identity downstream.
        journal: Told about items where a worker has died before.
        loads: Loads items ahead; by default in threads of this process.

    Call ``close`` (or use it in a ``with`` statement) to end its threads.
    """

    def __init__(
        self,
        stage: Stage,
        folder: StageFolder,
        fit_digest: str = "",
        journal: Journal | None = None,
        loads: Loads | None = None,
    ) -> None:
        self._stage = stage
        self._folder = folder
        self._fit_digest = fit_digest
        self._journal = journal if journal is not None else Journal()
        self._schema = arrow_schema(stage.schema)
        self._loads = loads if loads is not None else Loads(stage)
        resources = stage.resources
        self._writers = ThreadPoolExecutor(resources.writer_threads, "write")
        self._encodes_behind = type(stage).encode is not Stage.encode
        self._may_encode = BoundedSemaphore(resources.batch_size + 2 * resources.writer_threads)
        self._last_encodes: Sequence[Future[Sequence[Record] | Failed]] = ()
        self._lock = Lock()
        self._begun: dict[str, _Begun] = {}
        self._alone = ""
        self._is_closed = False

    def __enter__(self) -> ShardWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        with self._lock:
            self._is_closed = True
        self._loads.close()
        self._writers.shutdown(wait=True, cancel_futures=True)

    def run(self, shard_id: str, items: Sequence[Item]) -> ShardMarker:
        """Compute one shard, commit it and return its marker."""
        return self.commit(self.compute(shard_id, items))

    def load_ahead(self, shard_id: str, items: Sequence[Item]) -> None:
        """Begin to load a shard while another one is computed, from any thread. A shard that a
        worker has died in is loaded and computed alone.
        """
        resources = self._stage.resources
        with self._lock:
            if self._is_closed or self._alone or shard_id in self._begun:
                return
            begun = self._begun[shard_id] = _Begun()
            if self._journal.is_suspect(shard_id):
                self._alone = shard_id
                return
            for item in items[: resources.batch_size + self._loads.num_places]:
                begun.loads.append(self._loads.submit(item))

    def compute(self, shard_id: str, items: Sequence[Item]) -> ComputedShard:
        """Compute one shard; bad items become rejects.

        Raises:
            DeviceLostError: The device failed, so that this process can compute nothing more.
            FaultError: A few items failed alike in the task's own code.
            TransientError: Storage or network do not answer, or memory does not suffice.
        """
        suspects, loads = self._begin(shard_id)
        faults = Faults(self._stage.label)
        shard = ComputedShard(shard_id, items, [_Result() for _ in items], faults)
        for item_idx in suspects.deadly:
            starved = _STARVED if item_idx in suspects.starved else ""
            shard.results[item_idx].error = _DIED + starved
        try:
            with self._leaving_open(shard_id), lines_about(shard=shard_id):
                if suspects.is_suspect:
                    self._run_one_by_one(shard, suspects)
                else:
                    self._run_batches(shard, loads)
        except EaglerayError:
            self._journal.end(shard_id)  # nobody died of what is said aloud
            raise
        finally:
            self._alone = "" if suspects.is_suspect else self._alone
            self._last_encodes = [future for _, future in shard.encodes]
        if not shard.encodes:
            self._journal.end(shard_id)
        return shard

    def commit(self, shard: ComputedShard) -> ShardMarker:
        """Write a shard and, last, its marker. May run while the next shard is computed.

        Raises:
            EaglerayError: The storage failed.
            FaultError: Items failed in the task's own code: the shard stays open.
            TransientError: Storage or network do not answer: the shard stays open.
        """
        with self._leaving_open(shard.id), lines_about(shard=shard.id):
            marker = self._commit(shard)
            rejected = len(shard.items) - marker.entry.done
            _log.info("committed %d items, %d of them rejected", len(shard.items), rejected)
            return marker

    @contextmanager
    def _leaving_open(self, shard_id: str) -> Iterator[None]:
        """Name the shard in what a later try may mend; the storage's own errors are that too."""
        try:
            yield
        except TransientError as error:
            error.shard = shard_id
            raise
        except Exception as error:
            if not is_transient(error):
                raise
            raise TransientError(
                f"{self._stage.label}: the storage {self._folder.uri} does not answer while shard "
                f"{shard_id} is written, which stays open ({describe_error(error)}): see that it "
                "can be reached and give the same command again",
                shard_id,
            ) from error

    def _commit(self, shard: ComputedShard) -> ShardMarker:
        if shard.encodes:
            self._keep_encoded(shard, wait_for_all=True)
            self._journal.end(shard.id)
        shard.faults.raise_any()
        for written in shard.writes:
            written.result()
        tables = [table for result in shard.results for table in result.tables]
        content = to_parquet(tables, self._schema)
        rejected = tuple(
            Reject(item.key, result.error)
            for item, result in zip(shard.items, shard.results, strict=True)
            if result.error is not None
        )
        marker = ShardMarker.of(
            shard.id,
            content,
            items=len(shard.items),
            rows=sum(map(len, tables)),
            rejected=rejected,
            files=tuple(file for result in shard.results for file in result.files),
        )
        return persistently(lambda: self._folder.commit_shard(marker, content))

    def _begin(self, shard_id: str) -> tuple[Suspects, list[Future[Any]]]:
        with self._lock:
            begun = self._begun.pop(shard_id, None) or _Begun()
            suspects = self._journal.begin(shard_id)
            if suspects.is_suspect:
                self._alone = shard_id
            others = [load for other in self._begun.values() for load in other.loads]
        if suspects.is_suspect:
            wait([*self._last_encodes, *others])  # no other shard may die in its name
        return suspects, begun.loads

    def _run_batches(self, shard: ComputedShard, loads: list[Future[Any]]) -> None:
        samples = self._load(shard, loads)
        while batch := list(islice(samples, self._stage.resources.batch_size)):
            for (item_idx, _), outcome in zip(batch, self._process(shard, batch), strict=True):
                if self._encodes_behind and not isinstance(outcome, Failed):
                    encoded = self._encode_behind(shard, item_idx, outcome)
                    shard.encodes.append((item_idx, encoded))
                else:
                    self._keep(shard, item_idx, outcome)
            self._keep_encoded(shard, wait_for_all=False)

    def _run_one_by_one(self, shard: ComputedShard, suspects: Suspects) -> None:
        if suspects.died > DEATHS_ALLOWED:
            cause = "something outside kills them (the machine's memory, a time limit of it?)"
            if suspects.died_of_memory:
                cause = (
                    f"{suspects.died_of_memory} of them were ended by the memory killer of the "
                    "machine or of Ray"
                )
            raise EaglerayError(
                f"{self._stage.label}: {suspects.died} workers died in shard {shard.id}, but not "
                f"at one item: {cause}. Give them more memory (Resources.memory_gb) or use fewer "
                "(prepare.workers), and give the same command again"
            )
        for item_idx in suspects.order(len(shard.items)):
            self._keep(shard, item_idx, self._run_one(shard, item_idx))

    def _run_one(self, shard: ComputedShard, item_idx: int) -> Sequence[Record] | Failed:
        self._journal.at(shard.id, item_idx)
        try:
            sample = self._loads.here(shard.items[item_idx])
        except Exception as error:
            return self._judged(shard, item_idx, error)
        return self._encode(shard, item_idx, self._process(shard, [(item_idx, sample)])[0])

    def _judged(self, shard: ComputedShard, item_idx: int, error: Exception) -> Failed:
        """Return what an error makes of an item: an error text for bad data, else a fault.

        Raises:
            EaglerayError: It is no fault of the item's, so that the job ends.
        """
        key, where = shard.items[item_idx].key, f"shard {shard.id}, which stays open,"
        return judge(self._stage.label, key, where, error)

    def _load(self, shard: ComputedShard, waiting: list[Future[Any]]) -> Iterator[Sample]:
        """Yield loaded samples in order while the threads load the next ones; rejects are written
        down. The first items may be waiting already.
        """
        ahead = self._stage.resources.batch_size + 2 * self._loads.num_places
        rest = iter(shard.items[len(waiting) :])
        item_idx = 0
        try:
            while True:
                waiting += [self._loads.submit(item) for item in islice(rest, ahead - len(waiting))]
                if not waiting:
                    return
                future = waiting.pop(0)
                since = time.perf_counter()
                try:
                    sample = future.result()
                except Exception as error:
                    self._keep(shard, item_idx, self._judged(shard, item_idx, error))
                else:
                    shard.waited_s += time.perf_counter() - since
                    yield item_idx, sample
                item_idx += 1
        finally:
            for future in waiting:
                future.cancel()

    def _encode_behind(
        self, shard: ComputedShard, item_idx: int, processed: Any
    ) -> Future[Sequence[Record] | Failed]:
        """Encode while the device goes on, but let no more than a few samples wait in memory."""
        self._may_encode.acquire()
        try:
            encoded = self._writers.submit(self._encode, shard, item_idx, processed)
        except BaseException:
            self._may_encode.release()
            raise
        encoded.add_done_callback(lambda _: self._may_encode.release())
        return encoded

    def _keep_encoded(self, shard: ComputedShard, *, wait_for_all: bool) -> None:
        """Keep the records that are encoded, in order."""
        while shard.encodes and (wait_for_all or shard.encodes[0][1].done()):
            item_idx, encoded = shard.encodes.popleft()
            self._keep(shard, item_idx, encoded.result())

    def _encode(
        self, shard: ComputedShard, item_idx: int, outcome: Any
    ) -> Sequence[Record] | Failed:
        """Return a processed sample's records, or why there are none; raises where the job is to
        end (`Stage.encode`).
        """
        if isinstance(outcome, Failed):
            return outcome
        try:
            return persistently(lambda: self._stage.encode(outcome))
        except Exception as error:
            return self._judged(shard, item_idx, error)

    def _process(self, shard: ComputedShard, batch: Sequence[Sample]) -> list[Any]:
        """Return what each sample came to, or why there is nothing; a batch that raises goes item
        by item.
        """
        return process_batch(
            self._stage,
            [sample for _, sample in batch],
            lambda position, error: self._judged(shard, batch[position][0], error),
        )

    def _keep(
        self, shard: ComputedShard, item_idx: int, outcome: Sequence[Record] | Failed
    ) -> None:
        """Turn an item's records into a table and its files into committed ones, or reject it."""
        result = shard.results[item_idx]
        if isinstance(outcome, Fault):
            shard.faults.add([outcome])
            return
        if isinstance(outcome, str):
            result.error = outcome
            return
        try:
            keys = _fresh_keys(outcome, shard.keys)
            identity = record_identity(shard.items[item_idx], self._fit_digest)
            table = to_table(outcome, identity, self._schema) if outcome else None
            files = [
                (CommittedFile.of(shard.id, record.key, name, content), content)
                for record in outcome
                for name, content in record.files.items()
            ]
        except Exception as error:
            self._keep(shard, item_idx, self._judged(shard, item_idx, error))
            return
        shard.keys |= keys
        result.tables = [] if table is None else [table]
        result.files = [file for file, _ in files]
        for file, content in files:
            self._write_behind(shard, file, content)

    def _write_behind(self, shard: ComputedShard, file: CommittedFile, content: bytes) -> None:
        """Write a file while the device goes on, but let no more than a few wait."""
        if len(shard.writes) >= _WRITES_AHEAD:
            shard.writes.pop(0).result()
        shard.writes.append(self._writers.submit(self._write_file, file, content))

    def _write_file(self, file: CommittedFile, content: bytes) -> None:
        persistently(lambda: self._folder.write_file(file, content))


def _fresh_keys(records: Iterable[Record], taken: set[str]) -> set[str]:
    keys: set[str] = set()
    for record in records:
        if record.key in taken or record.key in keys:
            raise InputError(f"record key {record.key!r} exists already: keys must be unique")
        keys.add(record.key)
    return keys
