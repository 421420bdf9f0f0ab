"""Keys by the million: one that is there twice, and the position of one.

Both work on 64-bit hashes in NumPy arrays. For a million keys of 24 characters the index takes some
30 MB beside the keys in Arrow memory, where a dict takes 150 MB, in every process that reads rows.
Keys behind equal hashes are compared, so a collision costs time and never an answer.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eagleray.prepare.columns import ITEM, KEY
from eagleray.prepare.folder import StageFolder
from eagleray.prepare.marker import ShardEntry
from eagleray.task import EaglerayError

HASHES_PER_PASS = 1 << 23
"""Key hashes that the search holds at a time (64 MB)."""

_ROWS_PER_GROUP = 1 << 16
"""Rows of a row group in the stored index of keys."""

_WHOLE_BYTES = 1 << 20
"""Shards up to this size are read whole for their keys from an object store."""

KeyChunks = Callable[[], Iterator[pa.Table]]
"""Yields tables with the columns ``key`` and ``key_hash`` (uint64), each time from the first."""


def key_hash(key: str) -> bytes:
    """Return the 8 bytes (a little-endian uint64) by which keys are found and shards are cut."""
    return hashlib.blake2b(key.encode(), digest_size=8).digest()


def find_duplicate(chunks: KeyChunks, num_keys: int) -> str | None:
    """Return a key that is there more than once, or None.

    Searches in passes over classes of hashes, then compares the keys behind equal hashes.

    Args:
        chunks: The keys with their hashes.
        num_keys: About how many there are.
    """
    # Equal keys have equal hashes, so they meet in one pass; each pass holds its class only.
    num_passes = 1 + num_keys // HASHES_PER_PASS
    for turn in range(num_passes):
        parts = (table.column("key_hash").to_numpy() for table in chunks())
        chosen = [part[part % np.uint64(num_passes) == turn] for part in parts]
        hashes = np.concatenate([np.empty(0, np.uint64), *chosen])
        hashes.sort()
        repeated = hashes[1:][hashes[1:] == hashes[:-1]]
        if len(repeated):
            twice = _first_twice(chunks, pa.array(np.unique(repeated)))
            if twice is not None:
                return twice
    return None


def _first_twice(chunks: KeyChunks, repeated: pa.Array) -> str | None:
    seen: set[str] = set()
    for table in chunks():
        for key in table.filter(pc.is_in(table.column("key_hash"), repeated)).column("key"):
            if key.as_py() in seen:
                return str(key)
            seen.add(key.as_py())
    return None


class KeySequence(Sequence[str]):
    """The keys in order, made into Python strings only when one is looked at."""

    def __init__(self, keys: pa.ChunkedArray) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return [str(self._keys[i]) for i in range(start, stop, step)]
        if not -len(self) <= index < len(self):
            raise IndexError(f"key {index} of {len(self)}")
        return str(self._keys[index % len(self)])

    def __iter__(self) -> Iterator[str]:
        for chunk in self._keys.chunks:
            yield from chunk.to_pylist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class KeyIndex:
    """Finds a key's position.

    Args:
        keys: All keys in order, each once.
        what: Whose keys they are, for messages.
    """

    def __init__(self, keys: pa.ChunkedArray, what: str) -> None:
        self.keys = KeySequence(keys)
        self._what = what
        hashes = np.frombuffer(b"".join([key_hash(key) for key in self.keys]), "<u8")
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, key: str) -> int | None:
        """Return the position of ``key``, or None."""
        wanted = np.frombuffer(key_hash(key), "<u8")[0]
        position = int(np.searchsorted(self._hashes, wanted))
        while position < len(self._hashes) and self._hashes[position] == wanted:
            row_idx = int(self._order[position])
            if self.keys[row_idx] == key:
                return row_idx
            position += 1
        return None

    def position(self, key: str) -> int:
        """Return the position of ``key``; raises KeyError."""
        position = self.find(key)
        if position is None:
            raise KeyError(f"{self._what} has no row {key!r} among {len(self.keys)}")
        return position


def write_keys(folder: StageFolder, listing: str, shards: Sequence[ShardEntry], what: str) -> str:
    """Write the index of all keys, shard by shard; return its SHA-256.

    Raises:
        EaglerayError: Two shards hold the same record key.
    """
    schema = pa.schema([(KEY, pa.string()), (ITEM, pa.string())])
    sink = BytesIO()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        version="2.6",
        use_dictionary=False,
        write_statistics=False,
    ) as writer:
        for batch in _key_batches(folder, shards):
            writer.write_table(batch.cast(schema))
    content = sink.getvalue()
    twice = find_duplicate(lambda: _hashed_keys(content), sum(shard.rows for shard in shards))
    if twice is not None:
        raise EaglerayError(
            f"stage {what} gives the record key {twice!r} twice, record keys must be unique"
        )
    return folder.write_keys(listing, content)


def _hashed_keys(content: bytes) -> Iterator[pa.Table]:
    file = pq.ParquetFile(pa.BufferReader(content))
    for group in range(file.num_row_groups):
        keys = file.read_row_group(group, columns=[KEY], use_threads=False).column(KEY)
        hashes = np.frombuffer(b"".join([key_hash(key) for key in keys.to_pylist()]), "<u8")
        yield pa.table({"key": keys, "key_hash": hashes})


def read_keys(folder: StageFolder, listing: str, checksum: str = "") -> pa.Table:
    """Return the columns ``key`` and ``item`` of all rows, in order.

    Raises:
        DamagedError: The index does not have the checksum that the manifest says.
    """
    content = pa.BufferReader(folder.read_keys(listing, checksum))
    return pq.ParquetFile(content).read(use_threads=False)


def _key_batches(folder: StageFolder, shards: Sequence[ShardEntry]) -> Iterator[pa.Table]:
    """Yield the keys of the shards, joined to groups of some ten thousand rows."""
    waiting: list[pa.Table] = []
    for table in _keys_of(folder, [shard for shard in shards if shard.rows]):
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROWS_PER_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _keys_of(folder: StageFolder, shards: Sequence[ShardEntry]) -> Iterator[pa.Table]:
    """Yield the keys of each shard in order. Some are read at a time: each costs round trips to
    the storage, and of 100,000 shards these would add up to an hour.
    """
    with ThreadPoolExecutor(folder.store.readers, "keys") as pool:
        ahead: deque[Future[pa.Table]] = deque()
        for shard in shards:
            ahead.append(pool.submit(_read_keys_of, folder, shard))
            if len(ahead) > 2 * folder.store.readers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _read_keys_of(folder: StageFolder, shard: ShardEntry) -> pa.Table:
    if shard.num_bytes <= _WHOLE_BYTES and not folder.store.is_local:
        source: Any = pa.BufferReader(folder.read_rows(shard))  # one round trip instead of three
        return pq.ParquetFile(source).read([KEY, ITEM], use_threads=False)
    with folder.open_rows(shard) as handle:
        return pq.ParquetFile(handle).read([KEY, ITEM], use_threads=False)
