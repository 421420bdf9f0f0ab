"""Has anything become worse? The metrics of an evaluation beside those of another run.

Two results are compared only if they mean the same: the same benchmark under the same protocol on
the same units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eagleray.analysis.table import plain_table
from eagleray.experiment.discovery import nearest
from eagleray.runs.evaluation import evaluated, read_result
from eagleray.runs.records import INITIAL, EvaluationResult
from eagleray.runs.run_folder import RunFolder, find_run
from eagleray.task import InputError, SettingsError

_ROUNDING = 1e-9
"""Slack against the rounding of a difference, relative to the values."""


@dataclass(frozen=True)
class Tolerances:
    """How far a metric may fall, in its own units.

    Args:
        default: For every metric that is not named.
        by_metric: For single metrics.
    """

    default: float = 0.0
    by_metric: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Tolerances:
        """Read ``0.5`` (for all metrics) and ``PQ=0.5`` (for one).

        Raises:
            SettingsError: A text is neither, or a number is negative or not finite.
        """
        default, by_metric = 0.0, {}
        for text in texts:
            metric, separator, number = text.rpartition("=")
            value = _tolerance(number, text)
            if separator:
                by_metric[metric] = value
            else:
                default = value
        return cls(default, by_metric)

    def of(self, metric: str) -> float:
        """Return how far the metric may fall."""
        return self.by_metric.get(metric, self.default)


@dataclass(frozen=True)
class Change:
    """One metric before and now.

    Args:
        benchmark: The benchmark.
        checkpoint: Label of the checkpoint evaluated now.
        metric: The metric.
        before: Its value in the other run.
        now: Its value now; None if it is gone or not finite any more.
        tolerance: How far it may fall.
        higher_is_better: Which way falling is.
    """

    benchmark: str
    checkpoint: str
    metric: str
    before: float
    now: float | None
    tolerance: float
    higher_is_better: bool

    @property
    def fall(self) -> float:
        """By how much it became worse; infinite if it is gone."""
        if self.now is None:
            return math.inf
        return self.before - self.now if self.higher_is_better else self.now - self.before

    @property
    def is_regression(self) -> bool:
        """Whether it became worse by more than the tolerance."""
        scale = max(abs(self.before), abs(self.now or 0.0))
        return self.fall > self.tolerance + _ROUNDING * scale


def open_run(storage: str, name: str) -> RunFolder:
    """Return a run by its folder or URI, or by name below a storage (see ``find_run``).

    Raises:
        SettingsError: There is no such run, or several.
    """
    folder = RunFolder(name)
    return folder if folder.is_run else find_run(storage, name)


def read_baseline(
    run: RunFolder, benchmark: str, checkpoint: str, protocol: str
) -> EvaluationResult:
    """Return the results that a run has for a benchmark.

    Args:
        run: The other run.
        benchmark: The benchmark's name.
        checkpoint: The label evaluated now; where the run has no results of that label, but of
            one trained checkpoint only, those are taken.
        protocol: The benchmark's protocol now.

    Raises:
        SettingsError: It has none, several that could be meant, damaged ones, or they were made
            under another protocol.
    """
    labels = evaluated(run, benchmark)
    trained = [label for label in labels if label != INITIAL]
    label = checkpoint if checkpoint in labels else trained[0] if len(trained) == 1 else None
    if label is None:
        there = f"it has those of {', '.join(labels)}" if labels else "it has none"
        raise SettingsError(
            f"{run.uri} has no results of checkpoint {checkpoint!r} on benchmark {benchmark!r} to "
            f"compare with; {there}: evaluate that run first"
        )
    try:
        result = read_result(run, benchmark, label)
    except InputError as error:
        raise SettingsError(f"{run.uri}/{error}") from error
    if not result.units_digest:
        raise SettingsError(
            f"{run.uri}/{run.result_path(benchmark, label)} does not say which units it was made "
            "on: evaluate that run again (nothing is computed twice)"
        )
    if result.protocol != protocol:
        raise SettingsError(
            f"benchmark {benchmark!r} was evaluated under another protocol in {run.uri}, so that "
            f"its numbers mean something else.\n  there: {result.protocol}\n  here:  {protocol}"
        )
    return result


def compare(
    result: EvaluationResult, baseline: EvaluationResult, tolerances: Tolerances
) -> list[Change]:
    """Return every metric that the baseline has, beside its value now.

    Args:
        result: The result of now.
        baseline: That of the other run, of the same benchmark and protocol.
        tolerances: How far metrics may fall.

    Raises:
        SettingsError: The two were evaluated on different units, or differ in which way is better.
    """
    name = result.benchmark
    if result.units_digest != baseline.units_digest:
        raise SettingsError(
            f"benchmark {name!r} was evaluated on other units, so that the numbers cannot be "
            f"compared: before {_describe_units(baseline)}, now {_describe_units(result)}"
        )
    if result.higher_is_better != baseline.higher_is_better:
        raise SettingsError(
            f"benchmark {name!r}: higher_is_better was {baseline.higher_is_better} and is now "
            f"{result.higher_is_better}, so that the numbers cannot be compared"
        )
    return [
        Change(
            name,
            result.checkpoint,
            metric,
            before,
            result.values.get(metric),
            tolerances.of(metric),
            result.higher_is_better,
        )
        for metric, before in baseline.values.items()
        if before is not None
    ]


def check_tolerances(tolerances: Tolerances, changes: Sequence[Change]) -> None:
    """Refuse a tolerance for a metric that is not there.

    Raises:
        SettingsError: A name is unknown.
    """
    known = sorted({change.metric for change in changes})
    for metric in tolerances.by_metric:
        if metric not in known:
            raise SettingsError(
                f"--tolerance names {metric!r}, which is no metric here; {nearest(metric, known)}"
            )


def regression_table(changes: Sequence[Change], against: str) -> str:
    """Return what fell by more than its tolerance as a table, or a line that nothing did."""
    fallen = [change for change in changes if change.is_regression]
    if not fallen:
        return f"against {against}: none of {len(changes)} metrics fell by more than its tolerance"
    rows = [
        (
            c.benchmark,
            c.checkpoint,
            c.metric,
            f"{c.before:.6g}",
            "gone" if c.now is None else f"{c.now:.6g}",
            "" if c.now is None else f"{c.now - c.before:+.4g}",
            f"{c.tolerance:g}",
            "higher" if c.higher_is_better else "lower",
        )
        for c in fallen
    ]
    columns = (
        "benchmark",
        "checkpoint",
        "metric",
        "before",
        "now",
        "change",
        "tolerance",
        "better",
    )
    title = f"against {against}: {len(fallen)} of {len(changes)} metrics fell"
    return f"{title}\n{plain_table(columns, rows)}"


def _tolerance(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise SettingsError(
            f"--tolerance {text!r} is no tolerance: give a number of 0 or more in the metric's "
            "units for all metrics (0.5), or for one (PQ=0.5)"
        )
    return value


def _describe_units(result: EvaluationResult) -> str:
    return f"{result.units} ({result.rejected} rejected, list {result.units_digest})"
