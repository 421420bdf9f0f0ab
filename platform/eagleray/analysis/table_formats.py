"""One table in four formats: for the terminal, Markdown, LaTeX (booktabs) and CSV.

People get rounded text with the best values marked; CSV carries every digit in columns of its own.
LaTeX is written here: prettytable's has no booktabs rules and escapes nothing, so that a name with
an underscore would not compile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prettytable import PrettyTable, TableStyle

FORMATS = ("text", "markdown", "latex", "csv")
_BEST = " (best)"
"""What the terminal shows behind a best value."""
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "\n": " ", "\r": " ",
}  # fmt: skip
_MARKDOWN = re.compile(r"([\\`*\[\]<>|#~&]|(?<!\w)_|_(?!\w))")
_MINUS = re.compile(r"(?<![\w.])-(?=[\d.])")


@dataclass(frozen=True, slots=True)
class Cell:
    """Text of a cell, and whether it is the best of its column."""

    text: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """A table for people, and its data with full precision.

    Args:
        title: One line.
        columns: Headings.
        rows: A cell per column.
        numbers: Positions of the columns that are aligned to the right.
        notes: What marks in the table mean; part of every format but CSV.
        legend: What the rows are; a comment in LaTeX.
        data_columns: Names of the CSV's columns.
        data_rows: Their values; None is an empty one.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[int] = frozenset()
    notes: Sequence[str] = ()
    legend: Sequence[str] = ()
    data_columns: Sequence[str] = ()
    data_rows: Sequence[Sequence[Any]] = ()

    def formatted(self, kind: str) -> str:
        """Return the table in one of ``FORMATS``."""
        makers = {"markdown": self.markdown, "latex": self.latex, "csv": self.csv}
        return makers.get(kind, self.text)()

    def text(self) -> str:
        """Return the table for a terminal."""
        rows = [[cell.text + _BEST * cell.is_best for cell in row] for row in self.rows]
        grid = self._grid(self.columns, rows, TableStyle.DEFAULT)
        return "\n".join([self.title, grid, *self.notes, *self.legend])

    def markdown(self) -> str:
        """Return the table as Markdown, best values bold."""
        heads = [escape_markdown(name) for name in self.columns]
        rows = [[_markdown_cell(cell) for cell in row] for row in self.rows]
        grid = self._grid(heads, rows, TableStyle.MARKDOWN)
        below = [escape_markdown(text) for text in self.notes]
        listed = [f"- {escape_markdown(text)}" for text in self.legend]
        parts = [f"**{escape_markdown(self.title)}**", grid, *below]
        return "\n\n".join([*parts, *(["\n".join(listed)] if listed else [])]) + "\n"

    def latex(self) -> str:
        r"""Return the table as a LaTeX tabular, best values bold; needs ``\usepackage{booktabs}``
        and, in the preamble of old compilers, ``\usepackage[T1]{fontenc}``.
        """
        align = "".join("r" if idx in self.numbers else "l" for idx in range(len(self.columns)))
        notes = [
            rf"\multicolumn{{{len(self.columns)}}}{{l}}{{\footnotesize {escape_latex(text)}}} \\"
            for text in self.notes
        ]
        comments = [f"% {' '.join(text.split())}" for text in (self.title, *self.legend)]
        lines = [
            *comments,
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            _latex_line([escape_latex(name) for name in self.columns]),
            r"\midrule",
            *(_latex_line([self._latex_cell(i, c) for i, c in enumerate(r)]) for r in self.rows),
            r"\bottomrule",
            *notes,
            r"\end{tabular}",
        ]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Return the data with full precision as CSV."""
        table = PrettyTable(list(self.data_columns))
        table.add_rows([["" if v is None else v for v in row] for row in self.data_rows])
        return str(table.get_csv_string(lineterminator="\n"))

    def _grid(self, heads: Sequence[str], rows: Sequence[Sequence[str]], style: TableStyle) -> str:
        table = PrettyTable(list(heads))
        table.set_style(style)
        table.align = "l"
        for position in self.numbers:
            table.align[heads[position]] = "r"
        table.add_rows([list(row) for row in rows])
        return str(table.get_string())

    def _latex_cell(self, position: int, cell: Cell) -> str:
        text = escape_latex(cell.text)
        if position in self.numbers:
            text = _MINUS.sub("$-$", text)
        return rf"\textbf{{{text}}}" if cell.is_best else text


def escape_latex(text: str) -> str:
    r"""Return text that LaTeX prints as it is.

    Example:
        >>> print(escape_latex("50 % of a_b & {c}"))
        50 \% of a\_b \& \{c\}
    """
    return "".join(_LATEX.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    r"""Return text that Markdown prints as it is, also in a table.

    Example:
        >>> print(escape_markdown("a|b *c* plain_head"))
        a\|b \*c\* plain_head
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return f"**{text}**" if cell.is_best else text


def _latex_line(cells: Sequence[str]) -> str:
    """Return one row; a first cell that begins like an option of the row break before is kept
    apart from it.
    """
    first = "{}" if cells and cells[0].startswith(("[", "*")) else ""
    return f"{first}{' & '.join(cells)} \\\\"
