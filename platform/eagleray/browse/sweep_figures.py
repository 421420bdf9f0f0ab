"""Figures of a sweep: its trials in parallel coordinates and over any setting or cost; its variants
with every seed, and their paired differences to the baseline.

Parallel coordinates are drawn as lines, not with plotly's own: that one needs WebGL and compiles
its shaders with ``eval``, which the pages' content security policy forbids.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from eagleray.analysis.ablation import HOURS, metric_heading
from eagleray.analysis.spread import PairedDifference
from eagleray.analysis.variants import device_hours, variant_results
from eagleray.browse.axes import Axis, make_axis
from eagleray.browse.figures import COLORS, layout
from eagleray.experiment.paths import short_names
from eagleray.sweep.folder import TrialRecord
from eagleray.sweep.results import STATES, SweepResults, setting_text

COSTS = (HOURS, "steps", "last value", "seed")
"""What a trial has besides its settings."""
_FROM_WORST_TO_BEST = ["#8b929e", "#3b82c4", "#2aa5a5", "#e0a020", "#e07b39"]
"""Colors that can be told from white and from near-black."""
_BETTER, _WORSE, _NEITHER = COLORS[2], COLORS[3], COLORS[-1]
_SHADES = 24
_MOST_TICKS = 8
_HEIGHT_PX = 380


def quantity_axis(results: SweepResults, trials: Sequence[TrialRecord], name: str) -> Axis:
    """Return the axis of one of ``COSTS`` or of a setting's path, over some trials."""
    costs: Mapping[str, Callable[[TrialRecord], Any]] = {
        HOURS: lambda trial: sum(device_hours([trial]).values()),
        "steps": lambda trial: trial.steps,
        "last value": results.by("").last,
        "seed": lambda trial: trial.seed,
    }
    label, of = short_names(results.settings()).get(name, name), costs.get(name)
    return make_axis(label, [of(t) if of else results.setting(t, name) for t in trials])


def parallel_figure(
    results: SweepResults, trials: Sequence[TrialRecord], links: Mapping[str, str] | None = None
) -> go.Figure:
    """Draw each trial as a line through its settings to its value, the best ones on top.

    Args:
        results: The sweep; its metric is the last axis and the color.
        trials: Those that are drawn; the ones without a value are left out.
        links: Address that a click on a trial leads to, by the trial's id.
    """
    measured = [t for t in trials if results.value(t) is not None]
    axes = [quantity_axis(results, measured, name) for name in results.settings()]
    axes.append(make_axis(metric_heading(results), [results.value(t) for t in measured]))
    figure = go.Figure(_bundles(results, measured, axes, links or {}))
    left_out = len(trials) - len(measured)
    rest = f" ({left_out} without a value are not drawn)" if left_out else ""
    title = f"{len(measured)} trials: settings and {html.escape(results.metric)}{rest}"
    figure.update_layout(**layout(title, _HEIGHT_PX))
    figure.update_layout(
        hovermode="closest",
        showlegend=False,
        title_y=1 - 20 / _HEIGHT_PX,
        margin={"l": 60, "r": 60, "t": 72, "b": 24},
        xaxis={"visible": False, "range": [-0.12, len(axes) - 0.88], "fixedrange": True},
        yaxis={"visible": False, "range": [-0.04, 1.04], "fixedrange": True},
    )
    for position, axis in enumerate(axes):
        _draw_axis(figure, position, axis)
    return figure


def scatter_figure(
    results: SweepResults,
    trials: Sequence[TrialRecord],
    quantity: str,
    links: Mapping[str, str] | None = None,
) -> go.Figure:
    """Draw a setting or a cost of the trials against the metric, in a color per variant or state.

    Args:
        results: The sweep; its metric is the y axis.
        trials: Those that are drawn; the ones without a value are left out.
        quantity: One of ``COSTS``, or a setting's path.
        links: Address that a click on a trial leads to, by the trial's id.
    """
    measured = [t for t in trials if results.value(t) is not None]
    axis = quantity_axis(results, measured, quantity)
    groups: dict[str, list[int]] = {name: [] for name in (*results.summary.variants, *STATES)}
    for idx, trial in enumerate(measured):
        if axis.values[idx] is not None:
            groups.setdefault(trial.variant or trial.state, []).append(idx)
    figure = go.Figure()
    drawn = {name: chosen for name, chosen in groups.items() if chosen}
    for number, (name, chosen) in enumerate(drawn.items()):
        figure.add_trace(
            go.Scatter(
                x=[html.escape(axis.values[i]) if axis.is_text else axis.values[i] for i in chosen],
                y=[results.value(measured[i]) for i in chosen],
                mode="markers",
                name=html.escape(name),
                marker={"size": 9, "color": COLORS[number % len(COLORS)], "opacity": 0.85},
                text=[_hover(measured[i], results, results.metric) for i in chosen],
                hoverinfo="text",
                customdata=[(links or {}).get(measured[i].id, "") for i in chosen],
            )
        )
    title = f"{html.escape(results.metric)} over {html.escape(axis.label)}"
    figure.update_layout(**layout(title, _HEIGHT_PX))
    figure.update_layout(hovermode="closest", showlegend=len(drawn) > 1)
    kind = "category" if axis.is_text else "log" if axis.is_log else "linear"
    figure.update_xaxes(type=kind, exponentformat="none")
    if axis.is_text:
        figure.update_xaxes(categoryorder="array", categoryarray=list(axis.ticks.values()))
    return figure


def variants_figure(results: SweepResults) -> go.Figure:
    """Draw each variant's seeds as dots and their mean with its standard deviation."""
    variants = [v for v in variant_results(results) if v.best.mean is not None]
    rows = {v.name: _row_name(v.name) for v in variants}
    done = [t for t in results.trials if t.state == "done" and (t.variant or "") in rows]
    shown = [(t, value) for t in done if (value := results.value(t)) is not None]
    seeds = go.Scatter(
        x=[value for _, value in shown],
        y=[rows[t.variant or ""] for t, _ in shown],
        mode="markers",
        name="seed",
        marker={"size": 8, "color": _NEITHER, "symbol": "line-ns-open", "line": {"width": 2}},
        text=[f"seed {t.seed}: {value:.6g}" for t, value in shown],
        hoverinfo="text",
    )
    deviations = [v.best.deviation or 0.0 for v in variants]
    means = go.Scatter(
        x=[v.best.mean for v in variants],
        y=list(rows.values()),
        mode="markers",
        name="mean ± standard deviation",
        error_x={"type": "data", "array": deviations, "color": COLORS[0]},
        marker={"size": 11, "color": [COLORS[0 if v.difference else 1] for v in variants]},
        hoverinfo="x",
    )
    title = f"{html.escape(metric_heading(results))}: every seed, mean ± standard deviation"
    figure = _of_variants([seeds, means], title, len(variants))
    figure.update_yaxes(categoryorder="array", categoryarray=[*rows.values()])
    return figure


def differences_figure(results: SweepResults) -> go.Figure | None:
    """Draw each variant's paired difference to the baseline with its interval; None where there
    is no interval to draw.

    An interval that leaves out zero is green for the better and red for the worse; of a metric
    of which that is not known, all are alike.
    """
    differences = {v.name: v.difference for v in variant_results(results) if v.difference}
    if all(difference.low is None for difference in differences.values()):
        return None
    colors = {True: _BETTER, False: _WORSE, None: _NEITHER}
    traces = [
        _difference(name, difference, colors[difference.is_better(results.higher_is_better)])
        for name, difference in differences.items()
        if difference.mean is not None
    ]
    baseline = html.escape(results.summary.baseline or "")
    title = f"Difference to {baseline}: mean over pairs of seeds, 95 % interval"
    figure = _of_variants(traces, title, len(differences) + 1)
    figure.add_vline(x=0, line_dash="dot", line_color=_NEITHER)
    return figure


def _of_variants(traces: Sequence[go.Scatter], title: str, rows: int) -> go.Figure:
    figure = go.Figure(traces)
    figure.update_layout(**layout(title, 100 + 34 * rows))
    figure.update_layout(hovermode="closest", showlegend=False)
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


def _difference(name: str, difference: PairedDifference, color: str) -> go.Scatter:
    """Return a dot with its interval; an open one without where there is none."""
    mean, low, high = difference.mean, difference.low, difference.high
    arms: dict[str, Any] = {"visible": False}
    if mean is not None and low is not None and high is not None:
        arms = {"array": [high - mean], "arrayminus": [mean - low]}
    symbol = "circle-open" if low is None else "circle"
    return go.Scatter(
        x=[mean],
        y=[_row_name(name)],
        mode="markers",
        name=_row_name(name),
        hoverinfo="x",
        marker={"size": 11, "color": color, "symbol": symbol},
        error_x={"type": "data", "symmetric": False, "color": color, "thickness": 2.5, **arms},
    )


def _row_name(name: str) -> str:
    return html.escape(name) or "(no variant)"


def _bundles(
    results: SweepResults,
    trials: Sequence[TrialRecord],
    axes: Sequence[Axis],
    links: Mapping[str, str],
) -> list[go.Scatter]:
    """Return the lines of all trials, one trace per shade of color, from the worst to the best.

    Thousands of lines are quick to draw as a few traces: in each, a gap divides two trials.
    """
    shades: dict[int, list[int]] = {}
    for idx, place in enumerate(axes[-1].places):
        share = 1 - (place or 0.0) if results.higher_is_better is False else place or 0.0
        shades.setdefault(round(share * (_SHADES - 1)), []).append(idx)
    colors = sample_colorscale(_FROM_WORST_TO_BEST, [i / (_SHADES - 1) for i in range(_SHADES)])
    traces = []
    for shade in sorted(shades):
        points: list[tuple[float | None, float | None, str, str]] = []
        for idx in shades[shade]:
            text = _hover(trials[idx], results, axes[-1].label)
            link = links.get(trials[idx].id, "")
            places = [(at, axis.places[idx]) for at, axis in enumerate(axes)]
            line = [(at, place) for at, place in places if place is not None]
            points += [(at, place, text, link) for at, place in [*line, (None, None)]]
        xs, ys, texts, targets = zip(*points, strict=True)
        is_top = shade >= _SHADES * 3 // 4
        trace = go.Scatter(
            x=xs, y=ys, mode="lines+markers", name=f"shade {shade}", connectgaps=False,
            line={"color": colors[shade], "width": 2.2 if is_top else 1.4},
            opacity=0.95 if is_top else 0.6, marker={"size": 5}, text=texts, hoverinfo="text",
            customdata=targets,
        )  # fmt: skip
        traces.append(trace)
    return traces


def _draw_axis(figure: go.Figure, position: int, axis: Axis) -> None:
    line = {"color": "rgba(128,128,128,.55)", "width": 1}
    figure.add_shape(type="line", x0=position, x1=position, y0=0, y1=1, line=line, layer="below")
    scale = " (log)" if axis.is_log else ""
    figure.add_annotation(
        x=position, y=1, yshift=24, text=f"<b>{html.escape(axis.label)}</b>{scale}", showarrow=False
    )
    ticks = list(axis.ticks.items())
    for at, text in ticks[:: max(1, -(-len(ticks) // _MOST_TICKS))]:
        figure.add_annotation(
            x=position, y=at, text=html.escape(text), showarrow=False, xanchor="right", xshift=-6,
            font={"size": 11}, bgcolor="rgba(0,0,0,0)",
        )  # fmt: skip


def _hover(trial: TrialRecord, results: SweepResults, metric: str) -> str:
    value, settings = results.value(trial), trial.overrides.items()
    lines = [
        f"<b>{html.escape(trial.id)}</b> {trial.state}",
        f"{html.escape(metric)} {'' if value is None else f'{value:.6g}'}",
        *(f"{html.escape(name)} {html.escape(setting_text(v))}" for name, v in settings),
        f"seed {trial.seed}, {trial.steps} steps",
    ]
    return "<br>".join(lines)
