"""Asking for rows that workers compute before they are read, in the run's own order.

The order of the data is known ahead, so what a rank reads next is asked for while it trains. Which
rows are asked for changes nothing of what is read: a sample whose row was not asked for in time
waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

import numpy as np

from eagleray.prepare.streamed import RowSource, ask_rows, source_of
from eagleray.task import Dataset, Rows
from eagleray.train.order import DataOrder, Indices

Wanted = tuple[int, int]
"""Number of a micro-batch, and one of its samples."""


class ReadAhead:
    """Keeps asking for the rows of a rank's next samples.

    Args:
        data: The training data.
        rows: Rows of the prepared stages by label.
        source: Gives those that are streamed.
        wanted: The rank's samples with the numbers of their micro-batches, in order.
        ahead: Most samples that are asked for and not yet trained on.
    """

    def __init__(
        self,
        data: Dataset,
        rows: Mapping[str, Rows],
        source: RowSource,
        wanted: Iterator[Wanted],
        ahead: int,
    ) -> None:
        self._data, self._rows, self._source = data, rows, source
        self._wanted, self._ahead = wanted, ahead
        self._asked: deque[Wanted] = deque()

    def advance(self, number: int) -> None:
        """Ask for more, now that the micro-batches before ``number`` have been read.

        What was asked for them and not read (another sample stood in) is let go.
        """
        while self._asked and self._asked[0][0] < number:
            _, index = self._asked.popleft()
            for label, key in self._data.reads(index):
                self._source.forget(label, [key])
        while len(self._asked) < self._ahead:
            following = next(self._wanted, None)
            if following is None:
                return
            self._asked.append(following)
            ask_rows(self._rows, self._data, [following[1]])


def open_read_ahead(
    data: Dataset, rows: Mapping[str, Rows], wanted: Iterator[Wanted], ahead: int
) -> ReadAhead | None:
    """Return what asks for a rank's rows ahead; None where none are streamed."""
    source = source_of(rows)
    return None if source is None else ReadAhead(data, rows, source, wanted, ahead)


def samples_of(order: DataOrder, streams: slice, per_step: int, numbers: range) -> Iterator[Wanted]:
    """Yield a rank's samples with the numbers of their micro-batches, in order.

    Args:
        order: Order of the data.
        streams: The rank's streams.
        per_step: Micro-batches per step.
        numbers: The micro-batches.
    """
    for number in numbers:
        for index in micro_batch(order, streams, per_step, number)[1]:
            yield number, int(index)


def micro_batch(
    order: DataOrder, streams: slice, per_step: int, number: int
) -> tuple[int, Indices]:
    """Return the epoch and the samples of a rank's micro-batch by its running number."""
    step, place = divmod(number, per_step)
    epoch, batch = order.batch(step)
    return epoch, np.array_split(batch[streams], per_step)[place]
