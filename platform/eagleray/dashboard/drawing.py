"""What a page looks like at one moment, and whether it differs from a moment before in the points
of its figures alone: then these are exchanged where they stand, and zoom and scroll position stay.

(The layout must not be sent again: dcc.Graph writes a zoom into its layout, a new one undoes it.)
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from dash import Patch, dcc
from dash.development.base_component import Component

from eagleray.dashboard.address import Address
from eagleray.dashboard.elements import Content, Page, note, problem
from eagleray.task import EaglerayError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawing:
    """A page at one moment.

    Args:
        heading: What stands above the controls.
        content: What stands below them.
        version: The page's version just before it was drawn.
    """

    heading: Content
    content: Content
    version: str

    def points(self) -> dict[str, Patch]:
        """Return what exchanges the points of each figure, by the figure's key."""
        patches = {}
        for graph in _graphs(self.content):
            patch = patches[graph.id["figure"]] = Patch()
            patch["data"] = graph.figure.to_plotly_json()["data"]
        return patches

    def state(self) -> dict[str, str]:
        """Return what the browser keeps: the version, and a digest of all but the points."""
        text = json.dumps(_without_points(self.content), default=str)
        return {"version": self.version, "frame": hashlib.sha256(text.encode()).hexdigest()}


def draw(page: Page, address: Address) -> Drawing:
    """Draw a page; what goes wrong is shown in its place."""
    version = page_version(page, address)
    return Drawing(guarded(page.heading, address), guarded(page.content, address), version)


def page_version(page: Page, address: Address) -> str:
    """Return the version of what an address shows; an error is a version too."""
    try:
        return f"{address} {page.version(address)}"
    except (EaglerayError, OSError) as error:
        return f"{address} {error}"


def guarded(make: Callable[[Address], Content], address: Address) -> Content:
    """Return what ``make`` gives, or the reason why it gives nothing."""
    try:
        return make(address)
    except (EaglerayError, OSError) as error:
        return [problem(str(error))]
    except Exception:
        _log.exception("%s failed", address)
        return [problem("This page could not be made."), note("The dashboard's log says why.")]


def _graphs(tree: Any) -> Iterator[dcc.Graph]:
    if isinstance(tree, list | tuple):
        for part in tree:
            yield from _graphs(part)
    elif isinstance(tree, dcc.Graph):
        yield tree
    elif isinstance(tree, Component):
        yield from _graphs(getattr(tree, "children", None))


def _without_points(tree: Any) -> Any:
    if isinstance(tree, list | tuple):
        return [_without_points(part) for part in tree]
    if isinstance(tree, go.Figure):
        return [tree.layout.to_plotly_json(), [trace.name for trace in tree.data]]
    if not isinstance(tree, Component):
        return tree
    values = tree.to_plotly_json()["props"]
    return [type(tree).__name__, {name: _without_points(v) for name, v in values.items()}]
