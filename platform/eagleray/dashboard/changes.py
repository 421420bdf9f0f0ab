"""What the dashboard may change in a store: marks of runs, the trash, named views.

Only the dashboard's own page may ask (the guard compares origins), and only with JSON, which other
pages cannot send without being asked first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flask

from eagleray.browse.views import save_view
from eagleray.dashboard.address import parse_address
from eagleray.dashboard.run_list import runs_csv
from eagleray.dashboard.source import Source
from eagleray.runs.marks import change_marks
from eagleray.runs.run_folder import is_run_name
from eagleray.runs.trash import delete_run
from eagleray.task import EaglerayError, SettingsError

MOST_RUNS = 1000


def add_change_routes(server: flask.Flask, source: Source) -> None:
    """Answer requests for changes, and for the list of runs as CSV."""

    @server.post("/change")
    def change() -> flask.Response:
        asked = flask.request.get_json(silent=True)
        if not flask.request.is_json or not isinstance(asked, dict):
            return flask.Response("JSON is needed.\n", 415)
        try:
            done = apply_change(source, asked)
        except (EaglerayError, OSError) as error:
            return flask.Response(f"{error}\n", 400, mimetype="text/plain")
        return flask.jsonify({"changed": done})

    @server.get("/runs.csv")
    def listing() -> flask.Response:
        address = parse_address("/", flask.request.query_string.decode(errors="replace"))
        response = flask.Response(runs_csv(source, address), mimetype="text/csv")
        response.headers["Content-Disposition"] = "attachment; filename=runs.csv"
        return response


def apply_change(source: Source, asked: Mapping[str, Any]) -> int:
    """Make a change and return how many runs or views it was made to.

    Args:
        source: The store.
        asked: ``view`` and ``address``; or ``runs`` with ``delete``, or with any of ``add`` and
            ``remove`` (tags), ``note``, ``archived``.

    Raises:
        SettingsError: It cannot be made.
    """
    if "view" in asked:
        save_view(source.storage, str(asked["view"]), str(asked.get("address") or ""))
        return 1
    runs = _texts(asked.get("runs"))
    if not runs or len(runs) > MOST_RUNS:
        raise SettingsError(f"name 1 to {MOST_RUNS} runs; {len(runs)} are named")
    unknown = [name for name in runs if not is_run_name(name) or source.run(name) is None]
    if unknown:
        raise SettingsError(f"there is no run {unknown[0]!r} in this store (any more)")
    note, archived = asked.get("note"), asked.get("archived")
    for name in runs:
        if asked.get("delete") is True:
            delete_run(source.storage, name)
            continue
        change_marks(
            source.folder(name),
            add=_texts(asked.get("add")),
            remove=_texts(asked.get("remove")),
            note=note if isinstance(note, str) else None,
            archived=archived if isinstance(archived, bool) else None,
        )
    source.index.look_again()
    return len(runs)


def _texts(values: Any) -> list[str]:
    return [v for v in values if isinstance(v, str)] if isinstance(values, list) else []
