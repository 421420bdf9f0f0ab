"""What a tracker is: told of one run's settings, metrics, results and files, in that order.

A tracker may raise whatever its package raises: ``track.tell`` names it and lets the run go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eagleray.runs.records import EvaluationResult

DONE = "done"
"""Outcome of work that was not interrupted and did not fail."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is.

    Args:
        name: The run as ``experiment/run``.
        experiment: The experiment's name.
        task: The task's name.
        folder: Folder or URI of the run.
        settings: The resolved settings by dotted name (``train.phases.0.lr``).
    """

    name: str
    experiment: str
    task: str
    folder: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Logged:
    """What one optimizer step logged.

    Args:
        step: Optimizer steps done in all phases.
        time_s: When, seconds since 1970.
        values: Finite values by ``kind/name`` (``train/loss``, ``validate/miou``).
    """

    step: int
    time_s: float
    values: Mapping[str, float]


class Tracker(Protocol):
    """One service, told about one run. Every method may block; none is called by two threads."""

    def open(self, facts: RunFacts, known: str) -> str:
        """Begin the run there, or go on with it.

        Args:
            facts: What the run is.
            known: The id that an earlier ``open`` gave, empty at the first one.

        Returns:
            The id; another one than ``known`` means that the service has forgotten the run, so
            that everything is told again.
        """
        ...

    def log(self, entries: Sequence[Logged]) -> None:
        """Take metrics, by ascending steps; none is told twice."""
        ...

    def results(self, results: Sequence[EvaluationResult]) -> None:
        """Take results of evaluations that are new or have changed."""
        ...

    def files(self, files: Mapping[str, bytes]) -> None:
        """Take small files by their path below the run."""
        ...

    def close(self, outcome: str) -> None:
        """End what ``open`` began.

        Args:
            outcome: ``done``, or the type of what ended the work.
        """
        ...
