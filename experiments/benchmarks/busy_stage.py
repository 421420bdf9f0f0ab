"""A stage whose units cost a fixed amount of single-threaded CPU work, for measuring the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from eagleray.task import Item, Record, Resources, Rows, Settings, Stage

_NUMBERS = np.random.default_rng(0).random(20_000)


def work(rounds: int) -> float:
    """Sort the same numbers ``rounds`` times; returns something that depends on it."""
    total = 0.0
    for _ in range(rounds):
        total += float(np.sort(_NUMBERS)[100])
    return total


def rounds_for(seconds: float) -> int:
    """Return how many rounds take about ``seconds`` on this machine when nothing disturbs it."""
    least = min(_timed(10) for _ in range(300)) / 10
    return max(1, round(seconds / least))


def _timed(rounds: int) -> float:
    begin = time.perf_counter()
    work(rounds)
    return time.perf_counter() - begin


class Busy(Stage):
    """``count`` units of ``rounds`` rounds each.

    Rows say when a unit began (Unix s), the CPU time of its thread (s), and the CPU time of the
    whole process at its beginning and end (s).
    """

    name = "busy"
    schema: Mapping[str, str] = dict.fromkeys(
        ("begin_s", "cpu_s", "process_begin_s", "process_end_s", "result"), "float64"
    )

    def __init__(self, count: int, rounds: int, seconds: float) -> None:
        self._count, self._rounds = count, rounds
        self.resources = Resources(seconds_per_item=seconds)

    def settings(self) -> Settings:
        """Return nothing that matters."""
        return Settings()

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the items."""
        yield from (Item(f"{index:07d}", "", {}) for index in range(self._count))

    def load(self, item: Item) -> str:
        """Return the key."""
        return item.key

    def process(self, samples: Sequence[Any]) -> Sequence[Sequence[Record]]:
        """Work."""
        records = []
        for key in samples:
            begin_s, process_begin_s, cpu = time.time(), time.process_time(), time.thread_time()
            result = work(self._rounds)
            row = {
                "begin_s": begin_s,
                "cpu_s": time.thread_time() - cpu,
                "process_begin_s": process_begin_s,
                "process_end_s": time.process_time(),
                "result": result,
            }
            records.append([Record(key, row)])
        return records
