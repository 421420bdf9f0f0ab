"""Runs as rows: a metric beside the published number, and every value by the name it goes by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from eagleray.analysis.table import comparisons
from eagleray.browse.index import RunEntry
from eagleray.browse.settings_index import RunSettings
from eagleray.runs.records import INITIAL, EvaluationResult

TRAINING = "training"
"""Stands before the names of numbers that training logged: ``training: loss``."""


@dataclass(frozen=True)
class RunRow:
    """One run in a list.

    Args:
        entry: The run.
        metric: The number that is shown of it, ``benchmark: metric``.
        best: Its value with the best checkpoint.
        last: Its value with the last checkpoint.
        paper: The published value.
        higher_is_better: Which way the metric goes.
        settings: What it was made with.
    """

    entry: RunEntry
    metric: str = ""
    best: float | None = None
    last: float | None = None
    paper: float | None = None
    higher_is_better: bool = True
    settings: RunSettings = field(default_factory=dict, repr=False)

    @property
    def ours(self) -> float | None:
        """The value with the best checkpoint, else with the last one."""
        return self.best if self.best is not None else self.last

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.ours is None or self.paper is None else self.ours - self.paper

    @property
    def told(self) -> str:
        """The text in which the words of a filter are looked for."""
        entry, marks = self.entry, self.entry.marks
        own = (entry.name, entry.summary.task, entry.state, self.metric, *marks.tags, marks.note)
        return " ".join(own)

    def values(self, name: str) -> Sequence[Sequence[Any]]:
        """Return what a name means for this run: what the list shows, a metric of any benchmark, a
        setting by its path or the end of it, a number that training logged.
        """
        own = self._own()
        if name in own:
            return [[own[name]]]
        if name == "tag":
            return [self.entry.marks.tags or [""]]
        metrics = [r.values[name] for r in _trained_first(self.entry) if name in r.values]
        settings = [self.settings[path] for path in settings_called(name, tuple(self.settings))]
        logged = [self.entry.summary.train[name]] if name in self.entry.summary.train else []
        return [meaning for meaning in (metrics[:1], settings, logged) if meaning]

    def value(self, name: str) -> Any:
        """Return the likeliest value that a name means; None where it means nothing."""
        return next((value for meaning in self.values(name) for value in meaning), None)

    def names(self) -> Iterable[str]:
        """Return the names that have values; of settings also the last part."""
        yield "tag"
        yield from self._own()
        yield from self.entry.summary.train
        for result in self.entry.summary.results:
            yield from result.values
        for path in self.settings:
            yield path
            yield path.rpartition(".")[2]

    def training(self, name: str) -> float | None:
        """Return a number of the last training line."""
        value = self.entry.summary.train.get(name)
        return float(value) if isinstance(value, int | float) else None

    def _own(self) -> Mapping[str, Any]:
        return {
            "run": self.entry.name,
            "experiment": self.entry.name.partition("/")[0],
            "task": self.entry.summary.task,
            "state": self.entry.state,
            "step": self.entry.summary.step,
            "metric": self.metric,
            "best": self.best,
            "last": self.last,
            "paper": self.paper,
            "difference": self.difference,
            "note": self.entry.marks.note,
            "archived": self.entry.marks.archived,
        }


@lru_cache(maxsize=4096)
def settings_called(name: str, paths: tuple[str, ...]) -> Sequence[str]:
    """Return the settings that a name stands for: the one of that path, else all that end with it.

    Example:
        >>> settings_called("lr", ("seed", "train.phases.0.lr", "train.phases.1.lr"))
        ('train.phases.0.lr', 'train.phases.1.lr')
    """
    if name in paths:
        return (name,)
    return tuple(path for path in paths if path.endswith(f".{name}"))


def metric_names(run: RunEntry) -> list[str]:
    """Return the numbers that a run can be ranked by, as ``benchmark: metric``."""
    names = [f"{TRAINING}: {name}" for name in run.summary.train]
    return names + [f"{r.benchmark}: {m}" for r in run.summary.results for m in r.values]


def make_row(run: RunEntry, metric: str, settings: RunSettings | None = None) -> RunRow:
    """Return a run's row for a metric (``benchmark: metric``; empty: the run's own first one)."""
    results, trained_best, known = run.summary.results, run.summary.best, settings or {}
    if not metric and results:
        metric = f"{results[0].benchmark}: {results[0].metric}"
    metric = metric or f"{TRAINING}: {trained_best.metric if trained_best else 'loss'}"
    benchmark, _, name = metric.partition(": ")
    if benchmark == TRAINING:
        return _training_row(run, name, known)
    fitting = [r for r in results if r.benchmark == benchmark and name in r.values]
    if not fitting:
        return RunRow(run, settings=known)
    values = {r.checkpoint: r.values[name] for r in fitting}
    others = [v for checkpoint, v in values.items() if checkpoint not in ("last", INITIAL)]
    first = fitting[0]
    published = [c.paper for c in comparisons(first) if c.metric == name and c.paper is not None]
    best = values.get("best", others[0] if others else None)
    paper = published[0] if published else None
    is_higher = first.is_higher_better(name)
    return RunRow(run, metric, best, values.get("last"), paper, is_higher, known)


def _training_row(run: RunEntry, name: str, settings: RunSettings) -> RunRow:
    trained_best = run.summary.best
    best = trained_best.value if trained_best and trained_best.metric == name else None
    last = RunRow(run).training(name)
    if best is None and last is None:
        return RunRow(run, settings=settings)
    return RunRow(run, f"{TRAINING}: {name}", best, last, settings=settings)


def _trained_first(run: RunEntry) -> list[EvaluationResult]:
    """Return the results, of the untrained network last."""
    return sorted(run.summary.results, key=lambda result: result.checkpoint == INITIAL)


def example_condition(rows: Sequence[RunRow]) -> str:
    """Return a condition that some of the runs fulfil, in the units in which they are stored.

    Example:
        >>> example_condition([RunRow(RunEntry("a/b"), "val: miou", best=70.4)])
        'miou>70.4'
    """
    known = [(row.metric, row.ours) for row in rows if row.ours is not None]
    evaluated = [one for one in known if not one[0].startswith(f"{TRAINING}: ")] or known
    if not evaluated:
        return "step>=1000"
    metric, value = evaluated[len(evaluated) // 2]
    return f"{metric.partition(': ')[2]}>{value:.3g}"
