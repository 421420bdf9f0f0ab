"""A suite as one HTML page that needs no network: paper / ours / difference of every system, speed,
memory and pictures; what is broken or open is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import jinja2

from eagleray import __version__
from eagleray.analysis.table import RECALLED, Comparison, comparisons
from eagleray.browse.gallery import leading_metric, pictures_in_order, worst_first
from eagleray.experiment.discovery import task_type
from eagleray.report.document import data_address
from eagleray.runs.evaluation import StoredEvaluation, read_evaluations, read_units
from eagleray.runs.metrics import read_history
from eagleray.runs.records import INITIAL, RunSummary
from eagleray.runs.run_folder import RunFolder, run_below, runs_store
from eagleray.suite.driver import DONE, EntryRecord
from eagleray.task import EaglerayError, InputError

_SPEED, _MEMORY = "items_per_s", "peak_memory_mb"


@dataclass(frozen=True)
class ResultPart:
    """One benchmark of an entry."""

    title: str
    protocol: str
    rows: Sequence[Comparison]


@dataclass(frozen=True)
class EntryPart:
    """One entry in the page."""

    record: EntryRecord
    summary: RunSummary = field(default_factory=RunSummary)
    about: str = ""
    results: Sequence[ResultPart] = ()
    leading: Sequence[tuple[str, Comparison]] = ()
    items_per_s: float | None = None
    memory_mb: float | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)
    picture_of: str = ""
    problems: Sequence[str] = ()


def suite_html(title: str, records: Sequence[EntryRecord]) -> str:
    """Return the page of a suite.

    Args:
        title: Its heading.
        records: What became of its entries, in its order.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eagleray.suite", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda v: f"{v:.4g}" if isinstance(v, int | float) else ""
    environment.filters["signed"] = lambda v: "" if v is None else f"{v:+.4g}"
    environment.filters["duration"] = _duration
    parts = [entry_part(record) for record in records]
    return environment.get_template("suite.html.j2").render(
        title=title,
        parts=parts,
        done=sum(part.record.state == DONE for part in parts),
        is_recalled=any(row.is_recalled for p in parts for r in p.results for row in r.rows),
        recalled=RECALLED,
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def entry_part(record: EntryRecord) -> EntryPart:
    """Return what the page says of an entry; of a run whatever its files still hold."""
    if not record.run:
        return EntryPart(record)
    run = run_below(runs_store(record.storage), record.run)
    problems: list[str] = []
    evaluations = [one for one in read_evaluations(run) if one.checkpoint != INITIAL]
    last = read_history(run).last()
    results, leading = [], []
    for one in evaluations:
        if one.result is None:
            problems.append(one.problem)
            continue
        rows = comparisons(one.result)
        title = f"{one.benchmark} ({one.checkpoint} checkpoint, {one.result.units} units)"
        results.append(ResultPart(title, one.result.protocol, rows))
        leading += [(one.benchmark, row) for row in rows if row.metric == one.result.metric][:1]
    key, pictures = _worst_pictures(run, evaluations, problems)
    return EntryPart(
        record,
        run.summary(),
        _about(record.task),
        results,
        leading,
        _named(last, _SPEED),
        _named(last, _MEMORY),
        pictures,
        key,
        problems,
    )


def _about(task: str) -> str:
    try:
        return task_type(task).summary
    except EaglerayError as error:
        return str(error)


def _named(values: Mapping[str, float], name: str) -> float | None:
    """Return a metric's newest value, whatever it stands below (``train/...``)."""
    return next((v for key, v in values.items() if key.rpartition("/")[2] == name), None)


def _worst_pictures(
    run: RunFolder, evaluations: Sequence[StoredEvaluation], problems: list[str]
) -> tuple[str, dict[str, str]]:
    """Return the unit with the worst score that has pictures, and them as data addresses."""
    for one in evaluations:
        if one.result is None:
            continue
        try:
            units = read_units(run, one)
            shown = [unit for unit in units.units if unit.pictures]
            if not shown:
                continue
            metric = leading_metric(units.metrics(), one.result.metric)
            unit = worst_first(shown, metric, higher_is_better=one.result.higher_is_better)[0]
            pictures = pictures_in_order(unit)
            return unit.key, {n: data_address(run.read(p.path)) for n, p in pictures.items()}
        except (OSError, InputError) as error:
            problems.append(f"pictures of {one.label} cannot be read: {error}")
    return "", {}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
