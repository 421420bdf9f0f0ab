"""Some runs beside each other: curves overlaid, results, and only the settings that differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.browse.figures import COLORS
from eagleray.browse.index import RunEntry
from eagleray.dashboard.address import Address, run_link
from eagleray.dashboard.elements import (
    Content,
    Control,
    choices_control,
    note,
    number_text,
    problem,
    table,
    value_text,
)
from eagleray.dashboard.pages.run import curve_controls, curve_panels
from eagleray.dashboard.source import Source
from eagleray.runs.run_folder import is_run_name
from eagleray.runs.settings import differing, read_settings
from eagleray.task import InputError

MOST_RUNS = 40
MOST_COLUMNS = 4
"""More runs than this are the rows of a table, not its columns."""


class ComparePage:
    """Some runs beside each other."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def title(self, address: Address) -> str:
        """Name the page."""
        return "Compare"

    def heading(self, address: Address) -> Content:
        """Return nothing: the chosen runs stand among the controls."""
        return []

    def controls(self, address: Address) -> Sequence[Control]:
        """Return the choice of runs, and what curves can be drawn like."""
        known = [run.name for run in self._source.runs() if is_run_name(run.name)]
        picked = [name for name in address.many("run") if name in set(known)]
        return [choices_control("run", "Runs", known, picked), *curve_controls(address)]

    def content(self, address: Address) -> Content:
        """Return results and settings that differ, then the curves."""
        asked = list(dict.fromkeys(address.many("run")))
        if not asked:
            return [note("Choose two runs or more above, or pick them in the list of runs.")]
        known = {run.name: run for run in self._source.runs()}
        runs = [known[name] for name in asked if name in known and is_run_name(name)]
        gone = [
            problem(f"There is no run {name!r} in this store (any more).")
            for name in asked
            if name not in {run.name for run in runs}
        ]
        if len(runs) > MOST_RUNS:
            gone.append(problem(f"Only the first {MOST_RUNS} of {len(runs)} runs are compared."))
            runs = runs[:MOST_RUNS]
        histories = self._source.named_histories([run.name for run in runs])
        return [
            *gone,
            html.Div(
                [
                    html.Section([html.H2("Results"), *_results(runs)]),
                    html.Section([html.H2("Settings that differ"), *self._differences(runs)]),
                ],
                className="beside",
            ),
            html.H2("Curves"),
            html.Div(_names(runs), className="keys"),
            *curve_panels(histories, address, has_legend=False),
        ]

    def version(self, address: Address) -> str:
        """Return a text that changes when one of the runs logs something."""
        names = [name for name in address.many("run")[:MOST_RUNS] if is_run_name(name)]
        there = [name for name in names if self._source.run(name)]
        return "".join(name + self._source.history_version(name) for name in there)

    def _differences(self, runs: Sequence[RunEntry]) -> Content:
        settings, problems = [], []
        for run in runs:
            try:
                settings.append(read_settings(self._source.folder(run.name)))
            except InputError as error:
                settings.append({})
                problems.append(problem(str(error)))
        found = differing(settings)
        if not found:
            return [*problems, note("None.")]
        cells = [[html.Code(value_text(value)) for value in values] for values in found.values()]
        return [
            *problems,
            _runs_table(runs, [("setting", html.Code(name)) for name in found], cells),
        ]


def _names(runs: Sequence[RunEntry]) -> list[Component]:
    """Return the runs' names with their curves' colors, as links."""
    return [
        html.Span(
            [
                html.Span(className="key", style={"background": COLORS[idx % len(COLORS)]}),
                dcc.Link(run.name, href=run_link(run.name)),
            ]
        )
        for idx, run in enumerate(runs)
    ]


def _results(runs: Sequence[RunEntry]) -> Content:
    rows: dict[tuple[str, str], list[float | None]] = {}
    for idx, run in enumerate(runs):
        for result in run.summary.results:
            for metric, value in result.values.items():
                key = (f"{result.benchmark} ({result.checkpoint})", metric)
                rows.setdefault(key, [None] * len(runs))[idx] = value
    if not rows:
        return [note("None of them has been evaluated.")]
    heads = [("metric", f"{where} {metric}") for where, metric in rows]
    return [_runs_table(runs, heads, [[number_text(v) for v in row] for row in rows.values()])]


def _runs_table(
    runs: Sequence[RunEntry], heads: Sequence[tuple[str, Any]], values: Sequence[Sequence[Any]]
) -> Component:
    """Return values of runs: a column per run, or a row per run where there are many.

    Args:
        runs: The runs.
        heads: What kind of value it is, and its name.
        values: Per head one value per run.
    """
    names = _names(runs)
    if len(runs) <= MOST_COLUMNS:
        rows = [(name, *row) for (_, name), row in zip(heads, values, strict=True)]
        return table((heads[0][0], *names), rows)
    columns = ("run", *(name for _, name in heads))
    return table(columns, [(name, *row) for name, *row in zip(names, *values, strict=True)])
