"""Figures of ablations: every seed with the mean, and paired differences to the baseline."""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go

from eagleray.analysis.ablation import metric_heading
from eagleray.analysis.spread import PairedDifference
from eagleray.analysis.variants import trial_value, variant_results
from eagleray.browse.figures import COLORS, layout
from eagleray.sweep.sweep_results import SweepResults

_BETTER, _WORSE, _NEITHER = COLORS[2], COLORS[3], COLORS[-1]


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


def differences_figure(results: SweepResults, metric: str) -> go.Figure | None:
    """Draw each variant's paired difference to the baseline with its interval; None where there
    is no interval to draw.

    An interval that leaves out zero is green for the better and red for the worse; of a metric
    of which that is not known, all are alike.
    """
    found = {v.name: v.difference for v in variant_results(results, metric) if v.difference}
    if all(difference.low is None for difference in found.values()):
        return None
    is_higher = results.record.higher_is_better if metric == results.record.metric else None
    figure = go.Figure(
        [
            _difference(name, difference, _color(difference, is_higher))
            for name, difference in found.items()
            if difference.mean is not None
        ]
    )
    baseline = html.escape(results.record.baseline or "")
    title = f"Difference to {baseline}: mean over pairs of seeds, 95 % interval"
    figure.update_layout(**layout(title, 100 + 34 * (len(found) + 1)))
    figure.update_layout(hovermode="closest", showlegend=False)
    figure.update_yaxes(autorange="reversed", type="category")
    figure.add_vline(x=0, line_dash="dot", line_color=_NEITHER)
    return figure


def _difference(name: str, found: PairedDifference, color: str) -> go.Scatter:
    """Return a dot with its interval; an open one without where there is none."""
    arms: dict[str, Any] = {"visible": False}
    if found.mean is not None and found.low is not None and found.high is not None:
        arms = {"array": [found.high - found.mean], "arrayminus": [found.mean - found.low]}
    symbol = "circle-open" if found.low is None else "circle"
    return go.Scatter(
        x=[found.mean],
        y=[_row_name(name)],
        mode="markers",
        name=_row_name(name),
        hoverinfo="x",
        marker={"size": 11, "color": color, "symbol": symbol},
        error_x={"type": "data", "symmetric": False, "color": color, "thickness": 2.5, **arms},
    )


def _color(found: PairedDifference, higher_is_better: bool | None) -> str:
    if higher_is_better is None or found.low is None or found.high is None:
        return _NEITHER
    if found.low <= 0 <= found.high:
        return _NEITHER
    return _BETTER if (found.low > 0) == higher_is_better else _WORSE


def _row_name(name: str) -> str:
    return html.escape(name) or "(no variant)"
