"""Long lists: sorted by a column whose heading is a link, and cut into pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.dashboard.address import Address
from eagleray.dashboard.elements import Content

ROWS_PER_PAGE = 50

T = TypeVar("T")


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
