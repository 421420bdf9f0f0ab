"""What says that work is done: the marker of a shard, and the manifest of a finished listing.

A marker is created last and only once, and readers trust markers alone. A manifest joins the
markers of a listing that is complete, so that readers open one file and not thousands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from eagleray.prepare.fingerprint import canonical_json
from eagleray.storage import sha256
from eagleray.task import InputError

_CHECKSUM_DIGITS = 12
"""Digits of a checksum in a file's name: enough that two attempts never share a name."""


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

    @classmethod
    def of(cls, shard_id: str, key: str, name: str, content: bytes) -> CommittedFile:
        """Name a file by its content, so that no attempt ever overwrites another's.

        Raises:
            InputError: The name is no relative POSIX path.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.name:
            raise InputError(f"file name {name!r} of record {key!r} must be a relative POSIX path")
        checksum = sha256(content)
        stored = path.with_name(f"{path.stem}-{checksum[:_CHECKSUM_DIGITS]}{path.suffix}")
        return cls(key, name, f"files/{shard_id}/{stored.as_posix()}", checksum, len(content))


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

    @classmethod
    def of(
        cls,
        shard_id: str,
        content: bytes,
        *,
        items: int,
        rows: int,
        rejected: tuple[Reject, ...],
        files: tuple[CommittedFile, ...],
    ) -> ShardMarker:
        """Return the marker of a shard whose Parquet file has this content."""
        checksum = sha256(content)
        path = f"shards/{shard_id}-{checksum[:_CHECKSUM_DIGITS]}.parquet"
        done = items - len(rejected)
        return cls(shard_id, path, checksum, len(content), items, done, rows, rejected, files)

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

    @property
    def entry(self) -> ShardEntry:
        """The marker without its lists."""
        return ShardEntry(
            self.shard, self.data, self.num_bytes, self.total_bytes,
            self.items, self.done, self.rows,
        )  # fmt: skip


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
        keys: SHA-256 of the index of all keys; empty in manifests of earlier versions.
    """

    listing: str
    fit: str
    shards: tuple[ShardEntry, ...]
    summary: Mapping[str, Any] = field(default_factory=dict)
    keys: str = ""

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
        """Size of data and files."""
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
        fields = json.loads(content)
        shards = tuple(ShardEntry(**shard) for shard in fields["shards"])
        keys = fields.get("keys", "")
        return cls(fields["listing"], fields["fit"], shards, fields["summary"], keys)
