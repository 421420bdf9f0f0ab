"""The table of a sweep: variants against a baseline, or the trials of a search, the best first.

What the numbers mean is said in ``variants``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eagleray.analysis.spread import PairedDifference, Spread
from eagleray.analysis.table import RECALLED
from eagleray.analysis.table_formats import Cell, Table
from eagleray.analysis.variants import (
    STATES,
    VariantResult,
    best_ones,
    device_hours,
    last_value,
    ranked_trials,
    trial_value,
    variant_results,
)
from eagleray.storage import Store
from eagleray.sweep.sweep_folder import TrialRecord
from eagleray.sweep.sweep_results import (
    PublishedValue,
    SweepResults,
    read_results,
    setting_text,
    short_names,
)

FOLDER = "tables"
_COLUMNS = (
    *("variant", "trial", "last", "difference", "95 % interval", "paper", "steps"),
    *("device-hours", "trials", "state"),
)
NO_INTERVAL = "-"
_ERROR_LENGTH = 60
_INTERVAL_NOTE = (
    "mean ± sample standard deviation over seeds; difference: mean over pairs of the same seed, "
    "with the 95 % t interval of paired differences"
)
_RECALLED_NOTE = f"{RECALLED} quoted from memory, to be checked"


def make_table(results: SweepResults, metric: str = "") -> Table:
    """Return the table of a sweep, see ``ablation_table`` and ``search_table``."""
    made = ablation_table if results.record.kind == "ablations" else search_table
    return made(results, metric or results.record.metric)


def sweep_table(sweep: Store, metric: str = "") -> Table:
    """Return the table of a sweep's folder.

    Raises:
        SettingsError: The folder is no sweep.
        InputError: What it compares cannot be read.
    """
    return make_table(read_results(sweep), metric)


def write_tables(sweep: Store) -> list[str]:
    """Write ``tables/table.md``, ``.tex`` and ``.csv`` into a sweep's folder; return their paths.

    Raises:
        SettingsError: The folder is no sweep.
        InputError: What it compares cannot be read.
    """
    table = sweep_table(sweep)
    texts = {"md": table.markdown(), "tex": table.latex(), "csv": table.csv()}
    paths = {f"{FOLDER}/table.{ending}": text for ending, text in texts.items()}
    for path, text in paths.items():
        sweep.write(path, text.encode())
    return list(paths)


def ablation_table(results: SweepResults, metric: str) -> Table:
    """Return one row per variant: mean and spread, difference to the baseline, cost."""
    record = results.record
    variants = variant_results(results, metric)
    is_higher = record.higher_is_better if metric == record.metric else None
    is_compared = any(variant.difference is not None for variant in variants)
    is_own, is_published = metric == record.metric, any(v.published for v in variants)
    best = best_ones((v.best.mean for v in variants), higher_is_better=is_higher)
    last = best_ones((v.last.mean for v in variants), higher_is_better=is_higher)
    places = decimals([v.best.mean for v in variants])
    columns: dict[str, list[Cell]] = {
        "variant": [Cell(v.name) for v in variants],
        metric_heading(results, metric): [
            Cell(spread_text(v.best, places), is_best)
            for v, is_best in zip(variants, best, strict=True)
        ],
    }
    if is_own:
        columns["last"] = [
            Cell(spread_text(v.last, places), is_best)
            for v, is_best in zip(variants, last, strict=True)
        ]
    if is_compared:
        columns["difference"] = [Cell(difference_text(v.difference, places)) for v in variants]
        columns["95 % interval"] = [Cell(interval_text(v.difference, places)) for v in variants]
    if is_published:
        columns["paper"] = [Cell(published_text(v.published)) for v in variants]
    columns["device-hours"] = [Cell(hours_text(v.device_hours)) for v in variants]
    columns["trials"] = [Cell(counts_text(v.counts, v.unmeasured)) for v in variants]
    is_recalled = any(p.is_recalled for v in variants for p in v.published)
    return Table(
        _title(results, metric),
        list(columns),
        list(zip(*columns.values(), strict=True)),
        frozenset(range(1, len(columns) - 1)),
        [
            *_chosen_notes(results, metric),
            *([_RECALLED_NOTE] if is_recalled else []),
            *_problem_notes(results),
        ],
        [
            _INTERVAL_NOTE,
            *(f"{v.name}: {settings_text(v.settings)}" for v in variants if v.settings),
        ],
        _ABLATION_DATA,
        [_data_of(variant, results, metric) for variant in variants],
    )


def search_table(results: SweepResults, metric: str) -> Table:
    """Return one row per trial, the best first, with the settings that were searched."""
    trials = ranked_trials(results, metric)
    record, names = results.record, setting_headings(results, metric)
    is_higher = record.higher_is_better if metric == record.metric else None
    values = [trial_value(trial, results, metric) for trial in trials]
    finished = [v if t.state == "done" else None for t, v in zip(trials, values, strict=True)]
    marks = best_ones(finished, higher_is_better=is_higher)
    places = decimals(values)
    columns: dict[str, list[Cell]] = {
        "trial": [Cell(trial.id) for trial in trials],
        **{
            short: [Cell(setting_text(results.setting(trial, name))) for trial in trials]
            for name, short in names.items()
        },
        metric_heading(results, metric): [
            Cell(number_text(value, places), mark)
            for value, mark in zip(values, marks, strict=True)
        ],
    }
    if metric == record.metric:
        last = [last_value(trial, results, metric) for trial in trials]
        columns["last"] = [Cell(number_text(value, places)) for value in last]
    columns["steps"] = [Cell(str(trial.steps)) for trial in trials]
    columns["device-hours"] = [Cell(hours_text(device_hours([trial]))) for trial in trials]
    columns["state"] = [Cell(state_text(trial)) for trial in trials]
    texts = {"trial", "state", *(names[name] for name in names if not results.is_number(name))}
    other = [name for name in results.metrics() if name != record.metric]
    return Table(
        _title(results, metric),
        list(columns),
        list(zip(*columns.values(), strict=True)),
        frozenset(idx for idx, name in enumerate(columns) if name not in texts),
        [*_chosen_notes(results, metric), *_search_notes(trials, results)],
        [f"{names[name]}: {name}, {text}" for name, text in record.space.items()],
        [*_SEARCH_DATA, *names, *(f"values.{name}" for name in other)],
        [_data_of_trial(trial, results, list(names), other) for trial in trials],
    )


def metric_heading(results: SweepResults, metric: str) -> str:
    """Return a metric's name with its unit, never the name of another column."""
    unit = results.record.metric_unit if metric == results.record.metric else None
    name = f"{metric} ({unit})" if unit else metric
    return f"metric {name}" if name in _COLUMNS else name


def setting_headings(results: SweepResults, metric: str) -> dict[str, str]:
    """Return a short heading for each setting's path, never the name of another column."""
    taken = {*_COLUMNS, metric_heading(results, metric)}
    names = short_names(results.settings())
    return {name: f"setting {short}" if short in taken else short for name, short in names.items()}


def decimals(values: Iterable[float | None], digits: int = 4) -> int:
    """Return how many decimals show the greatest of some values with so many digits.

    Example:
        >>> decimals([0.6145, 0.5951, None]), decimals([37.99, 4.1]), decimals([])
        (4, 2, 4)
    """
    greatest = max((abs(value) for value in values if value is not None), default=0.0)
    return max(0, digits - 1 - math.floor(math.log10(greatest))) if greatest else digits


def spread_text(found: Spread, places: int) -> str:
    """Return ``mean ± deviation``; the mean alone of one value, ``-`` without any."""
    if found.mean is None:
        return NO_INTERVAL
    spread_part = "" if found.deviation is None else f" ± {found.deviation:.{places}f}"
    return f"{found.mean:.{places}f}{spread_part}"


def difference_text(found: PairedDifference | None, places: int) -> str:
    """Return a difference with its sign and, in brackets, its number of pairs."""
    if found is None:
        return ""
    return NO_INTERVAL if found.mean is None else f"{found.mean:+.{places}f} ({found.pairs})"


def interval_text(found: PairedDifference | None, places: int) -> str:
    """Return an interval; ``-`` where there are too few pairs for one."""
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return NO_INTERVAL
    return f"[{found.low:+.{places}f}, {found.high:+.{places}f}]"


def published_text(published: Sequence[PublishedValue]) -> str:
    """Return published numbers, those from memory marked."""
    return ", ".join(f"{p.value:.4g}{RECALLED * p.is_recalled}" for p in published)


def hours_text(hours: Mapping[str, float]) -> str:
    """Return device-hours by device."""
    return ", ".join(f"{value:.3g} {device}" for device, value in hours.items()) or "0"


def counts_text(counts: Mapping[str, int], unmeasured: int = 0) -> str:
    """Return how many trials are in which state."""
    parts = [f"{counts[state]} {state}" for state in STATES if counts.get(state)]
    return ", ".join([*parts, *([f"{unmeasured} without a value"] if unmeasured else [])]) or "none"


def state_text(trial: TrialRecord) -> str:
    """Return a trial's state and the beginning of its error."""
    error = " ".join((trial.error or "").split())
    short = error if len(error) <= _ERROR_LENGTH else error[: _ERROR_LENGTH - 1] + "…"
    return f"{trial.state}: {short}" if short else trial.state


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as ``path=value`` on one line."""
    return ", ".join(f"{name}={setting_text(value)}" for name, value in settings.items())


def number_text(value: float | None, places: int) -> str:
    """Return a number, ``-`` for what is missing."""
    return NO_INTERVAL if value is None else f"{value:.{places}f}"


_ABLATION_DATA = (
    "variant", "settings", "metric", "unit", "mean", "standard_deviation", "seeds",
    "last_mean", "last_standard_deviation", "difference", "difference_low", "difference_high",
    "pairs", "published", "published_recalled", "published_source", "device_hours", "devices",
    *STATES, "without_value",
)  # fmt: skip
_SEARCH_DATA = (
    "trial", "run", "seed", "state", "error", "metric", "unit", "value", "best_step",
    "last_value", "steps", "device_hours", "device",
)  # fmt: skip


def _data_of(variant: VariantResult, results: SweepResults, metric: str) -> list[Any]:
    difference = variant.difference or PairedDifference(None, None, None, 0)
    return [
        variant.name,
        json.dumps(variant.settings, default=str),
        metric,
        results.record.metric_unit if metric == results.record.metric else None,
        variant.best.mean,
        variant.best.deviation,
        variant.best.count,
        variant.last.mean,
        variant.last.deviation,
        difference.mean,
        difference.low,
        difference.high,
        difference.pairs if variant.difference else None,
        "; ".join(repr(p.value) for p in variant.published),
        "; ".join(str(p.is_recalled).lower() for p in variant.published),
        "; ".join(p.source for p in variant.published),
        sum(variant.device_hours.values()),
        "+".join(variant.device_hours),
        *(variant.counts.get(state, 0) for state in STATES),
        variant.unmeasured,
    ]


def _data_of_trial(
    trial: TrialRecord, results: SweepResults, names: Sequence[str], metrics: Sequence[str]
) -> list[Any]:
    record = results.record
    return [
        *(trial.id, trial.run, trial.seed, trial.state, trial.error),
        *(record.metric, record.metric_unit, trial.value, trial.best_step, trial.last_value),
        *(trial.steps, sum(device_hours([trial]).values()), trial.device),
        *(_plain(results.setting(trial, name)) for name in names),
        *(trial.values.get(name) for name in metrics),
    ]


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) or value is None else json.dumps(value)


def _title(results: SweepResults, metric: str) -> str:
    record = results.record
    way = ""
    if metric == record.metric:
        way = ", higher is better" if record.higher_is_better else ", lower is better"
    counts: Counter[str] = Counter(trial.state for trial in results.trials)
    return (
        f"{record.experiment}/{record.name}: {metric} on {record.benchmark}{way}; "
        f"trials: {counts_text(counts)}"
    )


def _chosen_notes(results: SweepResults, metric: str) -> list[str]:
    """Say where the checkpoint that was evaluated is the best one by another metric."""
    by = results.chosen_by
    is_other = bool(by) and by != metric
    return [f"{metric} of the checkpoint that is best by {by}"] if is_other else []


def _search_notes(trials: Sequence[TrialRecord], results: SweepResults) -> list[str]:
    stopped = [t for t in trials if t.state == "stopped"]
    early = "stopped: ended early by the scheduler; the value is the best validation seen"
    return [*([early] if stopped else []), *_problem_notes(results)]


def _problem_notes(results: SweepResults) -> list[str]:
    return [f"not in the table: {problem}" for problem in results.problems]
