"""Diagnostics of evaluations as plotly figures: matrices and curves."""

from __future__ import annotations

import html

import plotly.graph_objects as go

from eagleray.browse.figures import COLORS, layout
from eagleray.task import CurvesDiagnostic, MatrixDiagnostic

_FAINT = [[0.0, "rgba(59,130,196,0)"], [0.05, "rgba(59,130,196,.25)"], [1.0, "rgb(59,130,196)"]]
"""Shares of a row: nothing to all; nothing shows the page."""
_MOST_WRITTEN = 12
"""Matrices with so many columns or fewer have their shares written into the cells."""
_CELL_PX, _SMALLEST_CELL_PX = 22, 9
_LEAST_PX, _MOST_PX = 320, 1200
_LABEL_CHARACTERS = 24


def matrix_figure(matrix: MatrixDiagnostic) -> go.Figure:
    """Draw a matrix: each row as shares of its sum, in percent; counts are told on hovering."""
    sums = [sum(row) for row in matrix.values]
    shares = [
        [100 * value / total if total else None for value in row]
        for row, total in zip(matrix.values, sums, strict=True)
    ]
    columns = [html.escape(name[:_LABEL_CHARACTERS]) for name in matrix.columns]
    rows = [html.escape(name[:_LABEL_CHARACTERS]) for name in matrix.rows]
    written = len(columns) <= _MOST_WRITTEN
    figure = go.Figure(
        go.Heatmap(
            x=list(range(len(columns))),
            y=list(range(len(rows))),
            z=shares,
            customdata=[list(row) for row in matrix.values],
            text=[
                [f"{s:.0f}" if s is not None and s >= 0.5 else "" for s in row] for row in shares
            ],
            texttemplate="%{text}" if written else None,
            textfont={"color": "#8a6a2f"},
            hovertext=[[f"{row} → {column}" for column in columns] for row in rows],
            hovertemplate="%{hovertext}<br>%{z:.1f} % of the row, %{customdata:,}<extra></extra>",
            colorscale=_FAINT,
            zmin=0,
            zmax=100,
            xgap=1,
            ygap=1,
            colorbar={"ticksuffix": " %", "thickness": 10, "outlinewidth": 0},
        )
    )
    cell_px = min(_CELL_PX, max(_SMALLEST_CELL_PX, _MOST_PX // max(1, len(rows))))
    height = max(_LEAST_PX, 150 + cell_px * len(rows))
    figure.update_layout(**layout(html.escape(matrix.title), height))
    figure.update_layout(hovermode="closest", margin={"l": 60, "r": 8, "t": 44, "b": 120})
    ticks = {"tickmode": "array", "showgrid": False, "zeroline": False, "automargin": True}
    figure.update_xaxes(
        title=html.escape(matrix.column_title), tickvals=list(range(len(columns))),
        ticktext=columns, tickangle=-60, **ticks,
    )  # fmt: skip
    figure.update_yaxes(
        title=html.escape(matrix.row_title), tickvals=list(range(len(rows))),
        ticktext=rows, autorange="reversed", **ticks,
    )  # fmt: skip
    return figure


def _written(share: float | None) -> str:
    return "" if share is None or round(share) == 0 else f"{share:.0f}"


def lines_figure(curves: CurvesDiagnostic, height_px: int = 420) -> go.Figure:
    """Draw the lines of a diagnostic; the first one is emphasized."""
    figure = go.Figure()
    for idx, (name, (x, y)) in enumerate(curves.lines.items()):
        figure.add_trace(
            go.Scatter(
                x=list(x), y=list(y), name=html.escape(name), mode="lines",
                line={"color": COLORS[idx % len(COLORS)], "width": 1.5 if idx else 3},
                opacity=0.8 if idx else 1.0,
                hovertemplate="%{x:.1f}, %{y:.1f}",
            )
        )  # fmt: skip
    rows = -(-len(curves.lines) // 5)
    figure.update_layout(**layout(html.escape(curves.title), height_px + 20 * rows))
    figure.update_layout(showlegend=len(curves.lines) > 1, hovermode="closest")
    figure.update_layout(legend={"y": -0.2}, margin={"b": 60 + 20 * rows})
    figure.update_xaxes(title=html.escape(curves.x_title))
    figure.update_yaxes(title=html.escape(curves.y_title))
    return figure
