"""The Dash application: a frame, the pages in it, and an address that always says what is shown.

The browser keeps the address and the controls in step (``assets/address.js``): a control that is
changed changes the query, and the query is what the content is drawn from. Every two seconds the
content's version is asked for, and drawn anew if it changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dash
from dash import ALL, ClientsideFunction, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from eagleray.dashboard.access import guard
from eagleray.dashboard.address import Address, parse_address
from eagleray.dashboard.changes import add_change_routes
from eagleray.dashboard.drawing import Drawing, draw, page_version
from eagleray.dashboard.elements import Content, Page, problem
from eagleray.dashboard.pages.benchmarks import BenchmarksPage
from eagleray.dashboard.pages.compare import ComparePage
from eagleray.dashboard.pages.gallery import GalleryPage
from eagleray.dashboard.pages.run import RunPage
from eagleray.dashboard.pages.runs import RunsPage
from eagleray.dashboard.pages.sweep import SweepPage
from eagleray.dashboard.pages.sweeps import SweepsPage
from eagleray.dashboard.pictures import add_picture_routes
from eagleray.dashboard.source import Source
from eagleray.task import EaglerayError

LOOK_EVERY_MS = 2000
_NAVIGATION = (
    ("/", "Runs"),
    ("/compare", "Compare"),
    ("/sweeps", "Sweeps"),
    ("/benchmarks", "Benchmarks"),
    ("/gallery", "Gallery"),
)


def make_app(storage: str, *, token: str | None = None, cache: Path | None = None) -> dash.Dash:
    """Return the dashboard over a store.

    Args:
        storage: Folder or URI that holds the runs.
        token: Who knows it may look; None: this machine only.
        cache: Folder for the index and thumbnails; by default in the user's cache.
    """
    source = Source(storage, cache)
    app = dash.Dash(
        "eagleray",
        assets_folder=str(Path(__file__).parent / "assets"),
        title="eagleray",
        update_title="",
        suppress_callback_exceptions=True,
        add_log_handler=False,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    app.layout = _frame(source)
    pages: dict[str, Page] = {
        "": RunsPage(source),
        "run": RunPage(source),
        "compare": ComparePage(source),
        "sweeps": SweepsPage(source),
        "sweep": SweepPage(source),
        "benchmarks": BenchmarksPage(source),
        "gallery": GalleryPage(source),
    }
    _connect(app, pages)
    add_picture_routes(app.server, source)
    add_change_routes(app.server, source)
    guard(app.server, token, _policy(app))
    return app


def _frame(source: Source) -> html.Div:
    links = [dcc.Link(text, href=href, className="nav") for href, text in _NAVIGATION]
    theme = html.Button("◐", id="theme", title="Dark or light", **{"aria-label": "Dark or light"})
    return html.Div(
        [
            dcc.Location(id="address", refresh="callback-nav"),
            dcc.Interval(id="tick", interval=LOOK_EVERY_MS),
            dcc.Store(id="route"),
            dcc.Store(id="query"),
            dcc.Store(id="version"),
            html.A("Skip to content", href="#page", className="skip"),
            html.Header(
                [
                    dcc.Link("eagleray", href="/", className="brand"),
                    html.Nav(links, **{"aria-label": "Pages"}),
                    html.Span(source.uri, className="where", title=source.uri),
                    theme,
                ]
            ),
            html.Main(id="page", tabIndex=-1),
        ]
    )


def _connect(app: dash.Dash, pages: Mapping[str, Page]) -> None:
    app.clientside_callback(
        ClientsideFunction("eagleray", "route"),
        Output("route", "data"),
        Input("address", "pathname"),
        Input("address", "search"),
    )
    app.clientside_callback(
        ClientsideFunction("eagleray", "query"),
        Output("query", "data"),
        Input({"control": ALL}, "value"),
        Input("tick", "n_intervals"),
        State({"control": ALL}, "id"),
        State({"defaults": ALL}, "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("eagleray", "picked"),
        Output({"control": "pick"}, "value"),
        Input({"pick": ALL}, "value"),
        State({"pick": ALL}, "id"),
        State({"control": "pick"}, "value"),
        prevent_initial_call=True,
    )

    app.clientside_callback(
        ClientsideFunction("eagleray", "clicked"),
        Output("address", "href"),
        Input({"figure": ALL}, "clickData"),
        prevent_initial_call=True,
    )

    @app.callback(Output("page", "children"), Output("version", "data"), Input("route", "data"))
    def show_page(route: Mapping[str, str] | None) -> tuple[Content, Mapping[str, str]]:
        if not route:
            raise PreventUpdate
        address = parse_address(route["path"], route["search"])
        page = pages.get(address.parts[0] if address.parts else "")
        if page is None:
            return [html.H1("No such page"), dcc.Link("All runs", href="/")], {"version": ""}
        drawing = draw(page, address)
        return _whole_page(page, address, drawing), drawing.state()

    @app.callback(
        Output("heading", "children"),
        Output("content", "children"),
        Output({"figure": ALL}, "figure"),
        Output("version", "data", allow_duplicate=True),
        Input("query", "data"),
        State("version", "data"),
        State({"figure": ALL}, "id"),
        prevent_initial_call=True,
    )
    def show_content(
        query: Mapping[str, Any] | None,
        shown: Mapping[str, str] | None,
        figures: list[Mapping[str, str]],
    ) -> tuple[Content, Any, list[Any], Mapping[str, str]]:
        if not query:
            raise PreventUpdate
        address = parse_address(query["path"], query["search"])
        page = pages.get(address.parts[0] if address.parts else "")
        before = shown or {}
        if page is None:
            raise PreventUpdate
        if query["is_tick"] and page_version(page, address) == before.get("version"):
            raise PreventUpdate
        drawing = draw(page, address)
        state, drawn = drawing.state(), drawing.points()
        keys = [figure["figure"] for figure in figures]
        if keys and state["frame"] == before.get("frame") and set(keys) == set(drawn):
            return drawing.heading, dash.no_update, [drawn[key] for key in keys], state
        return drawing.heading, drawing.content, [dash.no_update] * len(keys), state


def _whole_page(page: Page, address: Address, drawing: Drawing) -> Content:
    try:
        controls = list(page.controls(address))
    except (EaglerayError, OSError) as error:
        return [html.H1(page.title(address)), problem(str(error))]
    defaults = {control.name: control.default for control in controls}
    return [
        dcc.Store(id={"defaults": "page"}, data=defaults),
        html.H1(page.title(address)),
        html.Div(drawing.heading, id="heading"),
        html.Div([control.component for control in controls], className="controls"),
        html.Div(drawing.content, id="content"),
    ]


def _policy(app: dash.Dash) -> str:
    """Return a policy that lets the page load from here alone and run no script from a file."""
    scripts = " ".join(app.csp_hashes())
    return (
        f"default-src 'self'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
