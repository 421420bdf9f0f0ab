"""Which item a worker was at when it died: an item that has killed its worker three times becomes a
reject.

A dead process cannot say what killed it, and the pool repeats its shard for ever. So workers note
beforehand what they begin, with an actor in which no code of a stage runs. Undisturbed work pays
for one note per shard; only after a worker has died in it, the shard's items go one by one and each
is noted. The journal lives as long as one driver does: a driver that is killed from outside, with
all its workers, must not make rejects of innocent items.
"""

from __future__ import annotations

from dataclasses import dataclass, field

KILLS_ALLOWED = 2
"""Workers that an item may kill before it is rejected at the next one. A machine that is short of
memory kills at random; three times at one item is no accident."""


@dataclass(frozen=True)
class Suspects:
    """What is known about a shard when an attempt begins."""

    is_suspect: bool = False
    """An earlier attempt died, so items go one by one and are noted."""
    deadly: frozenset[int] = frozenset()
    """Positions of items within the shard that have killed their worker three times."""


@dataclass
class _Attempts:
    died: int = 0
    is_running: bool = False
    at: int | None = None
    kills: dict[int, int] = field(default_factory=dict)
    unknown_kills: int = 0


class Journal:
    """What workers tell while they work on shards.

    Example:
        >>> journal = Journal()
        >>> for _ in range(4):  # the worker dies at item 7 each time
        ...     suspects = journal.begin("a")
        ...     if suspects.is_suspect and 7 not in suspects.deadly:
        ...         journal.at("a", 7)
        >>> sorted(suspects.deadly)
        [7]
    """

    def __init__(self) -> None:
        self._shards: dict[str, _Attempts] = {}
        self._starting = 0

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
            self._note_death(attempts)
        attempts.is_running, attempts.at = True, None
        deadly = frozenset(i for i, kills in attempts.kills.items() if kills > KILLS_ALLOWED)
        return Suspects(attempts.died > 0, deadly)

    def at(self, shard_id: str, item_idx: int) -> None:
        """Note that the item at this position of the shard is about to be worked on."""
        self._shards[shard_id].at = item_idx

    def end(self, shard_id: str) -> None:
        """Note that the attempt came to its end."""
        self._shards.pop(shard_id, None)

    def _note_death(self, attempts: _Attempts) -> None:
        """Count a death; the first attempt's, where items were not noted, goes to the first item
        that is caught.
        """
        attempts.died += 1
        if attempts.at is None:
            attempts.unknown_kills += 1
            return
        kills = attempts.kills.get(attempts.at, 0) + 1 + attempts.unknown_kills
        attempts.kills[attempts.at], attempts.unknown_kills = kills, 0
