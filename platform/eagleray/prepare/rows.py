"""The rows of a finished stage, read by key from its shards (``eagleray.task.Rows``)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eagleray.prepare.columns import ITEM, KEY, row_at
from eagleray.prepare.fingerprint import IdentifiedRows, short_hash
from eagleray.prepare.folder import StageFolder
from eagleray.prepare.keys import KeyIndex, read_keys
from eagleray.prepare.marker import CommittedFile, Manifest
from eagleray.storage import DamagedError
from eagleray.task import EaglerayError

CACHE_BYTES = 256 << 20
"""Arrow memory that one handle keeps for row groups read last."""

_MARKERS_KEPT = 64


class StoredRows(IdentifiedRows):
    """Rows in the shards of a finished listing. Opens nothing before it is asked; safe to pickle
    and to thread.

    Args:
        folder: The stage's folder.
        listing: Digest of the listing.
        manifest: The listing's manifest where it is not stored yet.
    """

    def __init__(self, folder: StageFolder, listing: str, manifest: Manifest | None = None) -> None:
        self._folder = folder
        self._listing = listing
        self._given = manifest
        self._lock = threading.RLock()
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._cached_bytes = 0
        self._rows_per_group: dict[int, int] = {}
        self._files: OrderedDict[int, Mapping[tuple[str, str], CommittedFile]] = OrderedDict()

    def __reduce__(self) -> tuple[type[StoredRows], tuple[StageFolder, str, Manifest | None]]:
        return (StoredRows, (self._folder, self._listing, self._given))

    def __repr__(self) -> str:
        return f"StoredRows({self._folder.uri!r}, {self._listing!r})"

    def __len__(self) -> int:
        return self.manifest.rows

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._index.find(key) is not None

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        shard_idx, row_idx = self._locate(key)
        table, row_idx = self._group(shard_idx, row_idx)
        return row_at(table, row_idx)

    def keys(self) -> Sequence[str]:
        """Return the record keys in listing order."""
        return self._index.keys

    def read_file(self, key: str, name: str) -> bytes:
        """Return the file ``name`` that the record ``key`` carries.

        Raises:
            KeyError: There is no such row.
            EaglerayError: The record carries no such file.
        """
        shard_idx, _ = self._locate(key)
        files = self._files_of(shard_idx)
        if (key, name) not in files:
            names = sorted(file for owner, file in files if owner == key)
            raise EaglerayError(f"row {key!r} carries no file {name!r}, it has {names}")
        return self._folder.read_file(files[key, name])

    def files(self, key: str) -> Sequence[str]:
        """Return the names of the files that the record ``key`` carries."""
        shard_idx, _ = self._locate(key)
        return [name for owner, name in self._files_of(shard_idx) if owner == key]

    def shard_idx(self, key: str) -> int:
        """Return the number of the shard that holds ``key``."""
        return self._locate(key)[0]

    def summary(self) -> Mapping[str, Any]:
        """Return what ``Stage.finish`` gave."""
        return self.manifest.summary

    def fitted(self) -> Mapping[str, Any]:
        """Return what ``Stage.fit`` found; nothing for a stage without one."""
        return self._fitted

    @cached_property
    def _fitted(self) -> Mapping[str, Any]:
        return self._folder.read_fitted(self.manifest.fit) or {}

    @cached_property
    def manifest(self) -> Manifest:
        """The listing's manifest."""
        return self._given or self._folder.manifest(self._listing)

    @property
    def folder(self) -> StageFolder:
        """Return where the rows are."""
        return self._folder

    @property
    def listing(self) -> str:
        """Return the digest of the inputs."""
        return self._listing

    @property
    def digest(self) -> str:
        """Return a name that changes when any row may have changed."""
        names = (self._folder.fingerprint, self.manifest.listing, self.manifest.fit)
        return short_hash("/".join(names).encode())

    def find_identity(self, key: str) -> str | None:
        """Return what a stage downstream depends on when it reads this row; None without such a
        row.
        """
        position = self._index.find(key)
        return None if position is None else str(self._key_table.column(ITEM)[position])

    @cached_property
    def _key_table(self) -> pa.Table:
        return read_keys(self._folder, self._listing, self.manifest.keys)

    @cached_property
    def _index(self) -> KeyIndex:
        with self._lock:
            return KeyIndex(self._key_table.column(KEY), self._folder.uri)

    @cached_property
    def _first_rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Number of rows before each shard, and at the end of all of them."""
        counts = [shard.rows for shard in self.manifest.shards]
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)

    def _locate(self, key: str) -> tuple[int, int]:
        position = self._index.position(key)
        shard_idx = int(np.searchsorted(self._first_rows, position, side="right")) - 1
        return shard_idx, position - int(self._first_rows[shard_idx])

    def _group(self, shard_idx: int, row_idx: int) -> tuple[pa.Table, int]:
        """Return the row group that holds a row of a shard, and the row's position in it."""
        with self._lock:
            size = self._rows_per_group.get(shard_idx)
            cached = None if size is None else self._groups.get((shard_idx, row_idx // size))
            if cached is None or size is None:
                cached, size = self._read_group(shard_idx, row_idx)
                self._remember((shard_idx, row_idx // size), cached)
            else:
                self._groups.move_to_end((shard_idx, row_idx // size))
            return cached, row_idx % size

    def _read_group(self, shard_idx: int, row_idx: int) -> tuple[pa.Table, int]:
        entry = self.manifest.shards[shard_idx]
        try:
            self._folder.check_rows(entry)
            with self._folder.open_rows(entry, exact=True) as handle:
                # The columns of a row group in one request.
                file = pq.ParquetFile(handle, pre_buffer=True)
                size = self._rows_per_group[shard_idx] = file.metadata.row_group(0).num_rows
                return file.read_row_group(row_idx // size, use_threads=False), size
        except (pa.ArrowException, FileNotFoundError, DamagedError) as error:
            raise DamagedError(self._folder.describe_damage(entry, error)) from error

    def _remember(self, name: tuple[int, int], table: pa.Table) -> None:
        self._groups[name] = table
        self._cached_bytes += table.nbytes
        while self._cached_bytes > CACHE_BYTES and len(self._groups) > 1:
            self._cached_bytes -= self._groups.popitem(last=False)[1].nbytes

    def _files_of(self, shard_idx: int) -> Mapping[tuple[str, str], CommittedFile]:
        with self._lock:
            if shard_idx not in self._files:
                marker = self._folder.marker(self.manifest.shards[shard_idx].shard)
                self._files[shard_idx] = {(file.key, file.name): file for file in marker.files}
                while len(self._files) > _MARKERS_KEPT:
                    self._files.popitem(last=False)
            self._files.move_to_end(shard_idx)
            return self._files[shard_idx]


def open_rows(folder: StageFolder, listing: str | None = None) -> StoredRows:
    """Return the rows of a finished stage: of one listing, or of the one finished last.

    Raises:
        EaglerayError: Nothing is finished there.
    """
    return StoredRows(folder, folder.manifest(listing).listing)
