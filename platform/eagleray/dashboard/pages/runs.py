"""All runs: filter, sort, best and last values beside the paper's, pick some for comparing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.analysis.table import comparisons
from eagleray.browse.index import RunEntry
from eagleray.dashboard.address import Address, link, run_link
from eagleray.dashboard.elements import (
    ROWS_PER_PAGE,
    Content,
    Control,
    ago,
    choice_control,
    hidden_control,
    note,
    number_text,
    page_of,
    pager,
    signed,
    sort_link,
    sorted_rows,
    state_mark,
    table,
    text_control,
)
from eagleray.dashboard.source import Source
from eagleray.runs.records import INITIAL
from eagleray.runs.run_folder import is_run_name

_TRAINING = "training"
_CONDITION = re.compile(r"(?P<name>[\w/.@-]+)\s*(?P<sign><=|>=|=|<|>)\s*(?P<value>[-+\w.]+)")
_NUMBERS = ("step", "best", "last", "difference", "changed")
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
}


@dataclass(frozen=True)
class RunRow:
    """One run in the list.

    Args:
        entry: The run.
        metric: The number that is shown of it, ``benchmark: metric``.
        best: Its value with the best checkpoint.
        last: Its value with the last checkpoint.
        paper: The published value.
        higher_is_better: Which way the metric goes.
    """

    entry: RunEntry
    metric: str = ""
    best: float | None = None
    last: float | None = None
    paper: float | None = None
    higher_is_better: bool = True

    @property
    def difference(self) -> float | None:
        """Ours (best, else last) minus the paper's."""
        ours = self.best if self.best is not None else self.last
        return None if ours is None or self.paper is None else ours - self.paper

    def number(self, name: str) -> float | None:
        """Return a number by the name that a filter gives: step, best, last, difference, a metric
        of any benchmark, or a training value such as ``loss``.
        """
        own = {
            "step": self.entry.summary.step,
            "best": self.best,
            "last": self.last,
            "paper": self.paper,
            "difference": self.difference,
        }
        if name in own:
            return own[name]
        for result in self.entry.summary.results:
            value = result.values.get(name)
            if value is not None:
                return value
        return self.training(name)

    def text(self, name: str) -> str | None:
        """Return a text by the name that a filter gives: task, state, or a training value."""
        value = self.entry.summary.train.get(name)
        own = {"task": self.entry.summary.task, "state": self.entry.state}
        return own.get(name, value if isinstance(value, str) else None)

    def training(self, name: str) -> float | None:
        """Return a number of the last training line."""
        value = self.entry.summary.train.get(name)
        return float(value) if isinstance(value, int | float) else None


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
        return [
            text_control("q", "Filter", address.one("q"), "words, miou>0.7, step>=1000"),
            choice_control("task", "Task", _any(tasks), address.one("task")),
            choice_control("state", "State", _any(states), address.one("state")),
            choice_control(
                "metric", "Metric", own + [(m, m) for m in metrics], address.one("metric")
            ),
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
        rows = chosen_rows(runs, address)
        shown, page, pages = page_of(rows, address, ROWS_PER_PAGE)
        picked = picked_runs(address)
        count = f"{len(rows)} of {len(runs)} runs" if len(rows) < len(runs) else f"{len(runs)} runs"
        bar = [html.Span(count, className="dim", id="count"), *_picked_bar(picked, address)]
        return [
            html.Div(bar, className="bar"),
            _table(shown, address, picked),
            pager(page, pages, address),
        ]

    def version(self, address: Address) -> str:
        """Return a text that changes with any run's state, step or summary."""
        return str(
            hash(tuple((r.name, r.changed_s, r.state, r.summary.step) for r in self._source.runs()))
        )


def picked_runs(address: Address) -> list[str]:
    """Return the runs that are picked for comparing."""
    return [name for name in address.one("pick").split(",") if is_run_name(name)]


def metric_names(run: RunEntry) -> list[str]:
    """Return the numbers that a run can be ranked by, as ``benchmark: metric``."""
    names = [f"{_TRAINING}: {name}" for name in run.summary.train]
    return names + [f"{r.benchmark}: {m}" for r in run.summary.results for m in r.values]


def chosen_rows(runs: Sequence[RunEntry], address: Address) -> list[RunRow]:
    """Return the rows that the address asks for, in its order."""
    task, state = address.one("task"), address.one("state")
    rows = [
        make_row(run, address.one("metric"))
        for run in runs
        if task in ("", run.summary.task) and state in ("", run.state)
    ]
    matches = make_filter(address.one("q"))
    order = address.one("sort") or "-changed"
    return sorted_rows([row for row in rows if matches(row)], order, _ORDER, "changed")


def make_row(run: RunEntry, metric: str) -> RunRow:
    """Return a run's row for a metric (``benchmark: metric``; empty: the run's own first one)."""
    results, trained_best = run.summary.results, run.summary.best
    if not metric and results:
        metric = f"{results[0].benchmark}: {results[0].metric}"
    metric = metric or f"{_TRAINING}: {trained_best.metric if trained_best else 'loss'}"
    benchmark, _, name = metric.partition(": ")
    if benchmark == _TRAINING:
        return _training_row(run, name)
    fitting = [r for r in results if r.benchmark == benchmark and name in r.values]
    if not fitting:
        return RunRow(run)
    values = {r.checkpoint: r.values[name] for r in fitting}
    others = [v for checkpoint, v in values.items() if checkpoint not in ("last", INITIAL)]
    first = fitting[0]
    published = [c.paper for c in comparisons(first) if c.metric == name and c.paper is not None]
    best = values.get("best", others[0] if others else None)
    paper = published[0] if published else None
    return RunRow(run, metric, best, values.get("last"), paper, first.is_higher_better(name))


def _training_row(run: RunEntry, name: str) -> RunRow:
    trained_best = run.summary.best
    best = trained_best.value if trained_best and trained_best.metric == name else None
    last = RunRow(run).training(name)
    if best is None and last is None:
        return RunRow(run)
    return RunRow(run, f"{_TRAINING}: {name}", best, last)


def make_filter(text: str) -> Callable[[RunRow], bool]:
    """Return a test for rows: all words occur in the name, task or state, all conditions hold.

    Example:
        >>> row = RunRow(RunEntry("toy/main-1", RunSummary(task="ops", step=50)))
        >>> make_filter("toy step>=50")(row), make_filter("step<50")(row)
        (True, False)
    """
    conditions = [m.groupdict() for m in _CONDITION.finditer(text)]
    words = _CONDITION.sub(" ", text).lower().split()

    def matches(row: RunRow) -> bool:
        entry = row.entry
        told = f"{entry.name} {entry.summary.task} {entry.state} {row.metric}".lower()
        return all(word in told for word in words) and all(_holds(c, row) for c in conditions)

    return matches


def _holds(condition: Mapping[str, str], row: RunRow) -> bool:
    found = row.number(condition["name"])
    try:
        wanted = float(condition["value"])
    except ValueError:
        return condition["sign"] == "=" and row.text(condition["name"]) == condition["value"]
    return found is not None and _SIGNS[condition["sign"]](found, wanted)


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
    heads = [html.Span("compare", className="dim"), *links]
    body = [_cells(row, row.entry.name in picked) for row in rows]
    return table(heads, body, numbers=(4, 6, 7, 8, 9))


def _cells(row: RunRow, is_picked: bool) -> list[Any]:
    entry = row.entry
    if not is_run_name(entry.name):
        return [
            "",
            html.Span(entry.name, className="name"),
            "",
            html.Span(entry.problem),
            *[""] * 7,
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
