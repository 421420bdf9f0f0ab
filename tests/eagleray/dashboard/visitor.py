"""A browser's questions to a dashboard without a browser."""

from __future__ import annotations

import base64

import numpy as np

from eagleray.dashboard import make_app


class Visitor:
    """Asks a dashboard what a browser would ask, and reads the answers."""

    def __init__(self, storage, cache):
        self.app = make_app(str(storage), cache=cache)
        self.client = self.app.server.test_client()

    def open(self, path, search=""):
        """Return the whole page as Dash sends it."""
        outputs = [{"id": "page", "property": "children"}, {"id": "version", "property": "data"}]
        inputs = {"route": {"path": path, "search": search}}
        return self._ask("..page.children...version.data..", outputs, inputs)

    def follow(self, path, search="", *, is_tick=False, before=None):
        """Return what is exchanged after a control changed or time passed; None for nothing.

        Args:
            before: The answer that is shown; its version and its figures are what the browser has.
        """
        query = {"path": path, "search": search, "is_tick": is_tick}
        listed = next(key for key in self.app.callback_map if "content.children" in key)
        changed = next(part for part in listed.strip(".").split("...") if "data@" in part)
        figures = [i for i in values(before or {}, "id") if isinstance(i, dict) and "figure" in i]
        outputs = [
            {"id": "heading", "property": "children"},
            {"id": "content", "property": "children"},
            [{"id": i, "property": "figure"} for i in figures],
            {"id": "version", "property": changed.partition(".")[2]},
        ]
        states = [
            {
                "id": "version",
                "property": "data",
                "value": (before or {}).get("version", {}).get("data"),
            },
            [{"id": i, "property": "id", "value": i} for i in figures],
        ]
        return self._ask(listed, outputs, {"query": query}, states)

    def _ask(self, listed, outputs, inputs, states=()):
        body = {
            "output": listed,
            "outputs": outputs,
            "inputs": [{"id": k, "property": "data", "value": v} for k, v in inputs.items()],
            "state": list(states),
            "changedPropIds": [f"{k}.data" for k in inputs],
        }
        answer = self.client.post("/_dash-update-component", json=body)
        if answer.status_code == 204:
            return None
        assert answer.status_code == 200, answer.text
        return answer.get_json()["response"]


def components(tree):
    """Return all components in an answer, outermost first."""
    if isinstance(tree, list):
        return [found for part in tree for found in components(part)]
    if not isinstance(tree, dict):
        return []
    own = [tree] if "type" in tree and "namespace" in tree else []
    return own + [found for part in tree.values() for found in components(part)]


def text(tree):
    """Return the visible text of an answer, words separated by one space."""
    if isinstance(tree, str):
        return tree
    if isinstance(tree, int | float):
        return str(tree)
    if isinstance(tree, list):
        return " ".join(filter(None, map(text, tree)))
    if isinstance(tree, dict):
        if "props" in tree:
            return text(tree["props"].get("children"))
        return " ".join(filter(None, (text(part) for part in tree.values())))
    return ""


def values(tree, prop):
    """Return a property of all components that have it."""
    return [c["props"][prop] for c in components(tree) if prop in c["props"]]


def numbers(values):
    """Return the numbers of a plotly array, which are sent as bytes."""
    if isinstance(values, list):
        return values
    return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist()
