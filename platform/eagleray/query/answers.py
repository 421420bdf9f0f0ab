"""Answers to texts: a table of hits, and files that show them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eagleray.query.index import Index
from eagleray.storage import Store
from eagleray.task import Hit

_NO_NAME = re.compile(r"[^A-Za-z0-9]+")
_NUM_LETTERS = 60


@dataclass(frozen=True)
class Answer:
    """What answers one text.

    Args:
        text: The text.
        hits: The best ones, the best first.
    """

    text: str
    hits: tuple[Hit, ...]

    @classmethod
    def of(cls, index: Index, text: str, *, top: int, units: Sequence[str]) -> Answer:
        """Ask an index.

        Args:
            index: The index.
            text: What is looked for.
            top: How many hits are kept.
            units: Keys of the units that are asked.

        Raises:
            InputError: The text cannot be asked.
        """
        return cls(text, tuple(index.task.ask(text, index.rows, units, top)))

    def columns(self) -> list[str]:
        """Return the headings of the table."""
        values = self.hits[0].values if self.hits else {}
        return ["text", "rank", "unit", "score", *values]

    def table(self) -> list[list[object]]:
        """Return a line per hit; numbers have the digits that mean something."""
        return [
            [self.text, rank, hit.unit, round(hit.score, 4), *map(_short, hit.values.values())]
            for rank, hit in enumerate(self.hits, start=1)
        ]


def write_answer(answers: Sequence[Answer], output: Store) -> str:
    """Write all hits as one CSV, ``hits.csv``; return its name."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    found = [answer for answer in answers if answer.hits]
    if found:
        writer.writerow(found[0].columns())
    for answer in found:
        writer.writerows(answer.table())
    output.write("hits.csv", buffer.getvalue().encode())
    return "hits.csv"


def show_answer(index: Index, answer: Answer, output: Store) -> list[str]:
    """Write what the task shows of a text's hits, ``<text>/<best rank>_<unit>.<ending>``; return
    the names.

    Args:
        index: The index.
        answer: An answer of it.
        output: Where the files go.
    """
    by_unit: dict[str, list[Hit]] = {}
    for hit in answer.hits:
        by_unit.setdefault(hit.unit, []).append(hit)
    position = {index.units.key(k): k for k in range(len(index.units))}
    folder, names = _file_name(answer.text), []
    for unit, hits in by_unit.items():
        rank = 1 + answer.hits.index(hits[0])
        sample = index.units.load(position[unit], np.random.default_rng(0))
        fitted = index.rows.fitted()
        files = index.task.show(answer.text, hits, sample, index.rows[unit], fitted)
        for ending, content in files.items():
            name = f"{folder}/{rank:03d}_{_file_name(unit)}.{ending}"
            output.write(name, content)
            names.append(name)
    return names


def _file_name(text: str) -> str:
    return _NO_NAME.sub("_", text).strip("_")[:_NUM_LETTERS] or "text"


def _short(value: float | int | str) -> object:
    return round(value, 2) if isinstance(value, float) else value
