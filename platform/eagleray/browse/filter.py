"""Filters as people type them: words, regular expressions, and conditions on any value.

    toy miou>70 lr<0.01 backbone=resnet50 run~main-[0-3] /street|room/

All terms have to hold. A term that cannot be read, and a name that nothing has, choose nothing and
are told, so that a mistake cannot be taken for an answer.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import re2

from eagleray.experiment.discovery import nearest

_TERM = re.compile(
    r"/(?P<pattern>(?:\\.|[^/\\])+)/(?!\S)"
    r"|(?P<name>[\w/.@-]+)\s*(?P<sign><=|>=|!=|=|<|>|~)\s*(?P<value>\"[^\"]*\"|\S+)"
    r"|(?P<word>\S+)"
)
_SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
}
_LONGEST_PATTERN = 200
_NAMES_TOLD = 12


class Filterable(Protocol):
    """What a filter can choose."""

    @property
    def told(self) -> str:
        """The text in which words are looked for."""
        ...

    def values(self, name: str) -> Sequence[Sequence[Any]]:
        """Return what a name may mean, the likeliest meaning first; nothing where it means nothing.

        A meaning may have several values (a setting of each phase): a condition holds where it
        does for any.
        """
        ...

    def names(self) -> Iterable[str]:
        """Return the names that have values."""
        ...


@dataclass(frozen=True)
class NamedValues:
    """Something with one value per name.

    Args:
        told: The text in which words are looked for.
        of: Its values by name.
    """

    told: str
    of: Mapping[str, Any]

    def values(self, name: str) -> Sequence[Sequence[Any]]:
        """Return the value of a name."""
        return [[self.of[name]]] if name in self.of else []

    def names(self) -> Iterable[str]:
        """Return the names that have values."""
        return self.of


R = TypeVar("R", bound=Filterable)


@dataclass(frozen=True)
class Term:
    """One condition, regular expression or word.

    Args:
        text: As it was typed.
        holds: Whether it holds for something.
        name: The name that it asks for; empty for a word or an expression.
        problem: Why it cannot be read, empty where it can.
    """

    text: str
    holds: Callable[[Any], bool]
    name: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Filter:
    """Some terms, which all have to hold."""

    terms: Sequence[Term]

    @property
    def names(self) -> list[str]:
        """The names that it asks for."""
        return [term.name for term in self.terms if term.name]

    def matches(self, one: Filterable) -> bool:
        """Return whether all terms hold."""
        return all(term.holds(one) for term in self.terms)

    def chosen(self, rows: Sequence[R], noun: str) -> tuple[list[R], list[str]]:
        """Return the rows for which all terms hold, and what is wrong with the terms.

        Args:
            rows: What is chosen from.
            noun: What one of them is called.
        """
        problems = [f"{term.text}: {term.problem}" for term in self.terms if term.problem]
        for term in self.terms:
            if term.name and rows and not any(row.values(term.name) for row in rows):
                known = sorted({name for row in rows for name in row.names()})
                told = nearest(term.name, known) if len(known) <= _NAMES_TOLD else ""
                close = told or nearest(term.name, known).partition(" Allowed: ")[0]
                hint = "" if close.startswith("allowed: ") and not told else f"; {close}"
                problems.append(f"{term.text}: no {noun} has {term.name!r}{hint}")
        return [row for row in rows if self.matches(row)], problems


@lru_cache(maxsize=256)
def read_filter(text: str) -> Filter:
    """Return the filter that a text says.

    Example:
        >>> [term.problem for term in read_filter("toy miou>abc").terms]
        ['', "'abc' is no number"]
    """
    return Filter(tuple(_term(match) for match in _TERM.finditer(text)))


def _term(match: re.Match[str]) -> Term:
    text = match.group()
    if match["name"]:
        return _condition(text, match["name"], match["sign"], match["value"].strip('"'))
    if match["word"]:
        word = match["word"].lower()
        return Term(text, lambda one: word in one.told.lower())
    found, problem = _search(match["pattern"])
    return Term(text, lambda one: found(one.told), problem=problem)


def _condition(text: str, name: str, sign: str, wanted: str) -> Term:
    if sign == "!=":
        same = _condition(text, name, "=", wanted).holds
        return Term(text, lambda one: bool(one.values(name)) and not same(one), name)
    if sign == "~":
        found, problem = _search(wanted)
        return Term(
            text, lambda one: _has(one, name, lambda v: found(value_text(v))), name, problem
        )
    compare, number = _SIGNS[sign], _number(wanted)
    if number is not None:
        return Term(
            text, lambda one: _has(one, name, lambda v: compare(v, number), _is_number), name
        )
    if sign != "=":
        return Term(text, _never, name, f"{wanted!r} is no number")
    plain = wanted.lower().replace(" ", "")

    def equal(value: Any) -> bool:
        return value_text(value).lower().replace(" ", "") == plain

    return Term(text, lambda one: _has(one, name, equal, _is_no_number), name)


def _has(
    one: Filterable,
    name: str,
    test: Callable[[Any], Any],
    is_comparable: Callable[[Any], bool] = lambda value: True,
) -> bool:
    """Return whether the likeliest comparable meaning of a name passes a test.

    Training logs a rate called ``lr`` that ends near zero; who asks for ``lr<0.01`` means the
    setting. So meanings are tried in order, and the first that can be compared decides.
    """
    for meaning in one.values(name):
        comparable = [value for value in meaning if value is not None and is_comparable(value)]
        if comparable:
            return any(test(value) for value in comparable)
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_no_number(value: Any) -> bool:
    return not _is_number(value)


def _never(one: Any) -> bool:
    return False


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _search(text: str) -> tuple[Callable[[str], bool], str]:
    """Return what finds an expression in a text, case aside, and why it cannot be read.

    RE2 takes time in proportion to the text, whatever the expression. Python's own engine goes back
    and tries again, which for ``(a|aa)+$`` can hold a server's thread for ever.
    """
    if len(text) > _LONGEST_PATTERN:
        return _never, f"an expression may have {_LONGEST_PATTERN} characters"
    options = re2.Options()
    options.case_sensitive, options.log_errors = False, False
    try:
        pattern = re2.compile(text, options)
    except re2.error as error:
        return _never, f"no regular expression: {error.args[0].decode(errors='replace')}"
    return lambda found: pattern.search(found) is not None, ""


def value_text(value: Any) -> str:
    """Return a value as a filter compares it: numbers in short, lists and mappings as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else json.dumps(value, default=str)
