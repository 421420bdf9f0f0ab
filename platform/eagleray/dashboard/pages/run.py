"""One run: curves, results, settings and their difference to another run, environment, rejects,
log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from dash import dcc, html
from dash.development.base_component import Component

from eagleray.analysis.table import RECALLED, comparisons
from eagleray.browse.diagnostic_figures import lines_figure, matrix_figure
from eagleray.browse.figures import NamedHistory, classes_figure, curves_figure, metric_names
from eagleray.browse.index import RunEntry
from eagleray.dashboard.address import Address, link, run_link, sweep_link
from eagleray.dashboard.elements import (
    Content,
    Control,
    action_button,
    ago,
    choice_control,
    facts,
    figure_panel,
    note,
    number_text,
    problem,
    signed,
    slider_control,
    state_mark,
    switch_control,
    table,
    text_control,
    value_text,
)
from eagleray.dashboard.source import Source
from eagleray.runs.diagnostics import read_diagnostics
from eagleray.runs.evaluation import StoredEvaluation, read_evaluations
from eagleray.runs.metrics import TIME, History
from eagleray.runs.records import EvaluationResult
from eagleray.runs.rejects import read_rejects
from eagleray.runs.settings import differing, read_settings
from eagleray.task import CurvesDiagnostic, Diagnostic, InputError, MatrixDiagnostic

DEFAULT_SMOOTHING = 0.6
_TABS = ("curves", "results", "settings", "environment", "rejects", "log")
_LOG_BYTES = 64 << 10
_MOST_FIGURES = 60
_MOST_LINES = 200


class RunPage:
    """One run, a tab for each kind of thing that it holds."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._tabs: Mapping[str, Callable[[RunEntry, Address], Content]] = {
            "curves": self._curves,
            "results": self._results,
            "settings": self._settings,
            "environment": self._environment,
            "rejects": self._rejects,
            "log": self._log,
        }

    def title(self, address: Address) -> str:
        """Return the run's name."""
        return run_name(address) or "Run"

    def heading(self, address: Address) -> Content:
        """Return state, step and links to the tabs."""
        entry = self._source.run(run_name(address))
        return _heading(entry, address, self._source.sweeps.sweeps_of(entry.name)) if entry else []

    def controls(self, address: Address) -> Sequence[Control]:
        """Return what the tab lets the visitor set."""
        entry = self._source.run(run_name(address))
        if entry is None:
            return []
        tab = _tab(address)
        if tab == "curves":
            return curve_controls(address)
        if tab == "settings":
            others = [(r.name, r.name) for r in self._source.runs() if r.name != entry.name]
            options = [("", "nothing"), *others]
            return [
                text_control("find", "Find", address.one("find"), "lr"),
                choice_control("against", "Difference to", options, address.one("against")),
            ]
        if tab == "log":
            files = self._log_files(entry)
            if files:
                options = [(path, path.removeprefix("log/")) for path in files]
                default = files[0]
                return [choice_control("file", "File", options, address.one("file"), default)]
        return []

    def content(self, address: Address) -> Content:
        """Return the tab."""
        name = run_name(address)
        entry = self._source.run(name)
        if entry is None:
            return [problem(f"There is no run {name!r} in this store (any more).")]
        return self._tabs[_tab(address)](entry, address)

    def version(self, address: Address) -> str:
        """Return a text that changes with the run, on the curves also with each line logged."""
        entry = self._source.run(run_name(address))
        if entry is None:
            return "gone"
        known = f"{entry.changed_s}{entry.state}{entry.summary.step}{entry.marks}"
        if _tab(address) == "curves":
            return known + self._source.history_version(entry.name)
        return known

    def _curves(self, entry: RunEntry, address: Address) -> Content:
        return curve_panels([NamedHistory(entry.name, self._source.history(entry.name))], address)

    def _results(self, entry: RunEntry, address: Address) -> Content:
        parts: Content = []
        for evaluation in read_evaluations(self._source.folder(entry.name)):
            parts += _evaluation_part(entry.name, evaluation)
            parts += self._diagnostics(entry.name, evaluation)
        return parts or [note("Nothing has been evaluated yet: eagleray evaluate EXPERIMENT.yaml")]

    def _diagnostics(self, run: str, evaluation: StoredEvaluation) -> Content:
        try:
            found = read_diagnostics(
                self._source.folder(run), evaluation.benchmark, evaluation.checkpoint
            )
        except InputError as error:
            return [problem(str(error))]
        return [part for one in found for part in diagnostic_part(one, evaluation.label)]

    def _settings(self, entry: RunEntry, address: Address) -> Content:
        own = read_settings(self._source.folder(entry.name))
        wanted = address.one("find").lower()
        against = address.one("against")
        if not against:
            return [facts({k: v for k, v in own.items() if wanted in k.lower()})]
        if self._source.run(against) is None:
            return [problem(f"There is no run {against!r} in this store (any more).")]
        other = read_settings(self._source.folder(against))
        rows = [
            (html.Code(name), html.Code(value_text(a)), html.Code(value_text(b)))
            for name, (a, b) in differing([own, other]).items()
            if wanted in name.lower()
        ]
        if not rows:
            return [note("No setting differs.")]
        return [table(("setting", entry.name, against), rows)]

    def _environment(self, entry: RunEntry, address: Address) -> Content:
        return [facts(self._source.folder(entry.name).environment().facts())]

    def _rejects(self, entry: RunEntry, address: Address) -> Content:
        run = self._source.folder(entry.name)
        rejects = read_rejects(run, read_evaluations(run))
        if not rejects:
            return [note("No input was rejected.")]
        rows = [(r.where, html.Code(r.key), r.error) for r in rejects]
        return [table(("where", "input", "error"), rows)]

    def _log(self, entry: RunEntry, address: Address) -> Content:
        files = self._log_files(entry)
        if not files:
            return self._logged(entry)
        path = address.one("file", files[0])
        if path not in files:
            return [problem(f"There is no log {path!r} in this run.")]
        if not self._source.is_inside(entry.name, path):
            return [problem(f"{path} is a link that leaves the store; it is not followed.")]
        run = self._source.folder(entry.name)
        size = run.size(path)
        with run.open(path) as handle:
            handle.seek(max(0, size - _LOG_BYTES))
            text = handle.read(_LOG_BYTES).decode(errors="replace")
        cut = (
            [note(f"The last {_LOG_BYTES >> 10} KB of {size} bytes.")] if size > _LOG_BYTES else []
        )
        return [*cut, html.Pre(text, className="log", tabIndex=0)]

    def _logged(self, entry: RunEntry) -> Content:
        """Return what training logged as lines: the run has no file with what was printed."""
        history = self._source.history(entry.name)
        lines = logged_lines(history, _MOST_LINES)
        if not lines:
            return [note("There is no log, and training has logged nothing.")]
        told = f"Nothing that was printed is kept; the last {len(lines)} of {len(history)} entries:"
        return [note(told), html.Pre("\n".join(lines), className="log", tabIndex=0)]

    def _log_files(self, entry: RunEntry) -> list[str]:
        return self._source.folder(entry.name).log_files()


def logged_lines(history: History, most: int) -> list[str]:
    """Return the newest entries of a training as lines, the oldest of them first."""
    lines = []
    for idx in range(max(0, len(history) - most), len(history)):
        known = {n: float(v[idx]) for n, v in history.columns.items() if np.isfinite(v[idx])}
        seconds = known.pop(TIME, None)
        told = ", ".join(f"{name} {number_text(value)}" for name, value in known.items())
        at = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S ") if seconds else ""
        lines.append(f"{at}{history.phases[idx]} step {history.steps[idx]}: {told}")
    return lines


def run_name(address: Address) -> str:
    """Return ``experiment/run`` of a run's address."""
    return "/".join(address.parts[1:])


def curve_controls(address: Address) -> list[Control]:
    """Return the controls of curves."""
    smooth = address.number("smooth", DEFAULT_SMOOTHING, 0.0, 0.99)
    return [
        text_control("find", "Metrics", address.one("find"), "loss"),
        slider_control("smooth", "Smoothing", smooth, DEFAULT_SMOOTHING),
        choice_control("x", "Over", [("", "step"), ("time", "time")], address.one("x")),
        switch_control("log", "logarithmic", is_on=address.is_on("log")),
    ]


def curve_panels(
    histories: Sequence[NamedHistory], address: Address, *, has_legend: bool = True
) -> Content:
    """Return the curves that an address asks for, one panel per metric."""
    names = metric_names(histories)
    if not names:
        return [note("Nothing has been logged yet.")]
    wanted = address.one("find").lower().split()
    chosen = [n for n in names if not wanted or any(word in n.lower() for word in wanted)]
    panels = [
        figure_panel(
            curves_figure(
                histories,
                name,
                smoothing=address.number("smooth", DEFAULT_SMOOTHING, 0.0, 0.99),
                by_time=address.one("x") == "time",
                log_y=address.is_on("log"),
                has_legend=has_legend,
            ),
            name,
        )
        for name in chosen[:_MOST_FIGURES]
    ]
    damaged = [
        problem(f"{one.history.damaged_lines} damaged lines in the metrics of {one.name}")
        for one in histories
        if one.history.damaged_lines
    ]
    more = len(chosen) - _MOST_FIGURES
    rest = [note(f"{more} more metrics: filter them by name")] if more > 0 else []
    shown: Content = [html.Div(panels, className="grid")] if panels else [note("No such metric.")]
    return [*damaged, *shown, *rest]


def result_table(result: EvaluationResult) -> Component:
    """Return the table paper / ours / difference of one result."""
    rows = comparisons(result)
    cells = [
        (
            row.metric,
            number_text(row.paper) + RECALLED * row.is_recalled,
            number_text(row.ours),
            signed(row.difference, higher_is_better=result.is_higher_better(row.metric)),
            html.Span(row.source, className="dim"),
        )
        for row in rows
    ]
    shown = table(("metric", "paper", "ours", "difference", "source"), cells, numbers=(1, 2, 3))
    if not any(row.is_recalled for row in rows):
        return shown
    return html.Div([shown, note(f"{RECALLED} quoted from memory, to be checked")])


def diagnostic_part(one: Diagnostic, where: str) -> Content:
    """Return a diagnostic as a figure or a table, with how to read it."""
    told = [note(one.note)] if one.note else []
    if isinstance(one, MatrixDiagnostic):
        width = 160 + 22 * len(one.columns)
        figure = matrix_figure(one)
        return [figure_panel(figure, f"{where} {one.title}", least_width_px=width), *told]
    if isinstance(one, CurvesDiagnostic):
        return [figure_panel(lines_figure(one), f"{where} {one.title}"), *told]
    rows = [(name, *map(number_text, values)) for name, values in one.rows.items()]
    columns, numbers = (one.row_title, *one.columns), range(1, len(one.columns) + 1)
    return [html.H3(one.title), table(columns, rows, numbers=numbers, sortable=True), *told]


def _tab(address: Address) -> str:
    tab = address.one("tab")
    return tab if tab in _TABS else _TABS[0]


def _heading(entry: RunEntry, address: Address, sweeps: Sequence[str]) -> Content:
    summary = entry.summary
    step = f"step {summary.step}" if summary.step is not None else ""
    mark = state_mark(entry.state, is_live=entry.is_live)
    line = [mark, summary.task, step, ago(entry.changed_s)]
    problems = [text for text in (entry.problem, summary.error) if text]
    now = _tab(address)
    tabs = [
        dcc.Link(
            tab,
            href=run_link(entry.name, tab="" if tab == _TABS[0] else tab),
            className="part current" if tab == now else "part",
        )
        for tab in _TABS
    ]
    tabs.append(dcc.Link("pictures", href=link(["gallery"], run=entry.name), className="part"))
    of = [
        html.Span(["trial of ", dcc.Link(name, href=sweep_link(name), className="name")])
        for name in sweeps
    ]
    marks = entry.marks
    known = {"runs": entry.name}
    buttons = [
        *(
            action_button(f"{tag} ✕", "untag", "Take this tag away", tag=tag, **known)
            for tag in marks.tags
        ),
        action_button("tag", "tag", "Add tags", **known),
        action_button("note", "note", "Write a note", note=marks.note, **known),
        action_button("unarchive", "unarchive", "Take it back", **known)
        if marks.archived
        else action_button("archive", "archive", "Put it aside: lists leave it out", **known),
        action_button("delete", "delete", "Move it to the trash", **known),
    ]
    return [
        html.Div([*(html.Span(part) for part in line if part), *of], className="bar"),
        html.Div(buttons, className="bar"),
        *([html.P(marks.note, className="note")] if marks.note else []),
        *(problem(text) for text in problems),
        html.Nav(tabs, className="parts", **{"aria-label": "Parts of the run"}),
    ]


def _evaluation_part(run: str, evaluation: StoredEvaluation) -> Content:
    title = html.H2(f"{evaluation.benchmark} ({evaluation.checkpoint} checkpoint)")
    result = evaluation.result
    if result is None:
        return [title, problem(evaluation.problem)]
    counts = f"{result.units} units, {result.rejected} rejected"
    query = {"run": run, "of": evaluation.label}
    parts: Content = [
        title,
        note(f"{result.protocol} {counts}."),
        result_table(result),
        html.P(dcc.Link("pictures", href=link(["gallery"], **query))),
    ]
    metrics = result.class_metrics
    for metric in metrics[:1]:
        values = {name: one.get(metric) for name, one in result.per_class.items()}
        parts.append(figure_panel(classes_figure({run: values}, metric), f"{query['of']} {metric}"))
    if metrics:
        rows = [
            (name, *(number_text(values.get(m)) for m in metrics))
            for name, values in result.per_class.items()
        ]
        numbers = range(1, len(metrics) + 1)
        shown = table(("class", *metrics), rows, numbers=numbers, sortable=True)
        parts.append(html.Details([html.Summary("All classes"), shown]))
    return parts
