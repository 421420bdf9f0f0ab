"""All sweeps: what they compare, how far they are, their best value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.analysis.ablation import counts_text
from eagleray.analysis.variants import device_hours, ranked_trials, trial_value, variant_results
from eagleray.browse.sweep_index import SweepEntry
from eagleray.dashboard.address import Address, sweep_link
from eagleray.dashboard.elements import (
    Content,
    Control,
    ago,
    choice_control,
    note,
    number_text,
    table,
    text_control,
)
from eagleray.dashboard.listing import ROWS_PER_PAGE, page_of, pager, sort_link, sorted_rows
from eagleray.dashboard.source import Source
from eagleray.runs.run_folder import is_run_name


@dataclass(frozen=True)
class SweepRow:
    """One sweep in the list.

    Args:
        entry: The sweep.
        best: Best mean of a variant, or best value of a search's trial.
        winner: Name of that variant or trial.
        hours: Hours times workers of all trials.
    """

    entry: SweepEntry
    best: float | None = None
    winner: str = ""
    hours: float | None = None

    def field(self, name: str) -> str | None:
        """Return a text of the record, None where the sweep cannot be read."""
        return str(getattr(self.entry.results.record, name)) if self.entry.results else None


class SweepsPage:
    """See elements.Page."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def title(self, address: Address) -> str:
        """See Page."""
        return "Sweeps"

    def heading(self, address: Address) -> Content:
        """See Page."""
        return []

    def controls(self, address: Address) -> Sequence[Control]:
        """See Page."""
        found = [entry.results.record for entry in self._source.sweeps.sweeps() if entry.results]
        tasks = sorted({record.task for record in found})
        kinds = [("", "any"), ("ablations", "ablations"), ("search", "search")]
        return [
            text_control("q", "Filter", address.one("q"), "words"),
            choice_control(
                "task", "Task", [("", "any"), *((t, t) for t in tasks)], address.one("task")
            ),
            choice_control("kind", "Kind", kinds, address.one("kind")),
        ]

    def content(self, address: Address) -> Content:
        """See Page."""
        entries = self._source.sweeps.sweeps()
        if not entries:
            return [
                note(f"There are no sweeps in {self._source.uri}/sweeps."),
                note("Make one: eagleray sweep EXPERIMENT.yaml, or name another --storage."),
            ]
        rows = chosen_rows(entries, address)
        shown, page, pages = page_of(rows, address, ROWS_PER_PAGE)
        count = f"{len(rows)} of {len(entries)}" if len(rows) < len(entries) else f"{len(entries)}"
        noun = "sweep" if len(entries) == 1 else "sweeps"
        bar = html.Span(f"{count} {noun}", className="dim", id="count")
        return [
            html.Div(bar, className="bar"),
            _table(shown, address),
            pager(page, pages, address),
        ]

    def version(self, address: Address) -> str:
        """See Page."""
        return str(hash(tuple((e.name, e.version) for e in self._source.sweeps.sweeps())))


def make_row(entry: SweepEntry) -> SweepRow:
    """Return a sweep's row: the best variant by its mean, or the best finished trial."""
    results = entry.results
    if results is None:
        return SweepRow(entry)
    hours = sum(device_hours(results.trials).values())
    if results.record.kind == "ablations":
        found = [(v.best.mean, v.name) for v in variant_results(results) if v.best.mean is not None]
        choose = max if results.record.higher_is_better else min
        best, winner = choose(found, key=lambda one: one[0]) if found else (None, "")
        return SweepRow(entry, best, winner, hours)
    metric = results.record.metric
    done = [t for t in ranked_trials(results) if t.state == "done"][:1]
    value = trial_value(done[0], results, metric) if done else None
    return SweepRow(entry, value, done[0].id if value is not None else "", hours)


def chosen_rows(entries: Sequence[SweepEntry], address: Address) -> list[SweepRow]:
    """Return the rows that the address asks for, in its order."""
    words = address.one("q").lower().split()
    wanted = {"task": address.one("task"), "kind": address.one("kind")}
    rows = [
        row
        for row in (make_row(entry) for entry in entries)
        if all(text in ("", row.field(name)) for name, text in wanted.items())
        and all(word in _told(row) for word in words)
    ]
    return sorted_rows(rows, address.one("sort") or "-changed", _ORDER, "changed")


def _told(row: SweepRow) -> str:
    fields = [row.field(name) or "" for name in ("task", "kind", "benchmark", "metric")]
    return " ".join([row.entry.name, row.winner, *fields]).lower()


_ORDER: Mapping[str, Callable[[SweepRow], Any]] = {
    "sweep": lambda row: row.entry.name,
    "task": lambda row: row.field("task"),
    "kind": lambda row: row.field("kind"),
    "metric": lambda row: row.field("metric"),
    "best": lambda row: row.best,
    "of": lambda row: row.winner or None,
    "trials": lambda row: len(row.entry.results.trials) if row.entry.results else None,
    "device-hours": lambda row: row.hours,
    "changed": lambda row: row.entry.changed_s,
}
_NUMBERS = ("best", "trials", "device-hours", "changed")


def _table(rows: Sequence[SweepRow], address: Address) -> Component:
    order = address.one("sort") or "-changed"
    heads = [sort_link(name, order, address, is_number=name in _NUMBERS) for name in _ORDER]
    return table(heads, [_cells(row) for row in rows], numbers=(4, 7))


def _cells(row: SweepRow) -> list[Any]:
    entry = row.entry
    name: Component = html.Span(entry.name, className="name")
    if is_run_name(entry.name):
        name = dcc.Link(entry.name, href=sweep_link(entry.name), className="name")
    results = entry.results
    if results is None:
        why = html.Span(entry.problem, className="why", title=entry.problem)
        return [name, why, *[""] * 6, ago(entry.changed_s)]
    record = results.record
    counts: Counter[str] = Counter(trial.state for trial in results.trials)
    damaged = f", {len(results.problems)} unreadable" if results.problems else ""
    return [
        name,
        record.task,
        record.kind,
        f"{record.benchmark}: {record.metric}",
        number_text(row.best),
        row.winner,
        counts_text(counts) + damaged,
        number_text(row.hours),
        ago(entry.changed_s),
    ]
