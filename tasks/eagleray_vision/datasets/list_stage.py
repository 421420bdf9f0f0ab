"""What a data set has once, written when all of its images are: lists and indices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eagleray.task import Item, Record, Resources, Rows, Stage


class ListStage(Stage[Item, Sequence[Record]]):
    """Writes the lists over the rows of another stage: one item, one row.

    Args:
        images: Label of the stage whose rows are listed.
    """

    version = 1
    resources = Resources(seconds_per_item=60)

    def __init__(self, images: str) -> None:
        self.upstream = (images,)

    @abstractmethod
    def identity(self) -> str:
        """Return what the lists belong to: another folder's are written anew."""

    @abstractmethod
    def write(self, rows: Rows) -> Mapping[str, Any]:
        """Write the lists over all rows, and return the stage's one row."""

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the one thing to do."""
        yield Item("lists", self.identity(), {})

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Keep the rows of the images."""
        self._rows = upstream[self.upstream[0]]

    def load(self, item: Item) -> Item:
        """Return the item: there is nothing to decode."""
        return item

    def process(self, samples: Sequence[Item]) -> Sequence[Sequence[Record]]:
        """Write the lists."""
        return [[Record(item.key, self.write(self._rows))] for item in samples]
