"""The table of a sweep: variants against a baseline, or the trials of a search, the best first.

What the numbers mean is said in ``variants``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eagleray.analysis.spread import PairedDifference, Spread
from eagleray.analysis.table import RECALLED
from eagleray.analysis.table_formats import Cell, Table
from eagleray.analysis.variants import VariantResult, best_ones, device_hours, variant_results
from eagleray.experiment.paths import short_names
from eagleray.sweep.folder import SweepFolder, TrialRecord
from eagleray.sweep.results import STATES, SweepResults, read_results, setting_text

HOURS = "device-hours"
_COLUMNS = (
    *("variant", "trial", "last", "difference", "95 % interval", "paper", "steps"),
    *(HOURS, "trials", "state"),
)
NO_INTERVAL = "-"
_ERROR_LENGTH = 60
_INTERVAL_NOTE = (
    "mean ± sample standard deviation over seeds; difference: mean over pairs of the same seed, "
    "with the 95 % t interval of paired differences"
)
_RECALLED_NOTE = f"{RECALLED} quoted from memory, to be checked"
_STOPPED_NOTE = "stopped: ended early by the scheduler; the value is the best validation seen"
_PROBLEM = "not in the table: "
_VARIANT_DATA = (
    "variant", "settings", "metric", "unit", "mean", "standard_deviation", "seeds",
    "last_mean", "last_standard_deviation", "difference", "difference_low", "difference_high",
    "pairs", "published", "published_recalled", "published_source", "device_hours", "devices",
    *STATES, "without_value",
)  # fmt: skip
_TRIAL_DATA = (
    "trial", "run", "seed", "state", "error", "metric", "unit", "value", "best_step",
    "last_value", "steps", "device_hours", "device",
)  # fmt: skip


@dataclass(frozen=True)
class TrialColumn:
    """One quantity of trials, as tables and pages show it.

    Args:
        name: What addresses and orders call it.
        heading: What is shown above it.
        of: What a trial has of it, None for nothing; columns are sorted by it.
        text: The same as text.
        is_number: It is aligned to the right.
    """

    name: str
    heading: str
    of: Callable[[TrialRecord], Any]
    text: Callable[[TrialRecord], str]
    is_number: bool = True


def make_table(results: SweepResults) -> Table:
    """Return the table of a sweep: its variants, or its trials."""
    return _variant_table(results) if results.summary.kind == "ablations" else _trial_table(results)


def sweep_table(sweep: SweepFolder, metric: str = "") -> Table:
    """Return the table of a sweep's folder.

    Args:
        sweep: The folder.
        metric: The metric that is shown; by default the sweep's own.

    Raises:
        SettingsError: The folder is no sweep.
        InputError: What it compares cannot be read.
    """
    return make_table(read_results(sweep).by(metric))


def write_tables(sweep: SweepFolder) -> list[str]:
    """Write ``tables/table.md``, ``.tex`` and ``.csv`` into a sweep's folder; return their paths.

    Raises:
        SettingsError: The folder is no sweep.
        InputError: What it compares cannot be read.
    """
    table = sweep_table(sweep)
    texts = {"md": table.markdown(), "tex": table.latex(), "csv": table.csv()}
    for ending, text in texts.items():
        sweep.write(f"tables/table.{ending}", text.encode())
    return [f"tables/table.{ending}" for ending in texts]


def trial_columns(results: SweepResults) -> list[TrialColumn]:
    """Return all columns of a sweep's trials."""
    places = decimals(map(results.value, results.trials))

    def plain(
        name: str, of: Callable[[TrialRecord], Any], *, is_number: bool = True
    ) -> TrialColumn:
        def text(trial: TrialRecord) -> str:
            return "" if of(trial) is None else str(of(trial))

        return TrialColumn(name, name, of, text, is_number)

    def number(name: str, heading: str, of: Callable[[TrialRecord], float | None]) -> TrialColumn:
        def text(trial: TrialRecord) -> str:
            value = of(trial)
            return NO_INTERVAL if value is None else f"{value:.{places}f}"

        return TrialColumn(name, heading, of, text)

    def setting(name: str, heading: str) -> TrialColumn:
        is_number = results.is_number(name)

        def of(trial: TrialRecord) -> Any:
            value = results.setting(trial, name)
            return value if is_number or value is None else setting_text(value)

        key = name if "." in name else f"setting {name}"
        return TrialColumn(
            key, heading, of, lambda trial: setting_text(results.setting(trial, name)), is_number
        )

    def hours(trial: TrialRecord) -> str:
        return _hours_text(device_hours([trial]))

    return [
        plain("trial", lambda trial: trial.id, is_number=False),
        plain("variant", lambda trial: trial.variant, is_number=False),
        plain("seed", lambda trial: trial.seed),
        *(setting(*one) for one in setting_headings(results).items()),
        number("value", metric_heading(results), results.value),
        number("last", "last", results.last),
        plain("best step", lambda trial: trial.best_step),
        plain("steps", lambda trial: trial.steps),
        TrialColumn(HOURS, HOURS, lambda trial: trial.device_seconds, hours),
        TrialColumn("state", "state", lambda trial: trial.state, _state_text, is_number=False),
    ]


def best_trials(results: SweepResults, trials: Sequence[TrialRecord]) -> set[str]:
    """Return the ids of the best of some trials; one that was stopped early is none, since it was
    measured on something else.
    """
    values = [results.value(trial) if trial.state == "done" else None for trial in trials]
    marks = best_ones(values, higher_is_better=results.higher_is_better)
    return {trial.id for trial, is_best in zip(trials, marks, strict=True) if is_best}


def _trial_table(results: SweepResults) -> Table:
    """Return one row per trial, the best first, with the settings that were searched."""
    trials, names = results.ranked(), setting_headings(results)
    left_out = {"variant", "seed", "best step", *(["last"] if results.other_metric else [])}
    columns = [column for column in trial_columns(results) if column.name not in left_out]
    best = best_trials(results, trials)
    early = [_STOPPED_NOTE] if any(trial.state == "stopped" for trial in trials) else []
    return Table(
        _title(results),
        [column.heading for column in columns],
        [
            [Cell(c.text(trial), c.name == "value" and trial.id in best) for c in columns]
            for trial in trials
        ],
        frozenset(idx for idx, column in enumerate(columns) if column.is_number),
        _notes(results, *early),
        [f"{names[name]}: {name}, {text}" for name, text in results.summary.space.items()],
        [*_TRIAL_DATA, *names, *(f"values.{name}" for name in results.metrics()[1:])],
        [_trial_data(trial, results) for trial in trials],
    )


def _variant_table(results: SweepResults) -> Table:
    """Return one row per variant: mean and spread, difference to the baseline, cost."""
    variants, is_higher = variant_results(results), results.higher_is_better
    places = decimals(v.best.mean for v in variants)

    def cells(spreads: list[Spread]) -> list[Cell]:
        marks = best_ones((spread.mean for spread in spreads), higher_is_better=is_higher)
        texts = [_spread_text(spread, places) for spread in spreads]
        return [Cell(*cell) for cell in zip(texts, marks, strict=True)]

    columns = {"variant": [Cell(v.name) for v in variants]}
    columns[metric_heading(results)] = cells([v.best for v in variants])
    if not results.other_metric:
        columns["last"] = cells([v.last for v in variants])
    if any(v.difference is not None for v in variants):
        texts = [_difference_texts(v.difference, places) for v in variants]
        columns["difference"], columns["95 % interval"] = (
            [Cell(text) for text in column] for column in zip(*texts, strict=True)
        )
    if any(v.published for v in variants):
        papers = [[f"{p.value:.4g}{RECALLED * p.recalled}" for p in v.published] for v in variants]
        columns["paper"] = [Cell(", ".join(paper)) for paper in papers]
    columns[HOURS] = [Cell(_hours_text(v.device_hours)) for v in variants]
    columns["trials"] = [Cell(counts_text(v.counts, v.unmeasured)) for v in variants]
    recalled = [_RECALLED_NOTE] if any(p.recalled for v in variants for p in v.published) else []
    return Table(
        _title(results),
        list(columns),
        list(zip(*columns.values(), strict=True)),
        frozenset(range(1, len(columns) - 1)),
        _notes(results, *recalled),
        [
            _INTERVAL_NOTE,
            *(f"{v.name}: {settings_text(v.settings)}" for v in variants if v.settings),
        ],
        _VARIANT_DATA,
        [_variant_data(variant, results) for variant in variants],
    )


def metric_heading(results: SweepResults) -> str:
    """Return the metric's name with its unit, never the name of another column."""
    unit = None if results.other_metric else results.summary.metric_unit
    name = f"{results.metric} ({unit})" if unit else results.metric
    return f"metric {name}" if name in _COLUMNS else name


def setting_headings(results: SweepResults) -> dict[str, str]:
    """Return a short heading for each setting's path, never the name of another column."""
    taken = {*_COLUMNS, metric_heading(results)}
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


def _spread_text(spread: Spread, places: int) -> str:
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.{places}f}"
    return NO_INTERVAL if spread.mean is None else f"{spread.mean:.{places}f}{deviation}"


def _difference_texts(difference: PairedDifference | None, places: int) -> tuple[str, str]:
    """Return a difference with its sign and number of pairs, and its interval."""
    if difference is None:
        return "", ""
    mean, low, high = difference.mean, difference.low, difference.high
    shown = NO_INTERVAL if mean is None else f"{mean:+.{places}f} ({difference.pairs})"
    is_known = low is not None and high is not None
    return shown, f"[{low:+.{places}f}, {high:+.{places}f}]" if is_known else NO_INTERVAL


def _hours_text(hours: Mapping[str, float]) -> str:
    return ", ".join(f"{value:.3g} {device}" for device, value in hours.items()) or "0"


def counts_text(counts: Mapping[str, int], unmeasured: int = 0) -> str:
    """Return how many trials are in which state."""
    parts = [f"{counts[state]} {state}" for state in STATES if counts.get(state)]
    return ", ".join([*parts, *([f"{unmeasured} without a value"] if unmeasured else [])]) or "none"


def _state_text(trial: TrialRecord) -> str:
    error = " ".join((trial.error or "").split())
    short = error if len(error) <= _ERROR_LENGTH else error[: _ERROR_LENGTH - 1] + "…"
    return f"{trial.state}: {short}" if short else trial.state


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as ``path=value`` on one line."""
    return ", ".join(f"{name}={setting_text(value)}" for name, value in settings.items())


def page_notes(table: Table) -> list[str]:
    """Return a table's notes without what could not be read, which a page says at its top."""
    return [text for text in table.notes if not text.startswith(_PROBLEM)]


def _variant_data(variant: VariantResult, results: SweepResults) -> list[Any]:
    difference = variant.difference or PairedDifference(None, None, None, 0)
    return [
        *(variant.name, json.dumps(variant.settings, default=str), results.metric),
        None if results.other_metric else results.summary.metric_unit,
        *(variant.best.mean, variant.best.deviation, variant.best.count),
        *(variant.last.mean, variant.last.deviation),
        *(difference.mean, difference.low, difference.high),
        difference.pairs if variant.difference else None,
        "; ".join(repr(p.value) for p in variant.published),
        "; ".join(str(p.recalled).lower() for p in variant.published),
        "; ".join(p.source for p in variant.published),
        sum(variant.device_hours.values()),
        "+".join(variant.device_hours),
        *(variant.counts.get(state, 0) for state in STATES),
        variant.unmeasured,
    ]


def _trial_data(trial: TrialRecord, results: SweepResults) -> list[Any]:
    summary = results.summary
    settings = [results.setting(trial, name) for name in results.settings()]
    return [
        *(trial.id, trial.run, trial.seed, trial.state, trial.error),
        *(summary.metric, summary.metric_unit, trial.value, trial.best_step, trial.last_value),
        *(trial.steps, sum(device_hours([trial]).values()), trial.device),
        *(v if v is None or isinstance(v, int | float | str) else json.dumps(v) for v in settings),
        *(trial.values.get(name) for name in results.metrics()[1:]),
    ]


def _title(results: SweepResults) -> str:
    summary, is_higher, way = results.summary, results.higher_is_better, ""
    if is_higher is not None:
        way = ", higher is better" if is_higher else ", lower is better"
    counts = counts_text(Counter(trial.state for trial in results.trials))
    return (
        f"{summary.experiment}/{summary.name}: {results.metric} on {summary.benchmark}{way}; "
        f"trials: {counts}"
    )


def _notes(results: SweepResults, *more: str) -> list[str]:
    """Return what marks mean, where checkpoints are best by another metric, what is missing."""
    by, metric = results.chosen_by, results.metric
    chosen = [f"{metric} of the checkpoint that is best by {by}"] if by not in ("", metric) else []
    return [*chosen, *more, *(f"{_PROBLEM}{problem}" for problem in results.problems)]
