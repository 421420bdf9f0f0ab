"""What a finished listing consists of: its shards in order, the totals, and an index of all keys.

``manifest/<listing>.keys.parquet`` (key and item identity of every row, in order) is written first,
``manifest/<listing>.json`` last and only once; ``current.json`` names the listing finished last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eagleray.prepare.columns import ITEM, KEY
from eagleray.prepare.fingerprint import canonical_json
from eagleray.prepare.keys import find_duplicate, key_hash
from eagleray.prepare.marker import Reject, ShardMarker, read_marker
from eagleray.storage import Store
from eagleray.task import EaglerayError

FOLDER = "manifest"
CURRENT = "current.json"


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard in a manifest; the rejects' and files' names stay in its marker."""

    shard: str
    data: str
    num_bytes: int
    total_bytes: int
    items: int
    done: int
    rows: int


@dataclass(frozen=True)
class Manifest:
    """A finished listing.

    Args:
        listing: Digest of the listing.
        fit: Name of what ``fit`` found, empty without a fit.
        shards: In listing order.
        summary: What ``Stage.finish`` gave.
    """

    listing: str
    fit: str
    shards: tuple[ShardEntry, ...]
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """Number of items = done + rejected."""
        return sum(shard.items for shard in self.shards)

    @property
    def done(self) -> int:
        """Number of items that were processed."""
        return sum(shard.done for shard in self.shards)

    @property
    def rows(self) -> int:
        """Number of records."""
        return sum(shard.rows for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Size of all data and files."""
        return sum(shard.total_bytes for shard in self.shards)

    def encode(self) -> bytes:
        """Return the manifest's file content."""
        totals = {
            "items": self.items,
            "done": self.done,
            "rows": self.rows,
            "num_bytes": self.num_bytes,
        }
        return canonical_json(asdict(self) | {"totals": totals}, "what Stage.finish returns")

    @classmethod
    def decode(cls, content: bytes) -> Manifest:
        """Return the manifest that ``encode`` wrote."""
        found = json.loads(content)
        shards = tuple(ShardEntry(**shard) for shard in found["shards"])
        return cls(found["listing"], found["fit"], shards, found["summary"])


def entry_of(marker: ShardMarker) -> ShardEntry:
    """Return a marker without its lists."""
    return ShardEntry(
        marker.shard, marker.data, marker.num_bytes, marker.total_bytes,
        marker.items, marker.done, marker.rows,
    )  # fmt: skip


def manifest_path(listing: str) -> str:
    """Return where a listing's manifest is, below the stage's folder."""
    return f"{FOLDER}/{listing}.json"


def keys_path(listing: str) -> str:
    """Return where the index of a listing's keys is, below the stage's folder."""
    return f"{FOLDER}/{listing}.keys.parquet"


def read_manifest(folder: Store, listing: str | None = None) -> Manifest:
    """Return a listing's manifest, or that of the listing finished last.

    Raises:
        EaglerayError: It is not finished.
    """
    try:
        if listing is None:
            listing = json.loads(folder.read(CURRENT))["listing"]
        return Manifest.decode(folder.read(manifest_path(str(listing))))
    except FileNotFoundError as error:
        raise EaglerayError(
            f"{folder.uri} holds no finished stage: run `eagleray prepare` to its end first"
        ) from error


def has_manifest(folder: Store, listing: str) -> bool:
    """Return whether a listing is finished."""
    return folder.exists(manifest_path(listing))


def write_keys(folder: Store, listing: str, shards: Sequence[ShardEntry], what: str) -> None:
    """Write the index of all keys, shard by shard.

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
    folder.write(keys_path(listing), content)


def _hashed_keys(content: bytes) -> Iterator[pa.Table]:
    file = pq.ParquetFile(pa.BufferReader(content))
    for group in range(file.num_row_groups):
        keys = file.read_row_group(group, columns=[KEY], use_threads=False).column(KEY)
        hashes = np.frombuffer(b"".join([key_hash(key) for key in keys.to_pylist()]), "<u8")
        yield pa.table({"key": keys, "key_hash": hashes})


def read_keys(folder: Store, listing: str) -> pa.Table:
    """Return the columns ``key`` and ``item`` of all rows, in order."""
    content = pa.BufferReader(folder.read(keys_path(listing)))
    return pq.ParquetFile(content).read(use_threads=False)


def read_rejects(folder: Store, listing: str | None = None) -> Iterator[Reject]:
    """Yield the rejected items of a finished listing, in order."""
    for shard in read_manifest(folder, listing).shards:
        if shard.done < shard.items:
            yield from read_marker(folder, shard.shard).rejected


_ROWS_PER_GROUP = 1 << 16


def _key_batches(folder: Store, shards: Sequence[ShardEntry]) -> Iterator[pa.Table]:
    """Yield the keys of the shards, joined to groups of some ten thousand rows."""
    waiting: list[pa.Table] = []
    for shard in shards:
        if not shard.rows:
            continue
        with folder.open(shard.data) as handle:
            waiting.append(pq.ParquetFile(handle).read([KEY, ITEM], use_threads=False))
        if sum(map(len, waiting)) >= _ROWS_PER_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
