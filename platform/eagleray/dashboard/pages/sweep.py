"""One sweep: its table, its figures, and its trials with links to their runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.analysis.ablation import (
    decimals,
    hours_text,
    make_table,
    setting_headings,
    settings_text,
)
from eagleray.analysis.ablation import number_text as metric_text
from eagleray.analysis.table_formats import Table
from eagleray.analysis.variants import (
    VariantResult,
    best_ones,
    device_hours,
    last_value,
    ranked_trials,
    trial_value,
    variant_results,
)
from eagleray.browse.index import RunEntry
from eagleray.browse.sweep_index import SweepEntry
from eagleray.dashboard.address import Address, link, run_link
from eagleray.dashboard.elements import (
    Content,
    Control,
    ago,
    choice_control,
    figure_panel,
    note,
    number_text,
    problem,
    state_mark,
    table,
    text_control,
)
from eagleray.dashboard.listing import ROWS_PER_PAGE, page_of, pager, sort_link, sorted_rows
from eagleray.dashboard.pages.runs import RunRow, make_filter
from eagleray.dashboard.source import Source
from eagleray.report.sweep_figures import (
    COSTS,
    HOURS,
    parallel_figure,
    scatter_figure,
)
from eagleray.report.variant_figures import differences_figure, variants_figure
from eagleray.runs.run_folder import is_run_name
from eagleray.sweep.sweep_folder import TrialRecord
from eagleray.sweep.sweep_results import SweepResults, setting_text, short_names

COMPARED = 5
"""Best trials that are offered for comparing their curves."""
AXIS_WIDTH_PX = 110
"""Parallel coordinates need at least this much per axis."""
_WORKING = ("running", "pending")


class SweepPage:
    """See elements.Page."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def title(self, address: Address) -> str:
        """See Page."""
        return "/".join(address.parts[1:]) or "Sweep"

    def heading(self, address: Address) -> Content:
        """See Page."""
        entry = self._entry(address)
        return _heading(entry, self._runs(entry.results)) if entry and entry.results else []

    def controls(self, address: Address) -> Sequence[Control]:
        """See Page."""
        entry = self._entry(address)
        if entry is None or entry.results is None:
            return []
        results = entry.results
        own = results.record.metric
        metrics = [(name, name) for name in results.metrics()]
        over = [*short_names(results.settings()).items(), *((name, name) for name in COSTS)]
        default = _default_quantity(results)
        return [
            text_control("q", "Filter trials", address.one("q"), f"words, {own}>0.5, lr<0.01"),
            choice_control("metric", "Metric", metrics, address.one("metric"), own),
            choice_control("x", "Scatter over", over, address.one("x"), default),
        ]

    def content(self, address: Address) -> Content:
        """See Page."""
        entry, name = self._entry(address), "/".join(address.parts[1:])
        if entry is None:
            return [problem(f"There is no sweep {name!r} in this store (any more).")]
        if entry.results is None:
            return [problem(entry.problem)]
        results = entry.results
        metric = address.one("metric") if address.one("metric") in results.metrics() else ""
        metric = metric or results.record.metric
        runs = self._runs(results)
        matches = make_filter(address.one("q"))
        found = ranked_trials(results, metric)
        chosen = [trial for trial in found if matches(_as_row(trial, results, metric, runs))]
        return [
            *(problem(text) for text in results.problems),
            *_variants(results, metric, address),
            *_figures(results, chosen, metric, runs, address),
            *_trials(results, chosen, metric, runs, address),
            *_texts(results, metric),
        ]

    def version(self, address: Address) -> str:
        """See Page."""
        entry = self._entry(address)
        if entry is None:
            return "gone"
        if entry.results is None:
            return entry.version
        working = [trial.run for trial in entry.results.trials if trial.state in _WORKING]
        runs = self._runs(entry.results) if working else {}
        live = [(name, runs[name].state, runs[name].step) for name in working if name in runs]
        return f"{entry.version}{live}"

    def _entry(self, address: Address) -> SweepEntry | None:
        return self._source.sweeps.find("/".join(address.parts[1:]))

    def _runs(self, results: SweepResults) -> dict[str, RunEntry]:
        """Return the runs of the trials that are there, by name."""
        wanted = {trial.run for trial in results.trials}
        return {run.name: run for run in self._source.runs() if run.name in wanted}


def trial_state(trial: TrialRecord, runs: Mapping[str, RunEntry]) -> tuple[str, bool]:
    """Return a trial's state and whether a live driver works on it; ``interrupted`` where its
    record says running, but its run knows that nobody goes on with it.
    """
    run = runs.get(trial.run)
    if trial.state != "running" or run is None:
        return trial.state, False
    return ("interrupted", False) if run.state == "interrupted" else ("running", run.is_live)


def _heading(entry: SweepEntry, runs: Mapping[str, RunEntry]) -> Content:
    results = entry.results
    if results is None:
        return []
    record = results.record
    states = [trial_state(trial, runs) for trial in results.trials]
    counts = Counter(state for state, _ in states)
    live = any(is_live for _, is_live in states)
    marks = [
        html.Span([state_mark(name, is_live=live and name == "running"), f" {count}"])
        for name, count in counts.items()
    ]
    way = "higher is better" if record.higher_is_better else "lower is better"
    seeds = f"{len(record.seeds)} seeds" if len(record.seeds) > 1 else ""
    kind = f"{record.kind}, scheduler: {record.scheduler}" if record.scheduler else record.kind
    line = [record.task, kind, f"{record.benchmark}: {record.metric}, {way}", seeds]
    space = [html.Li([html.Code(name), f": {text}"]) for name, text in record.space.items()]
    searched = html.Details([html.Summary("What is searched"), html.Ul(space)])
    return [
        html.Div([*marks, ago(entry.changed_s)], className="bar"),
        html.Div([html.Span(part) for part in line if part], className="bar dim"),
        *([searched] if space else []),
    ]


def _variants(results: SweepResults, metric: str, address: Address) -> Content:
    if results.record.kind != "ablations":
        return []
    shown = make_table(results, metric)
    found = variant_results(results, metric)
    rows = []
    for variant, cells in zip(found, shown.rows, strict=True):
        texts = dict(zip(shown.columns, (_marked(c.text, c.is_best) for c in cells), strict=True))
        texts["variant"] = dcc.Link(
            variant.name or "(no variant)",
            href=address.with_query(q=variant.name),
            className="name",
        )
        if "difference" in texts:
            texts["difference"] = _colored(variant, results, metric, str(texts["difference"]))
        rows.append([*texts.values(), html.Code(settings_text(variant.settings))])
    columns = [*shown.columns, "settings"]
    parts: Content = [html.H2("Variants"), table(columns, rows, numbers=sorted(shown.numbers))]
    is_compared = "difference" in shown.columns
    parts += [note("± is the sample standard deviation over seeds.")]
    if is_compared:
        text = (
            "A difference is the mean over pairs of the same seed (how many stands behind it), "
            "with its 95 % t interval; it is colored where that leaves out zero."
        )
        parts.append(note(text))
    parts += _notes(shown)
    if any(variant.best.mean is not None for variant in found):
        panels = [figure_panel(variants_figure(results, metric), f"variants {metric}")]
        differences = differences_figure(results, metric)
        panels += [figure_panel(differences, f"differences {metric}")] if differences else []
        parts.append(html.Div(panels, className="pair"))
    return parts


def _notes(shown: Table) -> Content:
    """Return a table's notes; what could not be read stands at the page's top already."""
    return [note(text) for text in shown.notes if not text.startswith("not in the table")]


def _marked(text: str, is_best: bool) -> Component | str:
    return html.Strong(text, title="the best") if is_best else text


def _colored(
    variant: VariantResult, results: SweepResults, metric: str, text: str
) -> Component | str:
    """Return a difference, colored where its interval leaves out zero and it is known which way
    is better.
    """
    found = variant.difference
    if found is None or found.low is None or found.high is None:
        return text
    if metric != results.record.metric or found.low <= 0 <= found.high:
        return text
    is_good = (found.low > 0) == results.record.higher_is_better
    return html.Span(text, className="good" if is_good else "bad")


def _default_quantity(results: SweepResults) -> str:
    """Return what the scatter shows first: a search's first setting, what ablations cost."""
    is_search = results.record.kind == "search"
    return next(iter(results.settings()), HOURS) if is_search else HOURS


def _figures(
    results: SweepResults,
    chosen: Sequence[TrialRecord],
    metric: str,
    runs: Mapping[str, RunEntry],
    address: Address,
) -> Content:
    measured = [t for t in chosen if trial_value(t, results, metric) is not None]
    if not measured:
        return [html.H2("Settings"), note("No trial that is chosen has a value yet.")]
    names = [*results.settings(), *COSTS]
    over = address.one("x") if address.one("x") in names else _default_quantity(results)
    links = {trial.id: run_link(trial.run) for trial in chosen if _has_page(trial, runs)}
    scatter = scatter_figure(results, chosen, over, metric, links)
    panels = [figure_panel(scatter, f"scatter {over} {metric}")]
    if results.settings():
        lines = parallel_figure(results, chosen, metric, links)
        width = AXIS_WIDTH_PX * (len(results.settings()) + 1)
        panels = [figure_panel(lines, f"parallel {metric}", least_width_px=width), *panels]
    return [html.H2("Settings"), html.Div(panels, className="pair")]


def _trials(
    results: SweepResults,
    chosen: Sequence[TrialRecord],
    metric: str,
    runs: Mapping[str, RunEntry],
    address: Address,
) -> Content:
    names = setting_headings(results, metric)
    columns = _columns(results, metric, runs)
    order = address.one("sort")
    rows = sorted_rows(chosen, order, columns, "value") if order else list(chosen)
    shown, page, pages = page_of(rows, address, ROWS_PER_PAGE)
    labels = {"value": metric, **{_column(name): short for name, short in names.items()}}
    numeric = {"value", "last", "best step", "steps", HOURS, "seed"}
    numeric |= {_column(name) for name in names if results.is_number(name)}
    heads = [
        sort_link(name, order, address, label=labels.get(name, name), is_number=name in numeric)
        for name in columns
    ]
    values = [trial_value(t, results, metric) if t.state == "done" else None for t in chosen]
    is_higher = results.record.higher_is_better if metric == results.record.metric else None
    marks = best_ones(values, higher_is_better=is_higher)
    best_ids = {trial.id for trial, is_best in zip(chosen, marks, strict=True) if is_best}
    places = decimals([trial_value(trial, results, metric) for trial in results.trials])
    body = [
        _trial_cells(trial, results, metric, runs, places, is_best=trial.id in best_ids)
        for trial in shown
    ]
    right = [idx for idx, name in enumerate(columns) if name in numeric]
    total = len(results.trials)
    count = f"{len(chosen)} of {total} trials" if len(chosen) < total else f"{total} trials"
    best = [trial.run for trial in chosen if _has_page(trial, runs)][:COMPARED]
    bar: Content = [html.Span(count, className="dim", id="count")]
    if len(best) > 1:
        href = link(["compare"], run=list(dict.fromkeys(best)))
        text = f"Compare the curves of the best {len(best)}"
        bar.append(dcc.Link(text, href=href, className="button", id="compare"))
    return [
        html.H2("Trials"),
        html.Div(bar, className="bar"),
        *(_notes(make_table(results, metric)) if results.record.kind == "search" else []),
        table(heads, body, numbers=right),
        pager(page, pages, address),
    ]


def _columns(
    results: SweepResults, metric: str, runs: Mapping[str, RunEntry]
) -> dict[str, Callable[[TrialRecord], Any]]:
    """Return what each column of the trials is sorted by."""

    def setting(name: str) -> Callable[[TrialRecord], Any]:
        are_numbers = results.is_number(name)

        def of(trial: TrialRecord) -> Any:
            value = results.setting(trial, name)
            return value if are_numbers or value is None else setting_text(value)

        return of

    has_variants = any(trial.variant is not None for trial in results.trials)
    return {
        "trial": lambda trial: trial.id,
        **({"variant": lambda trial: trial.variant} if has_variants else {}),
        "seed": lambda trial: trial.seed,
        **{_column(name): setting(name) for name in results.settings()},
        "value": lambda trial: trial_value(trial, results, metric),
        "last": lambda trial: last_value(trial, results, metric),
        "best step": lambda trial: trial.best_step,
        "steps": lambda trial: trial.steps,
        HOURS: lambda trial: trial.device_seconds,
        "state": lambda trial: trial_state(trial, runs)[0],
    }


def _has_page(trial: TrialRecord, runs: Mapping[str, RunEntry]) -> bool:
    return trial.run in runs and is_run_name(trial.run)


def _column(setting: str) -> str:
    """Return the name of a setting's column, never that of another one."""
    return setting if "." in setting else f"setting {setting}"


def _trial_cells(
    trial: TrialRecord,
    results: SweepResults,
    metric: str,
    runs: Mapping[str, RunEntry],
    places: int,
    *,
    is_best: bool,
) -> list[Any]:
    label: Component = html.Span(trial.id, className="name", title="its run is not in this store")
    if _has_page(trial, runs):
        label = dcc.Link(trial.id, href=run_link(trial.run), className="name")
    state, is_live = trial_state(trial, runs)
    mark = state_mark(state, is_live=is_live)
    why = html.Span(trial.error, className="why", title=trial.error) if trial.error else ""
    run = runs.get(trial.run)
    steps = run.step if is_live and run and run.step is not None else trial.steps
    value, last = trial_value(trial, results, metric), last_value(trial, results, metric)
    has_variants = any(one.variant is not None for one in results.trials)
    return [
        label,
        *([trial.variant or ""] if has_variants else []),
        number_text(trial.seed),
        *(setting_text(results.setting(trial, name)) for name in results.settings()),
        _marked(metric_text(value, places), is_best),
        metric_text(last, places),
        number_text(trial.best_step),
        number_text(steps),
        hours_text(device_hours([trial])),
        html.Span([mark, why]),
    ]


def _texts(results: SweepResults, metric: str) -> Content:
    made = make_table(results, metric)
    kinds = {"Markdown": made.markdown(), "LaTeX": made.latex(), "CSV": made.csv()}
    parts = [
        html.Details([html.Summary(f"The table as {kind}"), html.Pre(text, className="log")])
        for kind, text in kinds.items()
    ]
    return [html.H2("Copy"), *parts]


def _as_row(
    trial: TrialRecord, results: SweepResults, metric: str, runs: Mapping[str, RunEntry]
) -> RunRow:
    """Return a trial in the form that filters understand: its name, settings and numbers."""
    short = short_names(results.settings())
    settings = {name: results.setting(trial, name) for name in short}
    known = {**settings, **{short[name]: value for name, value in settings.items()}}
    numbers: dict[str, Any] = {
        name: value if type(value) in (int, float) else setting_text(value)
        for name, value in known.items()
        if value is not None
    }
    numbers |= {name: value for name, value in trial.values.items() if value is not None}
    best = trial_value(trial, results, metric)
    numbers |= {"seed": trial.seed, "steps": trial.steps, "variant": trial.variant or ""}
    numbers |= {} if best is None else {metric: best}
    summary = {
        "task": results.record.task,
        "state": trial_state(trial, runs)[0],
        "step": trial.steps,
        "train": numbers,
    }
    told = f"{trial.id} {trial.variant or ''} {trial.run} {settings_text(trial.overrides)}"
    entry = RunEntry(told, summary)
    return RunRow(entry, "", best, last_value(trial, results, metric))
