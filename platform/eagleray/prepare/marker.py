"""A shard's marker: created last and only once, it alone says that the shard is there and what
belongs to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from eagleray.prepare.fingerprint import canonical_json
from eagleray.storage import Store, commit

FOLDER = "markers"
_READERS = 16
"""Markers read at a time; on an object store each is a round trip."""


@dataclass(frozen=True, slots=True)
class Reject:
    """An item that could not be processed, with its error's type and message."""

    key: str
    error: str


@dataclass(frozen=True, slots=True)
class CommittedFile:
    """A file that a record carries: ``name`` as the stage gave it, ``path`` below the stage's
    folder.
    """

    key: str
    name: str
    path: str
    sha256: str
    num_bytes: int


@dataclass(frozen=True, slots=True)
class ShardMarker:
    """What a finished shard consists of; holds no timings, so that equal work gives equal bytes.

    Args:
        shard: Id of the shard.
        data: Path of its Parquet file below the stage's folder.
        sha256: Checksum of that file.
        num_bytes: Its size.
        items: Items of the shard = done + rejected.
        done: Items that were processed.
        rows: Records that they gave.
        rejected: The others.
        files: Files that the records carry.
    """

    shard: str
    data: str
    sha256: str
    num_bytes: int
    items: int
    done: int
    rows: int
    rejected: tuple[Reject, ...] = ()
    files: tuple[CommittedFile, ...] = ()

    def encode(self) -> bytes:
        """Return the marker's file content."""
        return canonical_json(asdict(self), "a marker")

    @classmethod
    def decode(cls, content: bytes) -> ShardMarker:
        """Return the marker that ``encode`` wrote."""
        fields = json.loads(content)
        fields["rejected"] = tuple(Reject(**reject) for reject in fields["rejected"])
        fields["files"] = tuple(CommittedFile(**file) for file in fields["files"])
        return cls(**fields)

    @property
    def total_bytes(self) -> int:
        """Size of the data and of all files."""
        return self.num_bytes + sum(file.num_bytes for file in self.files)


def marker_path(shard_id: str) -> str:
    """Return where a shard's marker is, below the stage's folder."""
    return f"{FOLDER}/{shard_id}.json"


def read_marker(folder: Store, shard_id: str) -> ShardMarker:
    """Return a shard's marker; raises FileNotFoundError where it is not done."""
    return ShardMarker.decode(folder.read(marker_path(shard_id)))


def commit_shard(folder: Store, marker: ShardMarker, data: bytes) -> ShardMarker:
    """Write a shard's data, then its marker; return the marker that counts, which is that of
    another attempt where that was faster.
    """
    if commit(folder, {marker.data: data}, marker_path(marker.shard), marker.encode()):
        return marker
    return read_marker(folder, marker.shard)


def done_shards(folder: Store) -> set[str]:
    """Return the ids of all shards that are done."""
    return {path[len(FOLDER) + 1 : -len(".json")] for path in folder.files(FOLDER)}


def read_markers(folder: Store, shard_ids: Iterable[str]) -> Iterator[ShardMarker]:
    """Yield the markers of several shards in the order of their ids, reading some at a time."""
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(lambda shard_id: read_marker(folder, shard_id), shard_ids)
