"""Keys to positions for millions of keys: sorted 64-bit hashes, a permutation and the keys in Arrow
memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa

from eagleray.prepare.duplicates import key_hash


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
        found = self.find(key)
        if found is None:
            raise KeyError(f"{self._what} has no row {key!r} among {len(self.keys)}")
        return found
