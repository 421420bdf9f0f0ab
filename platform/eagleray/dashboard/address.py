"""Addresses of pages: everything that a page shows is said by its path and query, so that every
view can be linked to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote, urlencode


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address.

    Args:
        parts: Decoded parts of the path.
        query: Values by name; a name may have several.
    """

    parts: tuple[str, ...]
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def one(self, name: str, default: str = "") -> str:
        """Return a value of the query."""
        found = self.query.get(name)
        return found[0] if found else default

    def many(self, name: str) -> list[str]:
        """Return all values of a name."""
        return list(self.query.get(name, ()))

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a number of the query, moved into its range; ``default`` where it is none."""
        try:
            value = float(self.one(name))
        except ValueError:
            return default
        return min(max(value, low), high) if value == value else default

    def is_on(self, name: str) -> bool:
        """Return whether a switch is on."""
        return self.one(name) == "1"

    def with_query(self, **changes: str | Sequence[str] | None) -> str:
        """Return the same address with some values changed; None or an empty value removes one."""
        query = {**self.query, **{k: v if v is not None else "" for k, v in changes.items()}}
        return link(self.parts, **query)


def parse_address(path: str, search: str) -> Address:
    """Return the parsed form of a browser's path and query string."""
    parts = tuple(unquote(part) for part in path.split("/") if part)
    return Address(parts, parse_qs(search.removeprefix("?")))


def link(parts: Sequence[str], **query: str | Sequence[str]) -> str:
    """Return an address.

    Example:
        >>> link(["run", "a b", "c"], tab="log", x="")
        '/run/a%20b/c?tab=log'
    """
    pairs = [
        (name, value)
        for name, values in query.items()
        for value in ([values] if isinstance(values, str) else values)
        if value
    ]
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    return f"{path}?{urlencode(pairs)}" if pairs else path


def run_link(name: str, **query: str | Sequence[str]) -> str:
    """Return the address of a run's page."""
    return link(["run", *name.split("/")], **query)


def sweep_link(name: str, **query: str | Sequence[str]) -> str:
    """Return the address of a sweep's page."""
    return link(["sweep", *name.split("/")], **query)
