"""A browser's questions to a dashboard without a browser."""

from __future__ import annotations

from eagleray.dashboard import make_app


class Visitor:
    """Asks a dashboard what a browser would ask, and reads the answers."""

    def __init__(self, storage, cache):
        self.app = make_app(str(storage), cache=cache)
        self.client = self.app.server.test_client()

    def open(self, path, search=""):
        """Return the whole page as Dash sends it."""
        return self._ask(
            {"page": "children", "version": "data"}, {"route": {"path": path, "search": search}}
        )

    def follow(self, path, search="", *, is_tick=False, version=""):
        """Return the content after a control changed or time passed; None where nothing is new."""
        query = {"path": path, "search": search, "is_tick": is_tick}
        duplicate = next(key for key in self.app.callback_map if "content.children" in key)
        changed = duplicate.strip(".").split("...")[-1].partition(".")[2]
        return self._ask(
            {"heading": "children", "content": "children", "version": changed},
            {"query": query},
            {"version": version},
        )

    def _ask(self, outputs, inputs, states=None):
        listed = [{"id": k, "property": v} for k, v in outputs.items()]
        body = {
            "output": ".." + "...".join(f"{k}.{v}" for k, v in outputs.items()) + "..",
            "outputs": listed,
            "inputs": [{"id": k, "property": "data", "value": v} for k, v in inputs.items()],
            "state": [{"id": k, "property": "data", "value": v} for k, v in (states or {}).items()],
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
