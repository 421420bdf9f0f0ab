"""Pieces that pages are made of: controls that the address remembers, tables, marks of state, long
lists that are sorted by a heading and cut into pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import plotly.graph_objects as go
from dash import dcc, html
from dash.development.base_component import Component

from eagleray.dashboard.address import Address
from eagleray.runs.marks import RunMarks

_MOST_EXACT = 1e12
"""Whole numbers below this are written with all digits."""

ROWS_PER_PAGE = 50

T = TypeVar("T")

Content = list[Any]
"""Children of a Dash component."""


class Page(Protocol):
    """One kind of page. Controls stay while the content below them is drawn anew."""

    def title(self, address: Address) -> str:
        """Return the heading."""
        ...

    def heading(self, address: Address) -> Content:
        """Return what stands above the controls."""
        ...

    def controls(self, address: Address) -> Sequence[Control]:
        """Return what the visitor can set."""
        ...

    def content(self, address: Address) -> Content:
        """Return what is shown."""
        ...

    def version(self, address: Address) -> str:
        """Return a text that changes when the content would, found out cheaply."""
        ...


@dataclass(frozen=True, slots=True)
class Control:
    """A control whose value stands in the address unless it is the default.

    Args:
        name: Its name in the query.
        default: The value that the address need not say.
        component: What is shown.
    """

    name: str
    default: Any
    component: Component


def text_control(name: str, label: str, value: str, placeholder: str = "") -> Control:
    """Return a line of text that is searched for after a short pause."""
    box = dcc.Input(
        id={"control": name},
        type="search",
        value=value,
        placeholder=placeholder,
        debounce=0.3,
        className="text",
    )
    return Control(name, "", _labelled(label, box))


def choice_control(
    name: str,
    label: str,
    options: Sequence[tuple[str, str]],
    value: str,
    default: str = "",
    *,
    is_always_said: bool = False,
) -> Control:
    """Return a choice of one of several (value, label).

    Args:
        name: Its name in the query.
        label: Its label.
        options: Value and label of each.
        value: The one that is chosen; another one means the default.
        default: What is chosen where the address says nothing.
        is_always_said: The address says the default too, because it may become another one.
    """
    known = value if value in [key for key, _ in options] else default
    box = dcc.Dropdown(
        id={"control": name},
        options=[{"value": key, "label": text} for key, text in options],
        value=known,
        clearable=False,
        className="choice",
    )
    return Control(name, "" if is_always_said else default, _labelled(label, box))


def choices_control(
    name: str, label: str, options: Sequence[str], values: Sequence[str], kind: str = "wide"
) -> Control:
    """Return a choice of any number of texts; ``wide``: over the whole page."""
    box = dcc.Dropdown(
        id={"control": name},
        options=[{"value": text, "label": text} for text in options],
        value=list(values),
        multi=True,
        className=f"choice {kind}".strip(),
    )
    return Control(name, [], _labelled(label, box, kind))


def slider_control(name: str, label: str, value: float, default: float) -> Control:
    """Return a slider from 0 to 0.99."""
    box = dcc.Slider(
        id={"control": name},
        min=0,
        max=0.99,
        step=0.01,
        value=value,
        marks=None,
        updatemode="mouseup",
        tooltip={"placement": "top"},
        allow_direct_input=False,
        className="slider",
    )
    return Control(name, default, _labelled(label, box))


def switch_control(name: str, label: str, *, is_on: bool) -> Control:
    """Return a switch."""
    box = dcc.Checklist(
        id={"control": name},
        options=[{"value": "1", "label": label}],
        value=["1"] if is_on else [],
        className="switch",
    )
    return Control(name, [], html.Div(box, className="control"))


def hidden_control(name: str, value: str) -> Control:
    """Return a value that is kept in the address but set by something else."""
    box = dcc.Input(id={"control": name}, type="hidden", value=value)
    return Control(name, "", html.Div(box, hidden=True))


def table(
    columns: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    numbers: Sequence[int] = (),
    *,
    sortable: bool = False,
) -> Component:
    """Return a table.

    Args:
        columns: Headings: text or components.
        rows: Cells: text, components, or None for an empty one.
        numbers: Positions of the columns that are aligned to the right.
        sortable: The browser sorts by a heading that is clicked, where the address says no order.
    """
    kind = ["number" if idx in numbers else "" for idx in range(len(columns))]
    head = [html.Th(text, className=k, scope="col") for text, k in zip(columns, kind, strict=True)]
    body = [
        html.Tr([html.Td(cell, className=k) for cell, k in zip(row, kind, strict=True)])
        for row in rows
    ]
    if sortable:
        head = [
            html.Th(html.Button(text, className="order"), className=k, scope="col")
            for text, k in zip(columns, kind, strict=True)
        ]
    made = html.Table([html.Thead(html.Tr(head)), html.Tbody(body)])
    save = html.Button("CSV", className="csv", title="Save this table as it is shown")
    return html.Div([html.Div(made, className="scroll", tabIndex=0), save], className="tabled")


def action_button(label: str, action: str, title: str = "", **data: str) -> Component:
    """Return a button that changes something in the store, see ``assets/changes.js``.

    Args:
        label: What it says.
        action: What it does.
        title: What it says on hovering.
        data: What it is done with.
    """
    known = {f"data-{name}": value for name, value in {"action": action, **data}.items()}
    return html.Button(label, className="action", title=title, **known)


def tag_marks(marks: RunMarks) -> Content:
    """Return a run's tags and whether it has a note."""
    tags: Content = [html.Span(tag, className="mark") for tag in marks.tags]
    aside = [html.Span("archived", className="mark aside")] if marks.archived else []
    told = [html.Span("✎", className="noted", title=marks.note)] if marks.note else []
    return [*tags, *aside, *told]


def figure_panel(figure: go.Figure, key: str, *, least_width_px: int = 0) -> Component:
    """Return a figure in a frame.

    Args:
        figure: The figure.
        key: Keeps its zoom while new points come in.
        least_width_px: On narrower screens it is moved sideways in its frame.
    """
    config = {"displaylogo": False, "responsive": True}
    style = {"minWidth": f"{least_width_px}px"} if least_width_px else {}
    graph = dcc.Graph(id={"figure": key}, figure=figure, config=config, style=style)
    if least_width_px:
        return html.Div(graph, className="panel scroll", tabIndex=0)
    return html.Div(graph, className="panel")


def state_mark(state: str, *, is_live: bool = False) -> Component:
    """Return a run's state with a colored dot."""
    kind = "live" if is_live else state if state.isalpha() else "unknown"
    return html.Span([html.Span(className="dot"), state], className=f"state {kind}")


def note(text: str) -> Component:
    """Return a dimmed line."""
    return html.P(text, className="dim")


def problem(text: str) -> Component:
    """Return a line that says what is wrong."""
    return html.P(text, className="bad", role="alert")


def number_text(value: Any) -> str:
    """Return a number with four digits, nothing for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT:
        return str(int(value))
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def value_text(value: Any) -> str:
    """Return a setting's value."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def signed(value: float | None, *, higher_is_better: bool = True) -> Component | str:
    """Return a difference, colored by whether it is for the better."""
    if value is None:
        return ""
    is_good = (value >= 0) == higher_is_better
    return html.Span(f"{value:+.4g}", className="good" if is_good else "bad")


def ago(time_s: float) -> Component | str:
    """Return how long ago a time was; the time itself is shown on hovering."""
    if time_s <= 0:
        return ""
    seconds = max(0.0, time.time() - time_s)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            text = f"{seconds / size:.0f} {unit} ago"
            break
    else:
        text = "just now"
    exact = datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return html.Span(text, title=exact)


def facts(values: Mapping[str, Any]) -> Component:
    """Return names and values as a table."""
    rows = [(html.Code(name), html.Code(value_text(value))) for name, value in values.items()]
    return table(("name", "value"), rows)


def _labelled(label: str, box: Component, kind: str = "") -> Component:
    return html.Label([html.Span(label), box], className=f"control {kind}".strip())


def sorted_rows(
    rows: Sequence[T], order: str, columns: Mapping[str, Callable[[T], Any]], default: str
) -> list[T]:
    """Return rows sorted by a column, downwards with a leading ``-``; what has no value comes last.

    Args:
        rows: The rows.
        order: The column's name as the address gives it.
        columns: What each column is sorted by; None is no value.
        default: The column where ``order`` names none.
    """
    of = columns.get(order.removeprefix("-"), columns[default])
    known = [row for row in rows if of(row) is not None]
    known.sort(key=of, reverse=order.startswith("-"))
    return known + [row for row in rows if of(row) is None]


def sort_link(
    name: str, order: str, address: Address, *, label: str = "", is_number: bool = False
) -> Component:
    """Return a heading that sorts by its column, and the other way when it already does.

    Args:
        name: The column's name.
        order: The order that is shown.
        address: The page's address.
        label: What is shown, by default the name.
        is_number: The greatest come first.
    """
    is_down, is_this = order.startswith("-"), order.removeprefix("-") == name
    target = f"{'' if is_down else '-'}{name}" if is_this else f"{'-' if is_number else ''}{name}"
    sign = (" ↓" if is_down else " ↑") if is_this else ""
    return dcc.Link((label or name) + sign, href=address.with_query(sort=target, page=None))


def page_of(
    rows: Sequence[T], address: Address, per_page: int = ROWS_PER_PAGE
) -> tuple[Sequence[T], int, int]:
    """Return the rows of the page that the address asks for, its number, and how many there are."""
    pages = max(1, -(-len(rows) // per_page))
    page = int(address.number("page", 1, 1, pages))
    return rows[(page - 1) * per_page : page * per_page], page, pages


def pager(page: int, pages: int, address: Address) -> Component:
    """Return links to the previous and the next page, nothing where there is one only."""
    if pages == 1:
        return html.Div()
    links: Content = []
    if page > 1:
        before = address.with_query(page=str(page - 1))
        links.append(dcc.Link("← previous", id="previous", href=before))
    links.append(html.Span(f"page {page} of {pages}", className="dim"))
    if page < pages:
        links.append(dcc.Link("next →", id="next", href=address.with_query(page=str(page + 1))))
    return html.Nav(links, className="bar", **{"aria-label": "Pages of the list"})
