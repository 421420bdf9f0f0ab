"""Exports that are no longer what was written are made again.

A user may delete an export, or let another prediction overwrite it. The marker of its shard then
promises what is not there any more; without it the shard counts as not done.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pyarrow.parquet as pq

from eagleray.predict.stage import CHECKSUMS, FILES
from eagleray.prepare.manifest import FOLDER as MANIFESTS
from eagleray.prepare.marker import ShardMarker, done_shards, marker_path, read_markers
from eagleray.storage import DamagedError, Store, read_checked

_READERS = 8
"""Exports that are read at a time."""


def forget_changed(work: Store, output: Store) -> int:
    """Delete the markers of shards whose exports are missing or changed.

    Args:
        work: The stage's folder.
        output: Folder of the exports.

    Returns:
        Number of these shards.
    """
    with ThreadPoolExecutor(_READERS) as pool:

        def is_whole(export: tuple[str, str]) -> bool:
            name, expected = export
            try:
                read_checked(output, name, expected)
            except (DamagedError, OSError):
                return False
            return True

        markers = read_markers(work, sorted(done_shards(work)))
        changed = [m.shard for m in markers if not all(pool.map(is_whole, _exports(work, m)))]
    if changed:
        work.delete(MANIFESTS, recursive=True)
    for shard in changed:
        work.delete(marker_path(shard))
    return len(changed)


def _exports(work: Store, marker: ShardMarker) -> Iterator[tuple[str, str]]:
    """Yield name and checksum of every export of a shard."""
    table = pq.read_table(BytesIO(work.read(marker.data)), columns=[FILES, CHECKSUMS])
    for row in table.to_pylist():
        yield from zip(row[FILES], row[CHECKSUMS], strict=True)
