"""A stage that answers for single items: the same load-ahead, batches and encoding as in a shard,
in the order in which items are asked for.

What it answers is encoded (an Arrow record batch of one row, and files), so that it can be sent and
is as large as it says. Answers stay in memory up to a number of bytes, those asked for longest ago
going first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from eagleray.prepare.columns import row_at, to_table
from eagleray.prepare.faults import FaultError, persistently
from eagleray.prepare.item import (
    DeviceLostError,
    Failed,
    judge,
    process_batch,
)
from eagleray.prepare.loads import LoadElsewhere, Loads
from eagleray.task import EaglerayError, InputError, Item, Record, Stage

_MOST_WAITING = 1024
"""Rows that were asked for ahead; more than any reader asks for, unless it never reads them."""


class NoItemError(KeyError):
    """A stage has no item of a key."""


class LostDeviceError(RuntimeError):
    """The GPU of a process failed for good: what it was asked for must be asked of another."""


@dataclass(frozen=True)
class EncodedRow:
    """A row with its files, as it is sent and kept.

    Args:
        batch: Arrow record batch of one row in the schema of the stage, uint8 or bytes.
        files: Content by name.
    """

    batch: Any
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Size of row and files."""
        return len(memoryview(self.batch)) + sum(map(len, self.files.values()))

    @classmethod
    def of(cls, record: Record, schema: pa.Schema) -> EncodedRow:
        """Encode a record; raises InputError where a value does not fit its column."""
        (batch,) = to_table([record], "", schema).combine_chunks().to_batches()
        return cls(batch.serialize().to_pybytes(), dict(record.files))

    def row(self, schema: pa.Schema) -> dict[str, Any]:
        """Return the column values; nothing of them shares memory with the encoded row."""
        batch = pa.ipc.read_record_batch(pa.py_buffer(memoryview(self.batch)), schema)
        return row_at(pa.Table.from_batches([batch]), 0)


class RowCache:
    """Encoded rows in memory, up to a number of bytes; not safe to thread by itself.

    Args:
        capacity: Most bytes kept.
    """

    def __init__(self, capacity: float) -> None:
        self._capacity, self._rows = capacity, OrderedDict[str, EncodedRow]()
        self.num_bytes = 0

    def get(self, key: str) -> EncodedRow | None:
        """Return a row that is there, which is the last one to go then."""
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def put(self, key: str, row: EncodedRow) -> None:
        """Keep a row, and let go those asked for longest ago."""
        if key in self._rows or row.num_bytes > self._capacity:
            return
        self._rows[key] = row
        self.num_bytes += row.num_bytes
        while self.num_bytes > self._capacity:
            self.num_bytes -= self._rows.popitem(last=False)[1].num_bytes


class StageServer:
    """Answers for single items of a stage, from any thread.

    Once the stage is set up, items are loaded in ``loader_threads`` threads and on other machines
    (``remote_loads``). The thread that set it up processes what is loaded in batches of
    ``batch_size`` (smaller ones where nothing else is on its way), and ``writer_threads`` encode
    behind it. An item that is asked for twice is computed once.

    Args:
        stage: The stage, not set up.
        find_item: Returns the item of a key.
        schema: Arrow schema of its rows.
        setup: Sets the stage up, in the thread that processes.
        cache_bytes: Most bytes of answers kept.
        elsewhere: Loads items in other processes beside this one's threads.
    """

    def __init__(
        self,
        stage: Stage,
        find_item: Callable[[str], Item],
        schema: pa.Schema,
        setup: Callable[[Stage], None],
        cache_bytes: float,
        elsewhere: LoadElsewhere | None = None,
    ) -> None:
        self._stage, self._find_item, self._schema, self._setup = stage, find_item, schema, setup
        resources = stage.resources
        self._loads = Loads(stage, elsewhere, resources.remote_loads)
        self._writers = ThreadPoolExecutor(resources.writer_threads, "encode")
        self._changed, self._is_set_up = threading.Condition(), threading.Event()
        self._cache = RowCache(cache_bytes)
        self._asked: dict[str, Future[EncodedRow]] = {}
        self._ahead: set[str] = set()
        self._waiting = OrderedDict[str, EncodedRow]()
        self._num_loading = 0
        self._loaded: deque[tuple[str, Any]] = deque()
        self._is_closed = False
        self._broken: BaseException | None = None
        self._thread: threading.Thread | None = None

    def ask_ahead(self, key: str) -> None:
        """Have a row computed that somebody asks for soon, and keep it until then whatever its
        size: the reader asks ahead for no more than it has room for.
        """
        with self._changed:
            if key in self._waiting:
                return
            self._ahead.add(key)
        self._ask(key)

    def ask(self, key: str) -> Future[EncodedRow]:
        """Have an item's row computed, unless it is there or on its way.

        The future raises InputError for a bad item, FaultError for a mistake in the stage's code,
        and LostDeviceError where this process can compute nothing more.
        """
        with self._changed:
            self._ahead.discard(key)
            waiting = self._waiting.pop(key, None)
        if waiting is not None:
            answered: Future[EncodedRow] = Future()
            answered.set_result(waiting)
            return answered
        return self._ask(key)

    def _ask(self, key: str) -> Future[EncodedRow]:
        with self._changed:
            kept = self._cache.get(key)
            if kept is not None or self._broken is not None:
                answered: Future[EncodedRow] = Future()
                if kept is not None:
                    answered.set_result(kept)
                else:
                    answered.set_exception(self._broken)
                return answered
            if key in self._asked:
                return self._asked[key]
            future = self._asked[key] = Future()
            self._num_loading += 1
            if self._thread is None:
                # a daemon: it must not keep a process alive that forgot to close
                self._thread = threading.Thread(target=self._work, name="process", daemon=True)
                self._thread.start()
        self._loads.start(self._load, key)
        return future

    @property
    def cached_bytes(self) -> int:
        """Size of the answers kept."""
        return self._cache.num_bytes

    def close(self) -> None:
        """End the threads; what has not been answered is never."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._loads.close()
        self._writers.shutdown(wait=False, cancel_futures=True)

    def _load(self, key: str) -> None:
        try:
            self._is_set_up.wait()
            sample = self._loads.load(self._find_item(key))
        except Exception as error:
            self._fail(key, _told(self._stage.label, key, error))
            with self._changed:
                self._num_loading -= 1
                self._changed.notify_all()
        else:
            with self._changed:
                self._num_loading -= 1
                self._loaded.append((key, sample))
                self._changed.notify_all()

    def _work(self) -> None:
        try:
            try:
                self._setup(self._stage)
            finally:
                self._is_set_up.set()  # where it failed, nobody waits for what is loaded
            while batch := self._next_batch():
                keys = [key for key, _ in batch]
                outcomes = process_batch(
                    self._stage,
                    [sample for _, sample in batch],
                    lambda position, error, keys=keys: _Failure(keys[position], error),  # type: ignore[misc]
                )
                for key, outcome in zip(keys, outcomes, strict=True):
                    if isinstance(outcome, _Failure):
                        self._fail(key, _told(self._stage.label, key, outcome.error))
                    else:
                        self._writers.submit(self._encode, key, outcome)
        except DeviceLostError as error:
            self._break(LostDeviceError(f"stage {self._stage.label}: the device failed: {error}"))
        except BaseException as error:  # handed to everybody who asks
            self._break(error)

    def _next_batch(self) -> list[tuple[str, Any]]:
        """Wait for a full batch, or for all that is on its way; empty at the end."""
        size = self._stage.resources.batch_size
        with self._changed:
            while not self._is_closed and (
                len(self._loaded) < size and (self._num_loading or not self._loaded)
            ):
                self._changed.wait()
            if self._is_closed:
                return []
            return [self._loaded.popleft() for _ in range(min(size, len(self._loaded)))]

    def _encode(self, key: str, processed: Any) -> None:
        try:
            records = persistently(lambda: self._stage.encode(processed))
            if len(records) != 1 or records[0].key != key:
                raise EaglerayError(
                    f"stage {self._stage.label!r} gives {[record.key for record in records]} for "
                    f"the item {key!r}, but rows can be computed on demand only where each item "
                    "gives one record with its key: set prepare.materialise to stored for it"
                )
            encoded = EncodedRow.of(records[0], self._schema)
        except Exception as error:
            self._fail(key, _told(self._stage.label, key, error))
        else:
            with self._changed:
                self._cache.put(key, encoded)
                if key in self._ahead:
                    self._ahead.discard(key)
                    self._waiting[key] = encoded
                    while len(self._waiting) > _MOST_WAITING:
                        self._waiting.popitem(last=False)  # nobody came for it
                future = self._asked.pop(key)
            future.set_result(encoded)

    def _fail(self, key: str, error: Exception) -> None:
        with self._changed:
            future = self._asked.pop(key, None)
        if future is not None:
            future.set_exception(error)

    def _break(self, error: BaseException) -> None:
        with self._changed:
            self._broken = error
            waiting, self._asked = self._asked, {}
        for future in waiting.values():
            future.set_exception(error)


@dataclass(frozen=True)
class _Failure:
    """An item that ``process`` raised at."""

    key: str
    error: Exception


def _told(label: str, key: str, error: Exception) -> Exception:
    """Return what a reader of the row is told of an error."""
    if isinstance(error, NoItemError):
        return error
    try:
        failed: Failed = judge(label, key, "rows that are computed on demand", error)
    except EaglerayError as fatal:
        return fatal
    if isinstance(failed, str):
        told: Exception = InputError(f"item {key!r} cannot be processed: {failed}")
    else:
        told = FaultError(label, [failed])
    told.__cause__ = error
    return told
