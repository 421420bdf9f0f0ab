"""Why training failed: each failing rank writes it down, so that the first trace is shown first.

log/failures/<group>-<rank>.json  one per rank that raised, by the number of the group's start
"""

from __future__ import annotations

import json
import time
import traceback
from dataclasses import asdict, dataclass

from eagleray.storage import Store
from eagleray.task import EaglerayError

_FOLDER = "log/failures"
_FOLLOWING = (
    "DistBackendError",
    "DistNetworkError",
    "DistStoreError",
    "gloo",
    "Connection closed",
    "NCCL",
)
"""What ranks raise only because another rank went away."""


@dataclass(frozen=True)
class Failure:
    """An exception in a training process.

    Args:
        group: Which start of the group of workers, from 1.
        rank: Which of its processes.
        kind: Type of the exception.
        message: Its message.
        trace: Its traceback.
        time: Seconds since 1970.
        is_final: Whether trying again is pointless (bad settings or data).
    """

    group: int
    rank: int
    kind: str
    message: str
    trace: str
    time: float
    is_final: bool

    @property
    def is_following(self) -> bool:
        """Whether it looks like the consequence of another rank's death."""
        return any(word in f"{self.kind} {self.message}" for word in _FOLLOWING)


def record_failure(run: Store, group: int, rank: int, error: BaseException) -> None:
    """Write down why a rank failed."""
    failure = Failure(
        group=group,
        rank=rank,
        kind=type(error).__name__,
        message=str(error),
        trace="".join(traceback.format_exception(error)),
        time=time.time(),
        is_final=isinstance(error, EaglerayError),
    )
    run.write(f"{_FOLDER}/{group:04d}-{rank:04d}.json", json.dumps(asdict(failure)).encode())


def read_failures(run: Store) -> list[Failure]:
    """Return all failures written down, the oldest first."""
    found = [Failure(**json.loads(run.read(p))) for p in run.files(_FOLDER)]
    return sorted(found, key=lambda f: f.time)


def clear_failures(run: Store) -> None:
    """Forget the failures of an earlier call."""
    run.delete(_FOLDER, recursive=True)


def root_cause(failures: list[Failure]) -> Failure | None:
    """Return the first failure of the newest group, of those that are not mere consequences if
    possible.
    """
    newest = max((f.group for f in failures), default=0)
    last = [f for f in failures if f.group == newest]
    own = [f for f in last if not f.is_following]
    return next(iter(own or last), None)


def should_give_up(failures: list[Failure]) -> bool:
    """Return whether starting again is pointless: bad input, or the same exception twice in a row.

    The death of a process, or of the network, leaves no exception of its own and is worth another
    try.
    """
    by_group: dict[int, list[Failure]] = {}
    for failure in failures:
        by_group.setdefault(failure.group, []).append(failure)
    causes = [root_cause(by_group[g]) for g in sorted(by_group)]
    known = [c for c in causes if c is not None and not c.is_following]
    if known and known[-1].is_final:
        return True
    if len(known) < 2 or known[-1].group != known[-2].group + 1:
        return False
    return (known[-1].kind, known[-1].message) == (known[-2].kind, known[-2].message)
