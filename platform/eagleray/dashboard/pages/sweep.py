"""One sweep: its table, its figures, and its trials with links to their runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.analysis.ablation import (
    HOURS,
    best_trials,
    make_table,
    page_notes,
    settings_text,
    trial_columns,
)
from eagleray.analysis.variants import variant_results
from eagleray.browse.filter import NamedValues, read_filter
from eagleray.browse.index import RunEntry
from eagleray.browse.sweep_figures import (
    COSTS,
    differences_figure,
    parallel_figure,
    scatter_figure,
    variants_figure,
)
from eagleray.browse.sweep_index import SweepEntry
from eagleray.dashboard.address import Address, link, run_link
from eagleray.dashboard.elements import (
    ROWS_PER_PAGE,
    Content,
    Control,
    ago,
    choice_control,
    figure_panel,
    note,
    number_text,
    page_of,
    pager,
    problem,
    sort_link,
    sorted_rows,
    state_mark,
    table,
    text_control,
)
from eagleray.dashboard.source import Source
from eagleray.experiment.paths import short_names
from eagleray.runs.run_folder import is_run_name
from eagleray.sweep.folder import TrialRecord
from eagleray.sweep.results import SweepResults, setting_text

COMPARED = 5
"""Best trials that are offered for comparing their curves."""
AXIS_WIDTH_PX = 110
"""Parallel coordinates need at least this much per axis."""
_WORKING = ("running", "pending")

Runs = Mapping[str, RunEntry]
"""The runs of the trials that are there, by name."""


class SweepPage:
    """The page of one sweep.

    Args:
        source: What pages read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def title(self, address: Address) -> str:
        """Return the sweep's name."""
        return "/".join(address.parts[1:]) or "Sweep"

    def heading(self, address: Address) -> Content:
        """Return how far the sweep is and what it compares."""
        entry = self._entry(address)
        if entry is None or entry.results is None:
            return []
        return _heading(entry.results, entry.changed_s, self._runs(entry.results))

    def controls(self, address: Address) -> Sequence[Control]:
        """Return the filter of trials, the metric and what the scatter goes over."""
        entry = self._entry(address)
        if entry is None or entry.results is None:
            return []
        results, own = entry.results, entry.results.metric
        metrics = [(name, name) for name in results.metrics()]
        over = [*short_names(results.settings()).items(), *((name, name) for name in COSTS)]
        default = _default_quantity(results)
        return [
            text_control("q", "Filter trials", address.one("q"), f"words, {_example(results)}"),
            choice_control("metric", "Metric", metrics, address.one("metric"), own),
            choice_control("x", "Scatter over", over, address.one("x"), default),
        ]

    def content(self, address: Address) -> Content:
        """Return variants, figures, trials and the table to copy."""
        entry, name = self._entry(address), "/".join(address.parts[1:])
        if entry is None:
            return [problem(f"There is no sweep {name!r} in this store (any more).")]
        if entry.results is None:
            return [problem(entry.problem)]
        results = entry.results
        if address.one("metric") in results.metrics():
            results = results.by(address.one("metric"))
        runs, ranked = self._runs(results), {trial.id: trial for trial in results.ranked()}
        rows = [_as_row(trial, results, runs) for trial in ranked.values()]
        found, wrong = read_filter(address.one("q")).chosen(rows, "trial")
        chosen = [ranked[str(row.of["trial"])] for row in found]
        return [
            *(problem(text) for text in (*results.problems, *wrong)),
            *_variants(results, address),
            *_figures(results, chosen, runs, address),
            *_trials(results, chosen, runs, address),
            *_texts(results),
        ]

    def version(self, address: Address) -> str:
        """Return a text that changes with the sweep's files and with what its live runs reach."""
        entry = self._entry(address)
        if entry is None:
            return "gone"
        if entry.results is None:
            return entry.version
        working = [trial.run for trial in entry.results.trials if trial.state in _WORKING]
        runs = self._runs(entry.results) if working else {}
        live = [
            (name, runs[name].state, runs[name].summary.step) for name in working if name in runs
        ]
        return f"{entry.version}{live}"

    def _entry(self, address: Address) -> SweepEntry | None:
        return self._source.sweeps.find("/".join(address.parts[1:]))

    def _runs(self, results: SweepResults) -> Runs:
        wanted = {trial.run for trial in results.trials if is_run_name(trial.run)}
        return {run.name: run for run in self._source.runs() if run.name in wanted}


def trial_state(trial: TrialRecord, runs: Runs) -> tuple[str, bool]:
    """Return a trial's state and whether a live driver works on it; ``interrupted`` where its
    record says running, but its run knows that nobody goes on with it.
    """
    run = runs.get(trial.run)
    if trial.state != "running" or run is None:
        return trial.state, False
    return ("interrupted", False) if run.state == "interrupted" else ("running", run.is_live)


def _heading(results: SweepResults, changed_s: float, runs: Runs) -> Content:
    summary, states = results.summary, [trial_state(trial, runs) for trial in results.trials]
    live = any(is_live for _, is_live in states)
    marks = [
        html.Span([state_mark(name, is_live=live and name == "running"), f" {count}"])
        for name, count in Counter(state for state, _ in states).items()
    ]
    way = "higher is better" if summary.higher_is_better else "lower is better"
    seeds = f"{len(summary.seeds)} seeds" if len(summary.seeds) > 1 else ""
    scheduler = f", scheduler: {summary.scheduler}" if summary.scheduler else ""
    ranked = f"{summary.benchmark}: {summary.metric}, {way}"
    line = [summary.task, f"{summary.kind}{scheduler}", ranked, seeds]
    space = [html.Li([html.Code(name), f": {text}"]) for name, text in summary.space.items()]
    return [
        html.Div([*marks, ago(changed_s)], className="bar"),
        html.Div([html.Span(part) for part in line if part], className="bar dim"),
        *([html.Details([html.Summary("What is searched"), html.Ul(space)])] if space else []),
    ]


def _variants(results: SweepResults, address: Address) -> Content:
    if results.summary.kind != "ablations":
        return []
    shown, variants = make_table(results), variant_results(results)
    rows = []
    for variant, cells in zip(variants, shown.rows, strict=True):
        row = {
            c: _marked(cell.text, cell.is_best)
            for c, cell in zip(shown.columns, cells, strict=True)
        }
        href = address.with_query(q=variant.name)
        row["variant"] = dcc.Link(variant.name or "(no variant)", href=href, className="name")
        if variant.difference is not None:
            is_good = variant.difference.is_better(results.higher_is_better)
            if is_good is not None:
                kind = "good" if is_good else "bad"
                row["difference"] = html.Span(row["difference"], className=kind)
        rows.append([*row.values(), html.Code(settings_text(variant.settings))])
    columns = [*shown.columns, "settings"]
    parts: Content = [html.H2("Variants"), table(columns, rows, numbers=sorted(shown.numbers))]
    parts.append(note("± is the sample standard deviation over seeds."))
    if "difference" in shown.columns:
        text = (
            "A difference is the mean over pairs of the same seed (how many stands behind it), "
            "with its 95 % t interval; it is colored where that leaves out zero."
        )
        parts.append(note(text))
    parts += map(note, page_notes(shown))
    if any(variant.best.mean is not None for variant in variants):
        panels = [figure_panel(variants_figure(results), f"variants {results.metric}")]
        differences, key = differences_figure(results), f"differences {results.metric}"
        panels += [figure_panel(differences, key)] if differences is not None else []
        parts.append(html.Div(panels, className="pair"))
    return parts


def _marked(text: str, is_best: bool) -> Component | str:
    return html.Strong(text, title="the best") if is_best else text


def _default_quantity(results: SweepResults) -> str:
    """Return what the scatter shows first: a search's first setting, what ablations cost."""
    is_search = results.summary.kind == "search"
    return next(iter(results.settings()), HOURS) if is_search else HOURS


def _figures(
    results: SweepResults, chosen: Sequence[TrialRecord], runs: Runs, address: Address
) -> Content:
    if all(results.value(trial) is None for trial in chosen):
        return [html.H2("Settings"), note("No trial that is chosen has a value yet.")]
    settings, metric = results.settings(), results.metric
    over = address.one("x") if address.one("x") in (*settings, *COSTS) else ""
    over = over or _default_quantity(results)
    links = {trial.id: run_link(trial.run) for trial in chosen if trial.run in runs}
    scatter = scatter_figure(results, chosen, over, links)
    panels = [figure_panel(scatter, f"scatter {over} {metric}")]
    if settings:
        lines, width = parallel_figure(results, chosen, links), AXIS_WIDTH_PX * (len(settings) + 1)
        panels = [figure_panel(lines, f"parallel {metric}", least_width_px=width), *panels]
    return [html.H2("Settings"), html.Div(panels, className="pair")]


def _trials(
    results: SweepResults, chosen: Sequence[TrialRecord], runs: Runs, address: Address
) -> Content:
    columns = {column.name: column for column in trial_columns(results)}
    columns["state"] = replace(columns["state"], of=lambda trial: trial_state(trial, runs)[0])
    if all(trial.variant is None for trial in results.trials):
        del columns["variant"]
    order = address.one("sort")
    orders = {name: column.of for name, column in columns.items()}
    rows = sorted_rows(chosen, order, orders, "value") if order else chosen
    shown, page, pages = page_of(rows, address, ROWS_PER_PAGE)
    heads = [
        sort_link(c.name, order, address, label=c.heading, is_number=c.is_number)
        for c in columns.values()
    ]
    best = best_trials(results, chosen)
    body = []
    for trial in shown:
        cells: dict[str, Any] = {name: column.text(trial) for name, column in columns.items()}
        cells |= _linked_cells(trial, runs)
        cells["value"] = _marked(cells["value"], trial.id in best)
        body.append(list(cells.values()))
    right = [idx for idx, column in enumerate(columns.values()) if column.is_number]
    total = len(results.trials)
    count = f"{len(chosen)} of {total} trials" if len(chosen) < total else f"{total} trials"
    bar: Content = [html.Span(count, className="dim", id="count")]
    compared = [trial.run for trial in chosen if trial.run in runs][:COMPARED]
    if len(compared) > 1:
        href = link(["compare"], run=list(dict.fromkeys(compared)))
        text = f"Compare the curves of the best {len(compared)}"
        bar.append(dcc.Link(text, href=href, className="button", id="compare"))
    is_search = results.summary.kind == "search"
    return [
        html.H2("Trials"),
        html.Div(bar, className="bar"),
        *(map(note, page_notes(make_table(results))) if is_search else ()),
        table(heads, body, numbers=right),
        pager(page, pages, address),
    ]


def _linked_cells(trial: TrialRecord, runs: Runs) -> dict[str, Any]:
    """Return the cells that say more than the table: what the trial's run has reached."""
    name: Component = html.Span(trial.id, className="name", title="its run is not in this store")
    run, (state, is_live) = runs.get(trial.run), trial_state(trial, runs)
    if run is not None:
        name = dcc.Link(trial.id, href=run_link(trial.run), className="name")
    why = html.Span(trial.error, className="why", title=trial.error) if trial.error else ""
    cells = {"trial": name, "state": html.Span([state_mark(state, is_live=is_live), why])}
    if is_live and run is not None and run.summary.step is not None:
        cells["steps"] = number_text(run.summary.step)
    return cells


def _texts(results: SweepResults) -> Content:
    made = make_table(results)
    kinds = {"Markdown": made.markdown(), "LaTeX": made.latex(), "CSV": made.csv()}
    parts = [
        html.Details([html.Summary(f"The table as {kind}"), html.Pre(text, className="log")])
        for kind, text in kinds.items()
    ]
    return [html.H2("Copy"), *parts]


def _as_row(trial: TrialRecord, results: SweepResults, runs: Runs) -> NamedValues:
    """Return a trial in the form that filters understand: its name, settings and numbers."""
    known: dict[str, Any] = {"trial": trial.id, "state": trial_state(trial, runs)[0]}
    for name, short in short_names(results.settings()).items():
        value = results.setting(trial, name)
        plain = value if type(value) in (int, float) else setting_text(value)
        known |= dict.fromkeys((name, short), None if value is None else plain)
    known |= {"task": results.summary.task, "seed": trial.seed, "steps": trial.steps}
    known |= {"step": trial.steps, "variant": trial.variant or "", "last": results.last(trial)}
    best = results.value(trial)
    known |= {**trial.values, results.metric: best, "best": best}
    told = f"{trial.id} {trial.variant or ''} {trial.run} {settings_text(trial.overrides)}"
    return NamedValues(f"{told} {results.summary.task} {known['state']}", known)


def _example(results: SweepResults) -> str:
    """Return conditions that about half of the trials fulfil."""
    known = sorted(v for trial in results.trials if (v := results.value(trial)) is not None)
    return f"{results.metric}>{known[len(known) // 2]:.3g}" if known else "seed=0"
