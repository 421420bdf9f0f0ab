"""Stages in this very process: inline, or because they are shorter than Ray's start.

A pool of Ray's workers computes its first item some ten to twenty seconds after it was asked for:
Ray itself starts in about five, and each worker imports torch and the task. So work that is
declared to be short begins here. After a few seconds its speed is known, and what would still take
longer than a pool's start goes to one; nothing is computed twice, because shards are committed
alike in either place.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from eagleray.prepare.faults import FaultError, TransientError
from eagleray.prepare.marker import ShardEntry, ShardMarker
from eagleray.prepare.worker import StageJob, StageWorker, run_fit

Outcome = ShardEntry | FaultError | TransientError
"""What becomes of a shard: it is committed, or left open for one of two reasons."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long a shard took, and how much of that the device waited for loads; both in s."""

    seconds: float
    waited_s: float = 0.0


_COMMITS_AHEAD = 1
"""Shards that are written while the next one is computed."""

HERE_S = 15.0
"""What still takes so much CPU time goes to Ray: about the start of a pool on two cores, see
experiments/benchmarks/engine_start.py."""

_DECLARED_FACTOR = 10.0
"""How far ``Resources.seconds_per_item`` may be off; work that declares more than so many times
``HERE_S`` goes to Ray at once."""

_BUSY_FACTOR = 5.0
"""How much longer than its CPU time work may take on the wall: that much a busy machine delays it,
and a pool's start too."""

_PROBE_S = 2.0
"""Before, and before the second shard, nothing is said of the speed: the first items import and
warm up."""


def may_be_short(jobs: Sequence[StageJob]) -> bool:
    """Return whether the work that jobs declare may be shorter than Ray's start."""
    declared_s = 0.0
    for job in jobs:
        stage = job.run.stage
        num_items = sum(shard.num_items for shard in job.shards)
        num_items += 0 if job.is_fitted else stage.fit_items
        declared_s += num_items * stage.resources.seconds_per_item
    return declared_s <= _DECLARED_FACTOR * HERE_S


class ShortWork:
    """Says whether work is to go on in this process.

    CPU time decides, as long as the clock on the wall does not run far ahead of it: where others
    keep the machine busy, a pool would start as much later.

    Args:
        num_items: All that there is to do.
        wall: Clock in s.
        cpu: CPU time of this process in s.

    Example:
        >>> clock = iter([0.0, 3.0, 5.0, 5.0])
        >>> work = ShortWork(100, wall=lambda: next(clock), cpu=lambda: 0.0)
        >>> work.count(10)
        >>> work.count(10)  # 10 items in the 2 s since the first ones, spent waiting
        >>> work.may_go_on(), work.left_s
        (True, 16.0)
    """

    def __init__(
        self,
        num_items: int,
        wall: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._left, self._wall, self._cpu = num_items, wall, cpu
        self._begin, self._cpu_begin = wall(), cpu()
        self._first: _Count | None = None
        self._last = _Count()

    def count(self, num_items: int) -> None:
        """Note that a shard of so many items is committed."""
        self._left -= num_items
        self._last = _Count(
            self._last.items + num_items, self._wall() - self._begin, self._cpu() - self._cpu_begin
        )
        self._first = self._first or self._last

    @property
    def left_s(self) -> float:
        """Seconds on the wall that the rest would take, as far as is known; by the items behind
        the first shard where there are any.
        """
        return self._left * self._measured.wall_s / max(1, self._measured.items)

    @property
    def _measured(self) -> _Count:
        first, last = self._first or self._last, self._last
        if first is last:
            return last
        return _Count(
            last.items - first.items, last.wall_s - first.wall_s, last.cpu_s - first.cpu_s
        )

    def may_go_on(self) -> bool:
        """Return whether the next shard is to be computed here."""
        elapsed_s, first = self._wall() - self._begin, self._first
        if elapsed_s < _PROBE_S or first is None:
            return True
        if first is self._last and first.cpu_s < HERE_S / 2:
            return True
        left_cpu_s = self._left * self._measured.cpu_s / max(1, self._measured.items)
        return left_cpu_s <= HERE_S and self.left_s <= _BUSY_FACTOR * HERE_S


@dataclass(frozen=True, slots=True)
class _Count:
    """Items that are done, and what they took."""

    items: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


def compute_here(
    job: StageJob, *, may_go_on: Callable[[], bool] = lambda: True
) -> Iterator[tuple[Outcome, Times]]:
    """Compute a job's shards in order in this process, and commit each one in a thread behind the
    next; yields each one's entry (or what leaves it open) and times.

    The device would stand still while a shard is compressed and flushed to the disk. One shard
    behind hides that, and bounds what a kill can cost and what waits in memory.

    Args:
        job: What to do, with its device.
        may_go_on: Asked before each shard; the rest is left where it says no.
    """
    if not (job.shards and may_go_on()):
        return
    if not job.is_fitted:
        run_fit(job)
    with StageWorker(job.with_fitted()) as worker, ThreadPoolExecutor(1, "commit") as commits:
        waiting: deque[tuple[Future[ShardMarker], Times]] = deque()
        following = worker.load_ahead(0)
        for position in range(len(job.shards)):
            if position and not may_go_on():
                break
            begin = time.perf_counter()
            items, following = following, worker.load_ahead(position + 1)
            try:
                shard = worker.compute(position, items)
            except (FaultError, TransientError) as error:
                # what waits comes first, so that outcomes keep the order of the shards
                while waiting:
                    yield _entry(*waiting.popleft())
                yield error, Times(time.perf_counter() - begin)
                continue
            times = Times(time.perf_counter() - begin, shard.waited_s)
            waiting.append((commits.submit(worker.commit, shard), times))
            if len(waiting) > _COMMITS_AHEAD:
                yield _entry(*waiting.popleft())
        while waiting:
            yield _entry(*waiting.popleft())


def _entry(marker: Future[ShardMarker], times: Times) -> tuple[Outcome, Times]:
    try:
        return marker.result().entry, times
    except (FaultError, TransientError) as error:
        return error, times
