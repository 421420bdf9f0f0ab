"""Curves and comparisons as plotly figures; the dashboard and the report draw the same ones.

Backgrounds are transparent and text takes its color from the page's style sheet, so that a figure
suits a light and a dark page. Names come from files: plotly reads some tags in text, so they are
escaped.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from eagleray.runs.metrics import History

COLORS = (
    "#3b82c4", "#e07b39", "#3f9f5f", "#c44e6c", "#8a6fc9",
    "#b8960c", "#2aa5a5", "#b5578f", "#8c7a5b", "#8b929e",
)  # fmt: skip
"""Line colors that can be told apart on white and on near-black."""
MOST_POINTS = 2000
"""Points drawn per curve; more are thinned to the extremes of equal stretches."""
MOST_MARKED = 30
"""Curves of so many points are drawn with a mark at each, which smoothing leaves in its place."""
_FIRST = ("validate/", "train/loss", "train/")

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NamedHistory:
    """A run's metrics with the name that its curves get."""

    name: str
    history: History


def metric_names(histories: Sequence[NamedHistory]) -> list[str]:
    """Return the metrics that any run logged: validation first, then losses, then the rest."""
    names = {name for one in histories for name in one.history.columns if "/" in name}

    def rank(name: str) -> tuple[int, str]:
        return next((i for i, p in enumerate(_FIRST) if name.startswith(p)), len(_FIRST)), name

    return sorted(names, key=rank)


def curves_figure(
    histories: Sequence[NamedHistory],
    metric: str,
    *,
    smoothing: float = 0.0,
    by_time: bool = False,
    log_y: bool = False,
    has_legend: bool = True,
    height_px: int = 240,
) -> go.Figure:
    """Draw one metric of several runs over the optimizer step.

    Args:
        histories: The runs.
        metric: A column of their histories.
        smoothing: Weight of the past in a moving average, see ``smooth``; the curve itself
            stays visible behind it.
        by_time: Draw over minutes since the first entry instead of the step.
        log_y: Logarithmic y axis.
        has_legend: Name the curves of several runs below the figure.
        height_px: Height of the figure.
    """
    lines = []
    for idx, one in enumerate(histories):
        x, y = one.history.curve(metric, by_time=by_time)
        x = x / 60 if by_time else x
        color, name = COLORS[idx % len(COLORS)], html.escape(one.name)
        is_sparse = len(x) <= MOST_MARKED
        if smoothing > 0 and len(x) > 1:
            kind = "markers" if is_sparse else "lines"
            lines.append(_line(*thin(x, y), name, color, kind, is_behind=True))
            lines.append(_line(*thin(x, smooth(y, smoothing)), name, color))
        else:
            lines.append(_line(*thin(x, y), name, color, "lines+markers" if is_sparse else "lines"))
    figure = go.Figure(lines)
    unit = "minutes" if by_time else "step"
    figure.update_layout(**layout(f"{html.escape(metric)} over {unit}", height_px))
    if has_legend and len(histories) > 1:
        figure.update_layout(showlegend=True, height=height_px + 20 * -(-len(histories) // 2))
    else:
        figure.update_layout(showlegend=False)
    if log_y:
        figure.update_yaxes(type="log")
    return figure


def classes_figure(
    results: Mapping[str, Mapping[str, float | None]], metric: str, *, height_px: int = 320
) -> go.Figure:
    """Draw one metric per class as bars, grouped by run.

    Args:
        results: Run name -> class name -> value.
        metric: Its name, for the axis.
        height_px: Height of the figure.
    """
    figure = go.Figure()
    for idx, (run, values) in enumerate(results.items()):
        names = [html.escape(name) for name in values]
        bar = go.Bar(
            x=names, y=list(values.values()), name=html.escape(run),
            marker_color=COLORS[idx % len(COLORS)], marker_line_width=0,
        )  # fmt: skip
        figure.add_trace(bar)
    figure.update_layout(**layout(html.escape(f"{metric} per class"), height_px))
    figure.update_layout(showlegend=len(results) > 1, barmode="group", hovermode="closest")
    return figure


def reached_figure(reached: Mapping[str, float]) -> go.Figure:
    """Draw which share of published numbers ours reach, one bar per benchmark.

    Args:
        reached: Benchmark -> ours / published (or its inverse where less is better).
    """
    names = [html.escape(name) for name in reached]
    shares = [100 * share for share in reached.values()]
    colors = [COLORS[2] if share >= 100 else COLORS[0] for share in shares]
    figure = go.Figure(
        go.Bar(
            x=shares,
            y=names,
            orientation="h",
            marker={"color": colors, "line": {"width": 0}},
            hoverinfo="x+y",
            text=[f"{share:.1f} %" for share in shares],
            textfont={"color": "#ffffff"},
            textposition="auto",
        )
    )
    title = "Share of the published number that the best run reaches, in %"
    figure.update_layout(**layout(title, 90 + 30 * len(names)))
    figure.update_layout(hovermode="closest", showlegend=False)
    figure.update_yaxes(autorange="reversed")
    figure.add_vline(x=100, line_dash="dot", line_color="#8b929e")
    return figure


def thin(x: FloatArray, y: FloatArray, most: int = MOST_POINTS) -> tuple[FloatArray, FloatArray]:
    """Return at most ``most`` points of a curve, with the least and greatest of each stretch.

    Args:
        x: Positions, (n,).
        y: Values, (n,).
        most: Even number of points.
    """
    if len(x) <= most:
        return x, y
    kept: list[int] = []
    for stretch in np.array_split(np.arange(len(x)), most // 2):
        low, high = stretch[np.argmin(y[stretch])], stretch[np.argmax(y[stretch])]
        kept += sorted({int(low), int(high)})
    return x[kept], y[kept]


def smooth(values: npt.NDArray[np.float64], weight: float) -> npt.NDArray[np.float64]:
    """Return the exponential moving average of a curve, without the pull of its first value.

    Args:
        values: float64 (n,); what is not finite is passed over and kept.
        weight: Share of the past in each new value, from 0 (the curve itself) to below 1.

    Example:
        >>> smooth(np.array([1.0, 0.0, 1.0]), 0.5).round(3).tolist()
        [1.0, 0.333, 0.714]
    """
    if weight <= 0:
        return values
    smoothed = np.array(values, dtype=np.float64)
    average, mass = 0.0, 0.0
    for idx in np.flatnonzero(np.isfinite(values)):
        average = weight * average + (1 - weight) * float(values[idx])
        mass = weight * mass + (1 - weight)
        smoothed[idx] = average / mass
    return smoothed


def layout(title: str, height_px: int) -> dict[str, object]:
    """Return the look that all figures have."""
    return {
        "title": {"text": title, "font": {"size": 14}, "x": 0.02, "xanchor": "left"},
        "height": height_px,
        "margin": {"l": 52, "r": 16, "t": 40, "b": 32},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#6b7280"},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "#1f2937", "font": {"color": "#f3f4f6"}},
        "legend": {"orientation": "h", "y": -0.14, "yanchor": "top", "x": 0},
        "uirevision": title,
        "xaxis": {"gridcolor": "rgba(128,128,128,.2)", "zeroline": False},
        "yaxis": {"gridcolor": "rgba(128,128,128,.2)", "zeroline": False, "automargin": True},
    }


def _line(
    x: FloatArray,
    y: FloatArray,
    name: str,
    color: str,
    mode: str = "lines",
    *,
    is_behind: bool = False,
) -> dict[str, object]:
    faint = 0.25 if mode == "lines" else 0.7
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "name": name,
        "mode": mode,
        "opacity": faint if is_behind else 1.0,
        "legendgroup": name,
        "showlegend": not is_behind,
        "hoverinfo": "skip" if is_behind and mode == "lines" else "all",
        "line": {"color": color, "width": 1 if is_behind else 2},
        "marker": {"size": 6},
    }
