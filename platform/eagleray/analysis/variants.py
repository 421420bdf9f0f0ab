"""What a sweep says about its variants: means over seeds, differences to the baseline, costs.

A variant's number is the mean over its seeds of the *best* checkpoint's value; the last value
stands beside it. Only finished trials count: one that a scheduler stopped early was measured on
something else (validation) and after fewer steps. Differences to the baseline are paired by seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eagleray.analysis.spread import PairedDifference, Spread, paired_difference, spread
from eagleray.sweep.folder import TrialRecord
from eagleray.sweep.results import SweepResults
from eagleray.task import PublishedResult

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
    published: Sequence[PublishedResult]
    device_hours: Mapping[str, float]
    counts: Mapping[str, int]
    unmeasured: int


def variant_results(results: SweepResults) -> list[VariantResult]:
    """Return all variants, the baseline first, then in the order of the sweep."""
    summary, baseline = results.summary, results.summary.baseline
    groups: dict[str, list[TrialRecord]] = {} if baseline is None else {baseline: []}
    groups |= {name: [] for name in summary.variants}
    for trial in results.trials:
        groups.setdefault(trial.variant or "", []).append(trial)
    done = {name: [t for t in group if t.state == "done"] for name, group in groups.items()}
    by_seed = {name: {t.seed: results.value(t) for t in done[name]} for name in groups}
    compared = []
    for name, trials in groups.items():
        counts = Counter[str](trial.state for trial in trials)
        if name in summary.variants or name == baseline:
            counts["pending"] += len(set(summary.seeds) - {trial.seed for trial in trials})
        difference = None
        if baseline not in (None, name):
            difference = paired_difference(by_seed[name], by_seed[baseline or ""])
        model = summary.published.get(name, name)
        compared.append(
            VariantResult(
                name=name,
                settings=summary.variants.get(name, {}),
                best=spread(by_seed[name].values()),
                last=spread(map(results.last, done[name])),
                difference=difference,
                published=[
                    p for p in results.published if (p.metric, p.model) == (results.metric, model)
                ],
                device_hours=device_hours(trials),
                counts=counts,
                unmeasured=sum(value is None for value in by_seed[name].values()),
            )
        )
    return compared


def best_ones(values: Iterable[float | None], *, higher_is_better: bool | None) -> list[bool]:
    """Return which values are the best, none where there is nothing to choose from.

    Args:
        values: Values, None where there is none.
        higher_is_better: Which way is better; None where that is not known.
    """
    listed = list(values)
    known = [value for value in listed if value is not None]
    if higher_is_better is None or len(known) < 2:
        return [False] * len(listed)
    best = max(known) if higher_is_better else min(known)
    return [value == best for value in listed]


def device_hours(trials: Iterable[TrialRecord]) -> dict[str, float]:
    """Return the hours times workers of trials by device."""
    hours: dict[str, float] = {}
    for trial in trials:
        if trial.device_seconds:
            spent = trial.device_seconds / _SECONDS_PER_HOUR
            hours[trial.device] = hours.get(trial.device, 0.0) + spent
    return hours
