"""What a sweep says about its variants: means over seeds, differences to the baseline, ranks.

A variant's number is the mean over its seeds of the *best* checkpoint's value; the last value
stands beside it. Only finished trials count: one that a scheduler stopped early was measured on
something else (validation) and after fewer steps. Differences to the baseline are paired by seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eagleray.analysis.spread import PairedDifference, Spread, is_finite, paired_difference, spread
from eagleray.sweep.sweep_folder import TrialRecord
from eagleray.sweep.sweep_results import PublishedValue, SweepResults

STATES = ("done", "stopped", "failed", "running", "pending")
_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class VariantResult:
    """One variant over its seeds.

    Args:
        name: Name of the variant.
        settings: Its settings by dotted path.
        best: Mean and spread of the best checkpoint's value over finished trials.
        last: The same of the last value; of another metric than the sweep's there is none.
        difference: Best minus the baseline's with the same seed; None for the baseline itself and
            where there is no baseline.
        published: What was published for it.
        device_hours: Hours times workers of all its trials, by device.
        counts: Number of trials by state.
        unmeasured: Finished trials without a finite value.
    """

    name: str
    settings: Mapping[str, Any]
    best: Spread
    last: Spread
    difference: PairedDifference | None
    published: Sequence[PublishedValue]
    device_hours: Mapping[str, float]
    counts: Mapping[str, int]
    unmeasured: int


def trial_value(trial: TrialRecord, results: SweepResults, metric: str) -> float | None:
    """Return a trial's best value of a metric, None where it is missing or not finite."""
    value = trial.value if metric == results.record.metric else trial.values.get(metric)
    return value if is_finite(value) else None


def last_value(trial: TrialRecord, results: SweepResults, metric: str) -> float | None:
    """Return a trial's last value; only the sweep's own metric has one."""
    value = trial.last_value if metric == results.record.metric else None
    return value if is_finite(value) else None


def variant_results(results: SweepResults, metric: str = "") -> list[VariantResult]:
    """Return all variants, the baseline first, then in the order of the sweep.

    Args:
        results: The sweep.
        metric: One of ``results.metrics()``; by default the sweep's own.
    """
    record = results.record
    metric = metric or record.metric
    groups: dict[str, list[TrialRecord]] = {name: [] for name in record.variants}
    if record.baseline is not None:
        groups = {record.baseline: [], **groups}
    for trial in results.trials:
        groups.setdefault(trial.variant or "", []).append(trial)
    reference = _by_seed(results, groups.get(record.baseline or "", []), metric)
    return [
        _variant(results, name, trials, metric, reference if record.baseline is not None else None)
        for name, trials in groups.items()
    ]


def ranked_trials(results: SweepResults, metric: str = "") -> list[TrialRecord]:
    """Return all trials, the best value first; those without a value come last, by state.

    Of another metric than the sweep's it is not known which way is better: greater ones are first.
    """
    metric = metric or results.record.metric
    is_higher = metric != results.record.metric or results.record.higher_is_better

    def rank(trial: TrialRecord) -> tuple[bool, float, int, str]:
        value = trial_value(trial, results, metric)
        known = 0.0 if value is None else (-value if is_higher else value)
        return value is None, known, STATES.index(trial.state), trial.id

    return sorted(results.trials, key=rank)


def best_ones(values: Iterable[float | None], *, higher_is_better: bool | None) -> list[bool]:
    """Return which values are the best, none where there is nothing to choose from.

    Args:
        values: Values, None where there is none.
        higher_is_better: Which way is better; None where that is not known.
    """
    listed = list(values)
    found = [value for value in listed if value is not None]
    if higher_is_better is None or len(found) < 2:
        return [False] * len(listed)
    best = max(found) if higher_is_better else min(found)
    return [value == best for value in listed]


def device_hours(trials: Iterable[TrialRecord]) -> dict[str, float]:
    """Return the hours times workers of trials by device."""
    hours: dict[str, float] = {}
    for trial in trials:
        if trial.device_seconds:
            spent = trial.device_seconds / _SECONDS_PER_HOUR
            hours[trial.device] = hours.get(trial.device, 0.0) + spent
    return hours


def _variant(
    results: SweepResults,
    name: str,
    trials: Sequence[TrialRecord],
    metric: str,
    reference: Mapping[int, float | None] | None,
) -> VariantResult:
    record = results.record
    values = _by_seed(results, trials, metric)
    is_compared = reference is not None and name != record.baseline
    model = record.published.get(name, name)
    counts: Counter[str] = Counter(trial.state for trial in trials)
    if name in record.variants or name == record.baseline:
        counts["pending"] += len(set(record.seeds) - {trial.seed for trial in trials})
    return VariantResult(
        name,
        record.variants.get(name, {}),
        spread(values.values()),
        spread(last_value(t, results, metric) for t in trials if t.state == "done"),
        paired_difference(values, reference or {}) if is_compared else None,
        [p for p in results.published if p.metric == metric and p.model == model],
        device_hours(trials),
        counts,
        sum(value is None for value in values.values()),
    )


def _by_seed(
    results: SweepResults, trials: Iterable[TrialRecord], metric: str
) -> dict[int, float | None]:
    """Return the values of finished trials by seed."""
    return {t.seed: trial_value(t, results, metric) for t in trials if t.state == "done"}
