"""All runs: filter, sort, best and last values beside the paper's, pick some for comparing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.browse.filter import value_text
from eagleray.browse.run_groups import SEEDS, RunGroup
from eagleray.browse.run_rows import RunRow, example_condition, make_row, metric_names
from eagleray.browse.views import read_views
from eagleray.dashboard.address import Address, link, run_link
from eagleray.dashboard.elements import (
    ROWS_PER_PAGE,
    Content,
    Control,
    action_button,
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
    state_mark,
    table,
    tag_marks,
    text_control,
)
from eagleray.dashboard.run_list import GROUP_ORDER, ORDER, chosen_groups, chosen_runs
from eagleray.dashboard.source import Source
from eagleray.runs.run_folder import is_run_name

_SHOWN = [("", "not archived"), ("all", "all"), ("archived", "archived")]
_MOST_EXAMPLES = 50
_MOST_COMPARED = 40
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
        few = runs[:: max(1, len(runs) // _MOST_EXAMPLES)]
        example = example_condition([make_row(run, address.one("metric")) for run in few])
        hint = f"words, {example}, seed=0, tag=good, run~main-[0-3]"
        picked, group = address.many("col"), address.one("group")
        columns = sorted({*self._source.settings.names, *picked})
        groups = [("", "nothing"), (SEEDS, "all but the seed"), ("experiment", "experiment")]
        groups += [(n, n) for n in sorted({*columns, group} - {key for key, _ in groups})]
        return [
            text_control("q", "Filter", address.one("q"), hint),
            choice_control("task", "Task", _any(tasks), address.one("task")),
            choice_control("state", "State", _any(states), address.one("state")),
            choice_control(
                "metric", "Metric", own + [(m, m) for m in metrics], address.one("metric")
            ),
            choice_control("group", "Group by", groups, group),
            choice_control("show", "Show", _SHOWN, address.one("show")),
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
        rows, problems = chosen_runs(self._source, runs, address)
        picked = picked_runs(address)
        noun = "run" if len(runs) == 1 else "runs"
        count = f"{len(rows)} of {len(runs)}" if len(rows) < len(runs) else f"{len(runs)}"
        aside = sum(run.marks.archived for run in runs) if not address.one("show") else 0
        count = f"{count} {noun}" + (f" ({aside} archived)" if aside else "")
        bar = [html.Span(count, className="dim", id="count"), *_picked_bar(picked, address)]
        self._source.read_settings_behind()
        shown: Sequence[Any]
        if address.one("group"):
            shown, page, pages = page_of(chosen_groups(rows, address), address, ROWS_PER_PAGE)
            listing = _group_table(shown, address)
        else:
            shown, page, pages = page_of(rows, address, ROWS_PER_PAGE)
            listing = _table(shown, address, picked)
        return [
            *map(problem, problems),
            html.Div(bar, className="bar"),
            listing,
            pager(page, pages, address),
            _views_bar(self._source, address),
        ]

    def version(self, address: Address) -> str:
        """Return a text that changes with any run's state, step or summary."""
        return str(
            hash(
                tuple(
                    (r.name, r.changed_s, r.state, r.summary.step, r.marks)
                    for r in self._source.runs()
                )
            )
        )


def picked_runs(address: Address) -> list[str]:
    """Return the runs that are picked for comparing."""
    return [name for name in address.one("pick").split(",") if is_run_name(name)]


def _table(rows: Sequence[RunRow], address: Address, picked: Sequence[str]) -> Component:
    order = address.one("sort") or "-changed"
    links = [sort_link(name, order, address, is_number=name in _NUMBERS) for name in ORDER]
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
    why, marks = entry.problem or entry.summary.error, tag_marks(entry.marks)
    state = html.Span([mark, html.Span(why, className="why", title=why)]) if why else mark
    return [
        box,
        html.Span([dcc.Link(entry.name, href=run_link(entry.name), className="name"), *marks]),
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
        *(
            action_button(label, action, title, runs=",".join(picked))
            for label, action, title in (
                ("tag", "tag", "Add tags to the picked runs"),
                ("untag", "untag", "Take tags away from the picked runs"),
                ("archive", "archive", "Put the picked runs aside"),
                ("unarchive", "unarchive", "Take the picked runs back"),
                ("delete", "delete", "Move the picked runs to the trash"),
            )
        ),
    ]


def _views_bar(source: Source, address: Address) -> Component:
    """Return the named views, and what else can be done with what is shown."""
    query = {name: values for name, values in address.query.items() if name != "pick"}
    views: Content = []
    for name, at in read_views(source.storage).items():
        forget = action_button("✕", "forget", f"Forget the view {name}", view=name)
        views.append(html.Span([dcc.Link(name, href=at), " ", forget]))
    return html.Div(
        [
            html.A("all as CSV", href=link(["runs.csv"], **query), download="runs.csv", id="csv"),
            action_button("name this view", "view", "Keep this filter, order and columns"),
            *([html.Span("views:", className="dim"), *views] if views else []),
        ],
        className="bar",
    )


def _group_table(groups: Sequence[RunGroup], address: Address) -> Component:
    order = address.one("sort") or "-mean"
    texts = ("group", "task", "metric")
    heads = [sort_link(n, order, address, is_number=n not in texts) for n in GROUP_ORDER]
    body = []
    for group in groups:
        names, best = [row.entry.name for row in group.rows], group.best
        label: Any = html.Span(group.name, className="name")
        if len(names) <= _MOST_COMPARED:
            label = dcc.Link(group.name, href=link(["compare"], run=names), className="name")
        first = group.rows[0]
        cells = [
            label,
            first.entry.summary.task,
            len(names),
            len(group.seeds) or "",
            first.metric,
            number_text(group.spread.mean),
            number_text(group.spread.deviation),
            dcc.Link(number_text(best.ours), href=run_link(best.entry.name)) if best else "",
            number_text(first.paper),
            signed(group.difference, higher_is_better=first.higher_is_better),
        ]
        body.append(cells)
    return table(heads, body, numbers=(2, 3, 5, 6, 7, 8, 9))


def _any(values: Sequence[str]) -> list[tuple[str, str]]:
    return [("", "any"), *((value, value) for value in values)]
