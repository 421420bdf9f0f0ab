"""Which item a worker was at when it died: an item at which three workers died, while the items
beside it went through, becomes a reject.

A dead process cannot say what killed it, and the pool repeats its shard for ever. So workers note
beforehand what they begin, with an actor in which no code of a stage runs. Undisturbed work pays
for one note per shard; only after a worker has died in it, the shard's items go one by one and each
is noted.

Workers are also killed from outside: by people, by a machine short of memory, by a node that goes.
So a death counts only if it came during an item's own computation, which is why a shard that was
merely loaded ahead, and the first death of a shard, are not charged to any item; items that were
charged go last, so that whoever kills workers every few seconds meets another item each time and
only what dies by itself collects three; and a death counts a third where workers of other shards
die at the same time, or where no item before it went through. Where workers keep dying at ever
other items, the job ends and says so. What the memory killer of machine or Ray ended died of its
item as much as of what ran beside it: it counts, and is named. The journal lives as long as one
driver does: a driver that is killed with all its workers must not make rejects of innocent items.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

KILLS_ALLOWED = 2
"""Workers that an item may kill before it is rejected at the next one. A machine that is short of
memory kills at random; three times at one item is no accident."""

TOGETHER_S = 10.0
"""Workers whose deaths are noticed within this time are taken to have died of one cause. (Not
ignored altogether: two deadly items in step would otherwise repeat for ever.)"""
_DOUBTFUL = 1 / 3
"""What a death counts that may well have come from outside."""

DEATHS_ALLOWED = 30
"""Deaths in one shard at ever other items, after which the job ends."""


@dataclass(frozen=True)
class Suspects:
    """What is known about a shard when an attempt begins."""

    is_suspect: bool = False
    """An earlier attempt died, so items go one by one and are noted."""
    deadly: frozenset[int] = frozenset()
    """Positions of items within the shard at which three workers died."""
    charged: tuple[int, ...] = ()
    """Positions of items at which some worker died, those with the fewest deaths first."""
    died: int = 0
    """Workers that died in the shard so far, without those at deadly items."""
    starved: frozenset[int] = frozenset()
    """Positions of items at which a memory killer ended a worker."""
    died_of_memory: int = 0
    """Workers that a memory killer ended in the shard so far."""

    def order(self, num_items: int) -> list[int]:
        """Return the positions of the items that are to be computed: charged ones last."""
        known = {*self.deadly, *self.charged}
        return [i for i in range(num_items) if i not in known] + list(self.charged)


@dataclass
class _Attempts:
    died: int = 0
    is_running: bool = False
    at: int | None = None
    went_through: int = 0
    kills: dict[int, float] = field(default_factory=dict)
    starved: set[int] = field(default_factory=set)
    died_of_memory: int = 0


class Journal:
    """What workers tell while they work on shards.

    Args:
        now: Clock in s.
        memory_kills: Returns how many processes memory killers have ended so far.

    Example:
        >>> journal = Journal()
        >>> for _ in range(5):  # the worker dies at item 7, behind others each time
        ...     suspects = journal.begin("a")
        ...     for item_idx in suspects.order(8) if suspects.is_suspect else []:
        ...         journal.at("a", item_idx)
        >>> sorted(suspects.deadly)
        [7]
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        memory_kills: Callable[[], int] = lambda: 0,
    ) -> None:
        self._memory_kills, self._known_kills = memory_kills, memory_kills()
        self._shards: dict[str, _Attempts] = {}
        self._starting = 0
        self._now = now
        self._last_death: tuple[str, float] = ("", -math.inf)

    def starting(self) -> int:
        """Note that a worker begins its setup; return how many died in theirs since one came
        through.
        """
        self._starting += 1
        return self._starting - 1

    def started(self) -> None:
        """Note that a worker is set up."""
        self._starting = 0

    def begin(self, shard_id: str) -> Suspects:
        """Note that an attempt begins and return what earlier ones tell."""
        attempts = self._shards.setdefault(shard_id, _Attempts())
        if attempts.is_running:
            self._note_death(shard_id, attempts)
        attempts.is_running, attempts.at, attempts.went_through = True, None, 0
        # thirds are summed as floats
        deadly = frozenset(i for i, k in attempts.kills.items() if k > KILLS_ALLOWED + 0.9)
        others = attempts.died - round(sum(attempts.kills[i] for i in deadly))
        charged = sorted(set(attempts.kills) - deadly, key=lambda i: (attempts.kills[i], i))
        return Suspects(
            attempts.died > 0,
            deadly,
            tuple(charged),
            others,
            frozenset(attempts.starved),
            attempts.died_of_memory,
        )

    def is_suspect(self, shard_id: str) -> bool:
        """Return whether a worker has died in the shard; notes nothing."""
        attempts = self._shards.get(shard_id)
        return attempts is not None and (attempts.died > 0 or attempts.is_running)

    def at(self, shard_id: str, item_idx: int) -> None:
        """Note that the item at this position of the shard is about to be worked on."""
        attempts = self._shards[shard_id]
        attempts.went_through += attempts.at is not None
        attempts.at = item_idx

    def end(self, shard_id: str) -> None:
        """Note that the attempt came to its end."""
        self._shards.pop(shard_id, None)

    def _note_death(self, shard_id: str, attempts: _Attempts) -> None:
        """Count a death at the item that was noted, if any; less of it where another shard's
        worker died at about the same time, or where no item before it went through.
        """
        attempts.died += 1
        other, when = self._last_death
        together = other not in ("", shard_id) and self._now() - when < TOGETHER_S
        self._last_death = (shard_id, self._now())
        kills = self._memory_kills()
        of_memory, self._known_kills = kills > self._known_kills, kills
        attempts.died_of_memory += of_memory
        if attempts.at is not None:
            if of_memory:
                attempts.starved.add(attempts.at)
            share = _DOUBTFUL if together or not attempts.went_through else 1.0
            attempts.kills[attempts.at] = attempts.kills.get(attempts.at, 0.0) + share
