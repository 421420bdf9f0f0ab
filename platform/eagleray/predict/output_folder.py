"""The folder of a prediction: exports as the user wants them, and beside them what was made.

    <export> ...                        files of the user's formats
    .eagleray/<fingerprint>/            a stage's folder; its rows hold the exports' checksums
    .eagleray/log/<host>-<pid>.jsonl    when a worker loaded, predicted and exported

Exports are written before the rows that name them. A user may delete one, or let another prediction
overwrite it; the marker of its shard then promises what is not there any more, so it is taken back
and the same command makes the export again.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq

from eagleray.prepare import ShardMarker, StageFolder
from eagleray.storage import DamagedError, Store, read_checked, sha256

_WORK = ".eagleray"
_READERS = 8
"""Exports that are read at a time."""


@dataclass(frozen=True, slots=True)
class Exports:
    """What was written for one of the user's files.

    Args:
        checksums: SHA-256 by name of the export, in the order of writing.
        index: What the exports left for the indices of their formats, by format.
    """

    checksums: Mapping[str, str]
    index: Mapping[str, Mapping[str, Any]]

    SCHEMA: ClassVar[Mapping[str, str]] = {
        "index": "string",
        "files": "list<string>",
        "sha256": "list<string>",
    }
    """Columns of the stored rows."""

    def row(self) -> dict[str, Any]:
        """Return the stored row."""
        return {
            "index": json.dumps(self.index, sort_keys=True),
            "files": list(self.checksums),
            "sha256": list(self.checksums.values()),
        }

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Exports:
        """Return what a stored row says."""
        checksums = dict(zip(row["files"], row["sha256"], strict=True))
        return cls(checksums, json.loads(row["index"]))


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Where exports go. Picklable.

    Args:
        store: The folder that the user named.
    """

    store: Store

    @property
    def root(self) -> Path | None:
        """Where it is on the local disk, None for an object store."""
        return self.store.local_path(_WORK).parent if self.store.is_local else None

    def stage_folder(self, fingerprint: str) -> StageFolder:
        """Return the folder of rows and markers of one prediction."""
        return StageFolder(self.store.child(f"{_WORK}/{fingerprint}"))

    def write(self, contents: Mapping[str, bytes]) -> dict[str, str]:
        """Write exports, each one whole; return their checksums by name."""
        for name, content in contents.items():
            self.store.write(name, content)
        return {name: sha256(content) for name, content in contents.items()}

    def log(self, values: Mapping[str, Any]) -> None:
        """Note what this process did; on a local disk only, where lines can be appended."""
        if self.store.is_local:
            path = f"{_WORK}/log/{socket.gethostname()}-{os.getpid()}.jsonl"
            self.store.append_line(path, json.dumps(values))

    def forget_changed(self, folder: StageFolder) -> int:
        """Take back the markers of shards whose exports are missing or changed.

        Args:
            folder: Rows and markers of the prediction.

        Returns:
            Number of these shards.
        """
        markers = folder.markers(sorted(folder.done_shards()))
        with ThreadPoolExecutor(_READERS) as pool:
            changed = [
                marker.shard
                for marker in markers
                if not all(pool.map(self._is_whole, _exports(folder, marker)))
            ]
        folder.forget_shards(changed)
        return len(changed)

    def _is_whole(self, export: tuple[str, str]) -> bool:
        name, checksum = export
        try:
            read_checked(self.store, name, checksum)
        except (DamagedError, OSError):
            return False
        return True


def _exports(folder: StageFolder, marker: ShardMarker) -> Iterator[tuple[str, str]]:
    """Yield name and checksum of every export of a shard."""
    content = BytesIO(folder.read_rows(marker))
    for row in pq.read_table(content, columns=["files", "sha256"]).to_pylist():
        yield from zip(row["files"], row["sha256"], strict=True)
