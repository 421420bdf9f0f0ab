"""All sweeps: what they compare, how far they are, their best value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.analysis.ablation import HOURS, counts_text
from eagleray.analysis.variants import device_hours, variant_results
from eagleray.browse.sweep_index import SweepEntry
from eagleray.dashboard.address import Address, sweep_link
from eagleray.dashboard.elements import (
    ROWS_PER_PAGE,
    Content,
    Control,
    ago,
    choice_control,
    note,
    number_text,
    page_of,
    pager,
    sort_link,
    sorted_rows,
    table,
    text_control,
)
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
        """Return a text of the summary, None where the sweep cannot be read."""
        return str(getattr(self.entry.results.summary, name)) if self.entry.results else None


class SweepsPage:
    """The list of sweeps.

    Args:
        source: What pages read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def title(self, address: Address) -> str:
        """Return the heading."""
        return "Sweeps"

    def heading(self, address: Address) -> Content:
        """Return nothing: the list says it all."""
        return []

    def controls(self, address: Address) -> Sequence[Control]:
        """Return a filter by words, task and kind."""
        readable = [entry.results for entry in self._source.sweeps.sweeps() if entry.results]
        tasks = [("", "any"), *((t, t) for t in sorted({r.summary.task for r in readable}))]
        kinds = [("", "any"), ("ablations", "ablations"), ("search", "search")]
        return [
            text_control("q", "Filter", address.one("q"), "words"),
            choice_control("task", "Task", tasks, address.one("task")),
            choice_control("kind", "Kind", kinds, address.one("kind")),
        ]

    def content(self, address: Address) -> Content:
        """Return the sweeps that the address asks for."""
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
        order = address.one("sort") or "-changed"
        heads = [sort_link(name, order, address, is_number=name in _NUMBERS) for name in _ORDER]
        return [
            html.Div(html.Span(f"{count} {noun}", className="dim", id="count"), className="bar"),
            table(heads, [_cells(row) for row in shown], numbers=(4, 7)),
            pager(page, pages, address),
        ]

    def version(self, address: Address) -> str:
        """Return a text that changes with any of the sweeps."""
        return str(hash(tuple((e.name, e.version) for e in self._source.sweeps.sweeps())))


def make_row(entry: SweepEntry) -> SweepRow:
    """Return a sweep's row: the best variant by its mean, or the best finished trial."""
    results = entry.results
    if results is None:
        return SweepRow(entry)
    if results.summary.kind == "ablations":
        known = [(v.best.mean, v.name) for v in variant_results(results) if v.best.mean is not None]
        choose = max if results.summary.higher_is_better else min
        best, winner = choose(known, key=lambda one: one[0]) if known else (None, "")
    else:
        done = [t for t in results.ranked() if t.state == "done" and results.value(t) is not None]
        best, winner = (results.value(done[0]), done[0].id) if done else (None, "")
    return SweepRow(entry, best, winner, sum(device_hours(results.trials).values()))


def chosen_rows(entries: Sequence[SweepEntry], address: Address) -> list[SweepRow]:
    """Return the rows that the address asks for, in its order."""
    words = address.one("q").lower().split()
    wanted = {"task": address.one("task"), "kind": address.one("kind")}
    rows = []
    for row in map(make_row, entries):
        fields = [row.field(name) or "" for name in ("task", "kind", "benchmark", "metric")]
        told = " ".join([row.entry.name, row.winner, *fields]).lower()
        is_wanted = all(text in ("", row.field(name)) for name, text in wanted.items())
        if is_wanted and all(word in told for word in words):
            rows.append(row)
    return sorted_rows(rows, address.one("sort") or "-changed", _ORDER, "changed")


_ORDER: Mapping[str, Callable[[SweepRow], Any]] = {
    "sweep": lambda row: row.entry.name,
    "task": lambda row: row.field("task"),
    "kind": lambda row: row.field("kind"),
    "metric": lambda row: row.field("metric"),
    "best": lambda row: row.best,
    "of": lambda row: row.winner or None,
    "trials": lambda row: len(row.entry.results.trials) if row.entry.results else None,
    HOURS: lambda row: row.hours,
    "changed": lambda row: row.entry.changed_s,
}
_NUMBERS = ("best", "trials", HOURS, "changed")


def _cells(row: SweepRow) -> list[Any]:
    entry, results = row.entry, row.entry.results
    name: Component = html.Span(entry.name, className="name")
    if is_run_name(entry.name):
        name = dcc.Link(entry.name, href=sweep_link(entry.name), className="name")
    if results is None:
        why = html.Span(entry.problem, className="why", title=entry.problem)
        return [name, why, *[""] * 6, ago(entry.changed_s)]
    summary = results.summary
    damaged = f", {len(results.problems)} unreadable" if results.problems else ""
    return [
        name,
        summary.task,
        summary.kind,
        f"{summary.benchmark}: {summary.metric}",
        number_text(row.best),
        row.winner,
        counts_text(Counter(trial.state for trial in results.trials)) + damaged,
        number_text(row.hours),
        ago(entry.changed_s),
    ]
