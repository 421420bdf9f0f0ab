"""Figures of a sweep: variants with their seeds, parallel coordinates, any setting against the
metric.

Parallel coordinates are drawn as lines, not with plotly's own: that one needs WebGL and compiles
its shaders with ``eval``, which the pages' content security policy forbids.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from eagleray.report.figures import COLORS, layout
from eagleray.results.ablation import metric_heading
from eagleray.results.spread import is_finite
from eagleray.results.sweep_folder import TrialRecord
from eagleray.results.sweep_results import SweepResults, setting_text, short_names
from eagleray.results.variants import device_hours, last_value, trial_value, variant_results

HOURS, STEPS, LAST, SEED = "device-hours", "steps", "last value", "seed"
COSTS = (HOURS, STEPS, LAST, SEED)
"""What a trial has besides its settings."""
_FROM_WORST_TO_BEST = ["#8b929e", "#3b82c4", "#2aa5a5", "#e0a020", "#e07b39"]
"""Colors that can be told from white and from near-black."""
_SHADES = 24
_LOG_RATIO = 50.0
"""Positive numbers that span more than this are drawn on a logarithmic axis."""
_FEW_VALUES = 6
"""So many different numbers or fewer are all written at their axis."""
_MOST_TICKS = 8


@dataclass(frozen=True)
class Axis:
    """One quantity of several trials, placed from 0 to 1.

    Args:
        label: Its name.
        values: One per trial; None where a trial has none.
        places: Where each value lies; None where there is none.
        ticks: Text by place.
        is_log: It is placed by its logarithm.
        is_text: It is one of some texts.
    """

    label: str
    values: Sequence[Any]
    places: Sequence[float | None]
    ticks: Mapping[float, str]
    is_log: bool = False
    is_text: bool = False


def make_axis(label: str, values: Sequence[Any]) -> Axis:
    """Return the axis of some values: of numbers if all are numbers, else of texts."""
    found = [value for value in values if value is not None]
    if not all(type(v) in (int, float) and is_finite(v) for v in found):
        return _text_axis(label, [None if v is None else setting_text(v) for v in values])
    low, high = min(found, default=0.0), max(found, default=0.0)
    is_log = low > 0 and high / low > _LOG_RATIO
    first, last = (math.log10(low), math.log10(high)) if is_log else (float(low), float(high))

    def place(value: float) -> float:
        scaled = math.log10(value) if is_log else float(value)
        return (scaled - first) / (last - first) if last > first else 0.5

    ticks = {place(value): f"{value:.4g}" for value in _tick_values(found, is_log=is_log)}
    places = [None if value is None else place(value) for value in values]
    return Axis(label, values, places, ticks, is_log)


def _tick_values(found: Sequence[float], *, is_log: bool) -> list[float]:
    """Return the values themselves where there are few, else round ones between their ends."""
    distinct = sorted(set(found))
    if len(distinct) <= _FEW_VALUES:
        return distinct
    low, high = distinct[0], distinct[-1]
    if is_log:
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        return [10.0**power for power in powers]
    rough = (high - low) / 5
    unit: float = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    if all(isinstance(value, int) for value in found):
        step = max(1.0, step)
    count = math.floor(high / step) - math.ceil(low / step) + 1
    return [(math.ceil(low / step) + idx) * step for idx in range(count)]


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
    groups: dict[str, list[int]] = {}
    for idx, trial in enumerate(measured):
        if axis.values[idx] is not None:
            groups.setdefault(trial.variant or trial.state, []).append(idx)
    figure = go.Figure()
    for number, (name, chosen) in enumerate(groups.items()):
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
    figure.update_layout(hovermode="closest", showlegend=len(groups) > 1)
    kind = "category" if axis.is_text else "log" if axis.is_log else "linear"
    figure.update_xaxes(type=kind, exponentformat="none")
    if axis.is_text:
        figure.update_xaxes(categoryorder="array", categoryarray=list(axis.ticks.values()))
    return figure


def variants_figure(results: SweepResults, metric: str) -> go.Figure:
    """Draw each variant's seeds as dots and their mean with its standard deviation."""
    variants = [v for v in variant_results(results, metric) if v.best.mean is not None]
    rows = {v.name: _row_name(v.name) for v in variants}
    figure = go.Figure()
    done = [t for t in results.trials if t.state == "done" and (t.variant or "") in rows]
    points = [(t, trial_value(t, results, metric)) for t in done]
    shown = [(t, value) for t, value in points if value is not None]
    figure.add_trace(
        go.Scatter(
            x=[value for _, value in shown],
            y=[rows[t.variant or ""] for t, _ in shown],
            mode="markers",
            name="seed",
            marker={"size": 8, "color": COLORS[-1], "symbol": "line-ns-open", "line": {"width": 2}},
            text=[f"seed {t.seed}: {value:.6g}" for t, value in shown],
            hoverinfo="text",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[v.best.mean for v in variants],
            y=list(rows.values()),
            mode="markers",
            name="mean ± standard deviation",
            error_x={
                "type": "data",
                "array": [v.best.deviation or 0.0 for v in variants],
                "color": COLORS[0],
            },
            marker={
                "size": 11,
                "color": [COLORS[0] if v.difference else COLORS[1] for v in variants],
            },
            hoverinfo="x",
        )
    )
    title = f"{html.escape(metric_heading(results, metric))}: every seed, mean ± standard deviation"
    figure.update_layout(**layout(title, 100 + 34 * len(variants)))
    figure.update_layout(hovermode="closest", showlegend=False)
    figure.update_yaxes(
        autorange="reversed", type="category", categoryorder="array", categoryarray=[*rows.values()]
    )
    return figure


def _text_axis(label: str, values: Sequence[str | None]) -> Axis:
    texts = sorted({value for value in values if value is not None})
    place = {t: idx / (len(texts) - 1) if len(texts) > 1 else 0.5 for idx, t in enumerate(texts)}
    places = [None if value is None else place[value] for value in values]
    return Axis(label, values, places, {at: text for text, at in place.items()}, is_text=True)


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


def _row_name(name: str) -> str:
    return html.escape(name) or "(no variant)"
