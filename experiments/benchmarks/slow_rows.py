"""A stage whose items take a given time on a device that this machine does not have: they sleep."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from eagleray.task import Item, Record, Resources, Rows, Settings, Stage


class SlowRows(Stage[int, list[Record]]):
    """Rows of random bytes.

    Args:
        count: Items.
        seconds: What the device takes for one.
        num_bytes: Size of a row.
    """

    name = "slow"
    schema: Mapping[str, str] = {"codes": "list<uint8>"}
    resources = Resources(cpus=0.5, loader_threads=2, seconds_per_item=0.05)

    def __init__(self, count: int, seconds: float, num_bytes: int) -> None:
        self._count, self._seconds, self._num_bytes = count, seconds, num_bytes

    def settings(self) -> Settings:
        """Return nothing: rows depend on their items alone."""
        return Settings()

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """Number the items."""
        for number in range(self._count):
            yield Item(f"{number:05d}", "", {"number": number})

    def load(self, item: Item) -> int:
        """Return the item's number."""
        return int(item.payload["number"])

    def process(self, samples: Sequence[int]) -> list[list[Record]]:
        """Sleep, and give equal bytes."""
        time.sleep(self._seconds * len(samples))
        return [
            [Record(f"{n:05d}", {"codes": np.full(self._num_bytes, n % 256, np.uint8)})]
            for n in samples
        ]
