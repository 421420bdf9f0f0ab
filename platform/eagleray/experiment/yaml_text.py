"""YAML of people: read as plain values, with what YAML allows and nobody means refused.

Duplicate keys (the last one would win silently), aliases that recurse or explode, nesting without
end and numbers that Python does not read are told with their line.
"""

from __future__ import annotations

from typing import Any

import yaml

from eagleray.task import SettingsError

_MOST_CHARACTERS = 4_000_000
_MOST_VALUES = 200_000
_DEEPEST = 64


class _Loader(yaml.SafeLoader):
    """Plain values only; counts how deep it is."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:
            at = self.peek_event()  # type: ignore[no-untyped-call]
            raise _refused(f"values are nested deeper than {_DEEPEST}", at)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_yaml(text: str, origin: str) -> Any:
    """Return the plain values in a YAML text.

    Args:
        text: The text.
        origin: Where it is from, for messages.

    Raises:
        SettingsError: It is no YAML, or says something that nobody means.
    """
    if len(text) > _MOST_CHARACTERS:
        raise SettingsError(
            f"{origin} has {len(text)} characters, allowed are {_MOST_CHARACTERS}: that is no "
            "experiment"
        )
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, set(), {})
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{origin} cannot be read as YAML: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _check(node: yaml.Node, inside_of: set[int], sizes: dict[int, int]) -> int:
    """Return how many values a node stands for, its aliases written out.

    Args:
        node: The node.
        inside_of: The nodes that it lies in.
        sizes: What is known already, so that aliases cost nothing here.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    if id(node) in inside_of:
        raise _refused("an alias stands inside of what it stands for", node)
    children = []
    if isinstance(node, yaml.MappingNode):
        keys: set[tuple[str, str]] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in keys:
                    raise _refused(f"key {key.value!r} is there twice in one mapping", key)
                keys.add((key.tag, key.value))
            children += [key, value]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    inside_of.add(id(node))
    size = 1 + sum(_check(child, inside_of, sizes) for child in children)
    inside_of.remove(id(node))
    if size > _MOST_VALUES:
        raise _refused(f"aliases make more than {_MOST_VALUES} values of it", node)
    sizes[id(node)] = size
    return size


def _refused(reason: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=at.start_mark)
