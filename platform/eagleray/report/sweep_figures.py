"""Figures of a sweep's trials: parallel coordinates, any setting or cost against the metric.

Parallel coordinates are drawn as lines, not with plotly's own: that one needs WebGL and compiles
its shaders with ``eval``, which the pages' content security policy forbids.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from eagleray.analysis.ablation import metric_heading
from eagleray.analysis.variants import STATES, device_hours, last_value, trial_value
from eagleray.browse.figures import COLORS, layout
from eagleray.report.axes import Axis, make_axis
from eagleray.sweep.sweep_folder import TrialRecord
from eagleray.sweep.sweep_results import SweepResults, setting_text, short_names

HOURS, STEPS, LAST, SEED = "device-hours", "steps", "last value", "seed"
COSTS = (HOURS, STEPS, LAST, SEED)
"""What a trial has besides its settings."""
_FROM_WORST_TO_BEST = ["#8b929e", "#3b82c4", "#2aa5a5", "#e0a020", "#e07b39"]
"""Colors that can be told from white and from near-black."""
_SHADES = 24
_MOST_TICKS = 8


def quantity_values(
    results: SweepResults, trials: Sequence[TrialRecord], name: str
) -> list[float | None] | list[Any]:
    """Return what each trial has of one of ``COSTS`` or of a setting's path."""
    if name == HOURS:
        return [sum(device_hours([trial]).values()) for trial in trials]
    if name == STEPS:
        return [trial.steps for trial in trials]
    if name == LAST:
        return [last_value(trial, results, results.record.metric) for trial in trials]
    if name == SEED:
        return [trial.seed for trial in trials]
    return [results.setting(trial, name) for trial in trials]


def parallel_figure(
    results: SweepResults,
    trials: Sequence[TrialRecord],
    metric: str,
    links: Mapping[str, str] | None = None,
    *,
    height_px: int = 380,
) -> go.Figure:
    """Draw each trial as a line through its settings to its value, the best ones on top.

    Args:
        results: The sweep.
        trials: Those that are drawn; the ones without a value are left out.
        metric: The last axis, and the color.
        links: Address that a click on a trial leads to, by the trial's id.
        height_px: Height of the figure.
    """
    measured = [t for t in trials if trial_value(t, results, metric) is not None]
    names = short_names(results.settings())
    axes = [
        make_axis(short, quantity_values(results, measured, name)) for name, short in names.items()
    ]
    value = make_axis(
        metric_heading(results, metric), [trial_value(t, results, metric) for t in measured]
    )
    is_higher = metric != results.record.metric or results.record.higher_is_better
    lines = _bundles(results, measured, [*axes, value], links or {}, is_higher=is_higher)
    figure = go.Figure(lines)
    left_out = len(trials) - len(measured)
    rest = f" ({left_out} without a value are not drawn)" if left_out else ""
    title = f"{len(measured)} trials: settings and {html.escape(metric)}{rest}"
    figure.update_layout(**layout(title, height_px))
    figure.update_layout(
        hovermode="closest",
        showlegend=False,
        title_y=1 - 20 / height_px,
        margin={"l": 60, "r": 60, "t": 72, "b": 24},
        xaxis={"visible": False, "range": [-0.12, len(axes) + 0.12], "fixedrange": True},
        yaxis={"visible": False, "range": [-0.04, 1.04], "fixedrange": True},
    )
    for position, axis in enumerate([*axes, value]):
        _draw_axis(figure, position, axis)
    return figure


def scatter_figure(
    results: SweepResults,
    trials: Sequence[TrialRecord],
    quantity: str,
    metric: str,
    links: Mapping[str, str] | None = None,
    *,
    height_px: int = 380,
) -> go.Figure:
    """Draw a setting or a cost of the trials against the metric, in a color per variant or state.

    Args:
        results: The sweep.
        trials: Those that are drawn; the ones without a value are left out.
        quantity: One of ``COSTS``, or a setting's path.
        metric: The y axis.
        links: Address that a click on a trial leads to, by the trial's id.
        height_px: Height of the figure.
    """
    measured = [t for t in trials if trial_value(t, results, metric) is not None]
    label = short_names(results.settings()).get(quantity, quantity)
    axis = make_axis(label, quantity_values(results, measured, quantity))
    groups: dict[str, list[int]] = {name: [] for name in (*results.record.variants, *STATES)}
    for idx, trial in enumerate(measured):
        if axis.values[idx] is not None:
            groups.setdefault(trial.variant or trial.state, []).append(idx)
    figure = go.Figure()
    drawn = {name: chosen for name, chosen in groups.items() if chosen}
    for number, (name, chosen) in enumerate(drawn.items()):
        figure.add_trace(
            go.Scatter(
                x=[html.escape(axis.values[i]) if axis.is_text else axis.values[i] for i in chosen],
                y=[trial_value(measured[i], results, metric) for i in chosen],
                mode="markers",
                name=html.escape(name),
                marker={"size": 9, "color": COLORS[number % len(COLORS)], "opacity": 0.85},
                text=[_hover(measured[i], results, metric) for i in chosen],
                hoverinfo="text",
                customdata=[(links or {}).get(measured[i].id, "") for i in chosen],
            )
        )
    title = f"{html.escape(metric)} over {html.escape(label)}"
    figure.update_layout(**layout(title, height_px))
    figure.update_layout(hovermode="closest", showlegend=len(drawn) > 1)
    kind = "category" if axis.is_text else "log" if axis.is_log else "linear"
    figure.update_xaxes(type=kind, exponentformat="none")
    if axis.is_text:
        figure.update_xaxes(categoryorder="array", categoryarray=list(axis.ticks.values()))
    return figure


def _bundles(
    results: SweepResults,
    trials: Sequence[TrialRecord],
    axes: Sequence[Axis],
    links: Mapping[str, str],
    *,
    is_higher: bool,
) -> list[go.Scatter]:
    """Return the lines of all trials, one trace per shade of color, from the worst to the best."""
    shades: dict[int, list[int]] = {}
    for idx, place in enumerate(axes[-1].places):
        share = (place or 0.0) if is_higher else 1 - (place or 0.0)
        shades.setdefault(round(share * (_SHADES - 1)), []).append(idx)
    colors = sample_colorscale(_FROM_WORST_TO_BEST, [i / (_SHADES - 1) for i in range(_SHADES)])
    traces = []
    for shade in sorted(shades):
        xs: list[float | None] = []
        ys: list[float | None] = []
        texts: list[str] = []
        targets: list[str] = []
        for idx in shades[shade]:
            line = [(at, axis.places[idx]) for at, axis in enumerate(axes)]
            known = [(at, place) for at, place in line if place is not None]
            text = _hover(trials[idx], results, axes[-1].label, axes[-1].values[idx])
            xs += [*(at for at, _ in known), None]
            ys += [*(place for _, place in known), None]
            texts += [text] * (len(known) + 1)
            targets += [links.get(trials[idx].id, "")] * (len(known) + 1)
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


def _hover(
    trial: TrialRecord, results: SweepResults, metric: str, value: float | None = None
) -> str:
    shown = trial_value(trial, results, metric) if value is None else value
    number = "" if shown is None else f"{shown:.6g}"
    lines = [
        f"<b>{html.escape(trial.id)}</b> {trial.state}",
        f"{html.escape(metric)} {number}",
        *(
            f"{html.escape(name)} {html.escape(setting_text(setting))}"
            for name, setting in trial.overrides.items()
        ),
        f"seed {trial.seed}, {trial.steps} steps",
    ]
    return "<br>".join(lines)
