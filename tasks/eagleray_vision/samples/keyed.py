"""A dataset with a sample per row of a stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from eagleray.task import Dataset, Rows

S = TypeVar("S")
B = TypeVar("B")


class KeyedDataset(Dataset[S, B]):
    """A dataset whose samples go by the keys of rows, and are read shard by shard as these lie.

    Args:
        rows: The rows; of several stages the one that is most expensive to read.
        keys: Which samples there are; None: one for each row.
    """

    def __init__(self, rows: Rows, keys: Iterable[str] | None = None) -> None:
        self._rows = rows
        self._keys = list(rows.keys() if keys is None else keys)

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        """Return the row's key."""
        return self._keys[index]

    def shard_idx(self, index: int) -> int:
        """Return the shard that holds the row."""
        return self._rows.shard_idx(self._keys[index])
