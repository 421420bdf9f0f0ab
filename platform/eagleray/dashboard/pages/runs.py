"""All runs: filter, sort, best and last values beside the paper's, pick some for comparing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.browse.filter import read_filter, value_text
from eagleray.browse.index import RunEntry
from eagleray.browse.run_rows import RunRow, example_condition, make_row, metric_names
from eagleray.dashboard.address import Address, link, run_link
from eagleray.dashboard.elements import (
    ROWS_PER_PAGE,
    Content,
    Control,
    ago,
    choice_control,
    choices_control,
    hidden_control,
    note,
    number_text,
    page_of,
    pager,
    problem,
    signed,
    sort_link,
    sorted_rows,
    state_mark,
    table,
    text_control,
)
from eagleray.dashboard.source import Source
from eagleray.runs.run_folder import is_run_name

_NUMBERS = ("step", "best", "last", "difference", "changed")


class RunsPage:
    """The list of all runs."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def title(self, address: Address) -> str:
        """Name the page."""
        return "Runs"

    def heading(self, address: Address) -> Content:
        """Return nothing: the list speaks for itself."""
        return []

    def controls(self, address: Address) -> Sequence[Control]:
        """Return filter, task, state and the metric that is shown."""
        runs = self._source.runs()
        tasks = sorted({r.summary.task for r in runs if r.summary.task})
        states = sorted({r.state for r in runs})
        metrics = sorted({name for run in runs for name in metric_names(run)})
        own = [("", "each run's own")]
        example = example_condition([make_row(run, address.one("metric")) for run in runs])
        hint = f"words, {example}, seed=0, run~main-[0-3]"
        picked = address.many("col")
        columns = sorted({*self._source.settings.names, *picked})
        return [
            text_control("q", "Filter", address.one("q"), hint),
            choice_control("task", "Task", _any(tasks), address.one("task")),
            choice_control("state", "State", _any(states), address.one("state")),
            choice_control(
                "metric", "Metric", own + [(m, m) for m in metrics], address.one("metric")
            ),
            choices_control("col", "More columns", columns, picked, kind=""),
            hidden_control("pick", address.one("pick")),
        ]

    def content(self, address: Address) -> Content:
        """Return one page of the list."""
        runs = self._source.runs()
        if not runs:
            return [
                note(f"There are no runs in {self._source.uri}/runs."),
                note("Make one: eagleray run EXPERIMENT.yaml, or name another --storage."),
            ]
        rows, problems = self._chosen(runs, address)
        shown, page, pages = page_of(rows, address, ROWS_PER_PAGE)
        picked = picked_runs(address)
        count = f"{len(rows)} of {len(runs)} runs" if len(rows) < len(runs) else f"{len(runs)} runs"
        bar = [html.Span(count, className="dim", id="count"), *_picked_bar(picked, address)]
        self._source.read_settings_behind()
        return [
            *map(problem, problems),
            html.Div(bar, className="bar"),
            _table(shown, address, picked),
            pager(page, pages, address),
        ]

    def _chosen(self, runs: Sequence[RunEntry], address: Address) -> tuple[list[RunRow], list[str]]:
        """Return the rows that the address asks for, in its order, and what is wrong with it."""
        terms, order = read_filter(address.one("q")), address.one("sort") or "-changed"
        column = order.removeprefix("-")
        is_deep = bool(terms.names or address.many("col") or column not in _ORDER)
        settings = self._source.settings.of([run.name for run in runs]) if is_deep else {}
        rows = [make_row(r, address.one("metric"), settings.get(r.name)) for r in runs]
        for name, of in (("task", task_of), ("state", state_of)):
            rows = [row for row in rows if address.one(name) in ("", of(row))]
        chosen, problems = terms.chosen(rows, "run")
        by = dict(_ORDER) if column in _ORDER else {**_ORDER, column: sort_key(column)}
        return sorted_rows(chosen, order, by, "changed"), problems

    def version(self, address: Address) -> str:
        """Return a text that changes with any run's state, step or summary."""
        return str(
            hash(tuple((r.name, r.changed_s, r.state, r.summary.step) for r in self._source.runs()))
        )


def picked_runs(address: Address) -> list[str]:
    """Return the runs that are picked for comparing."""
    return [name for name in address.one("pick").split(",") if is_run_name(name)]


def task_of(row: RunRow) -> str:
    """Return the task of a row."""
    return row.entry.summary.task


def state_of(row: RunRow) -> str:
    """Return the state of a row."""
    return row.entry.state


def sort_key(name: str) -> Callable[[RunRow], Any]:
    """Return what rows are sorted by in a column of any name: numbers before texts."""

    def key(row: RunRow) -> tuple[int, Any] | None:
        value = row.value(name)
        if value is None:
            return None
        is_number = isinstance(value, int | float)
        return (0, value) if is_number else (1, value_text(value))

    return key


_ORDER: Mapping[str, Callable[[RunRow], Any]] = {
    "run": lambda row: row.entry.name,
    "task": lambda row: row.entry.summary.task,
    "state": lambda row: row.entry.state,
    "step": lambda row: row.entry.summary.step,
    "metric": lambda row: row.metric,
    "best": lambda row: row.best,
    "last": lambda row: row.last,
    "paper": lambda row: row.paper,
    "difference": lambda row: row.difference,
    "changed": lambda row: row.entry.changed_s,
}


def _table(rows: Sequence[RunRow], address: Address, picked: Sequence[str]) -> Component:
    order = address.one("sort") or "-changed"
    links = [sort_link(name, order, address, is_number=name in _NUMBERS) for name in _ORDER]
    columns = address.many("col")
    links[-1:-1] = [
        sort_link(name, order, address, label=name.rpartition(".")[2], is_number=True)
        for name in columns
    ]
    heads = [html.Span("compare", className="dim"), *links]
    body = [_cells(row, row.entry.name in picked, columns) for row in rows]
    return table(heads, body, numbers=(4, 6, 7, 8, 9))


def _cells(row: RunRow, is_picked: bool, columns: Sequence[str]) -> list[Any]:
    entry = row.entry
    if not is_run_name(entry.name):
        return [
            "",
            html.Span(entry.name, className="name"),
            "",
            html.Span(entry.problem),
            *[""] * (7 + len(columns)),
        ]
    box = dcc.Checklist(
        id={"pick": entry.name},
        options=[{"value": entry.name, "label": ""}],
        value=[entry.name] if is_picked else [],
        className="pick",
    )
    mark = state_mark(entry.state, is_live=entry.is_live)
    why = entry.problem or entry.summary.error
    state = html.Span([mark, html.Span(why, className="why", title=why)]) if why else mark
    return [
        box,
        dcc.Link(entry.name, href=run_link(entry.name), className="name"),
        entry.summary.task,
        state,
        number_text(entry.summary.step),
        row.metric,
        number_text(row.best),
        number_text(row.last),
        number_text(row.paper),
        signed(row.difference, higher_is_better=row.higher_is_better),
        *(value_text(row.value(name)) for name in columns),
        ago(entry.changed_s),
    ]


def _picked_bar(picked: Sequence[str], address: Address) -> Content:
    if not picked:
        return []
    text = f"Compare {len(picked)} runs" if len(picked) > 1 else "Look at the curves of 1 run"
    return [
        dcc.Link(text, href=link(["compare"], run=picked), className="button", id="compare"),
        dcc.Link("clear", href=address.with_query(pick=None)),
    ]


def _any(values: Sequence[str]) -> list[tuple[str, str]]:
    return [("", "any"), *((value, value) for value in values)]
