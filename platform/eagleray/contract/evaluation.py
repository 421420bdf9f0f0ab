"""Benchmarks: what is measured, what was published, what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """A published number: the metric's name in ``Metrics.values``, its value and where it was
    read.
    """

    metric: str
    value: float
    source: str
    model: str = ""
    recalled: bool = False
    """True where the number is quoted from memory and still to be checked."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A dataset split with a protocol and the numbers published for it.

    Args:
        name: Unique within the task.
        source: What to hand to ``Task.dataset``; its samples are the units.
        metric: The number that ranks runs.
        protocol: One paragraph: resolution, classes, rules.
        schema: Columns of the rows that ``Task.score`` returns, as in ``Stage.schema``.
    """

    name: str
    source: str
    metric: str
    protocol: str
    schema: Mapping[str, str]
    higher_is_better: bool = True
    vocabulary: tuple[str, ...] = ()
    published: tuple[PublishedResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Metrics:
    """Result of a benchmark: scalars, and scalars per class (class name -> metric -> value)."""

    values: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
