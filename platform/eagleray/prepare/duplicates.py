"""Keys that are there twice, found in bounded memory whatever their number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HASHES_PER_PASS = 1 << 23
"""Key hashes that the search holds at a time (64 MB)."""

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
    num_passes = 1 + num_keys // HASHES_PER_PASS
    for turn in range(num_passes):
        parts = (table.column("key_hash").to_numpy() for table in chunks())
        chosen = [part[part % np.uint64(num_passes) == turn] for part in parts]
        hashes = np.concatenate([np.empty(0, np.uint64), *chosen])
        hashes.sort()
        repeated = hashes[1:][hashes[1:] == hashes[:-1]]
        if len(repeated):
            found = _first_twice(chunks, pa.array(np.unique(repeated)))
            if found is not None:
                return found
    return None


def _first_twice(chunks: KeyChunks, repeated: pa.Array) -> str | None:
    seen: set[str] = set()
    for table in chunks():
        for key in table.filter(pc.is_in(table.column("key_hash"), repeated)).column("key"):
            if key.as_py() in seen:
                return str(key)
            seen.add(key.as_py())
    return None
