"""One table in four formats: alignment, marks, escaping."""

from __future__ import annotations

import csv
import io
import re

import pytest

from eagleray.analysis.table_formats import Cell, Table, escape_latex, escape_markdown


def table_of(*names, **options):
    rows = [[Cell(name), Cell("-0.5", is_best=idx == 0)] for idx, name in enumerate(names)]
    data = [[name, 0.1 + 0.2, None] for name in names]
    return Table(
        "a title", ["variant", "pq"], rows, frozenset({1}), data_columns=["n", "x", "y"],
        data_rows=data, **options,
    )  # fmt: skip


def test_the_terminal_shows_a_mark_beside_the_best():
    text = table_of("a", "b", notes=["a note"], legend=["b: lr=1"]).text()
    assert text.startswith("a title\n+")
    assert re.search(r"\| a +\| +-0\.5 \(best\) \|", text)
    assert re.search(r"\| b +\| +-0\.5 \|", text)
    assert text.endswith("a note\nb: lr=1")


def test_markdown_is_a_table_with_bold_best_values():
    lines = table_of("a", "b").markdown().splitlines()
    assert lines[0] == "**a title**"
    assert lines[2:] == [
        "| variant |       pq |",
        "| :-------|--------: |",
        "| a       | **-0.5** |",
        "| b       |     -0.5 |",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain_head", "plain_head"),
        ("_x_", r"\_x\_"),
        ("a|b", r"a\|b"),
        ("<script>", r"\<script\>"),
        ("two\nlines", "two lines"),
        ("a*b*c `d` [e](f)", r"a\*b\*c \`d\` \[e\](f)"),
    ],
)
def test_markdown_prints_names_as_they_are(text, expected):
    assert escape_markdown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % & $5 #1_a", r"50 \% \& \$5 \#1\_a"),
        ("{x}", r"\{x\}"),
        ("a\\b", r"a\textbackslash{}b"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("1 ± 2", r"1 $\pm$ 2"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
    ],
)
def test_latex_prints_names_as_they_are(text, expected):
    assert escape_latex(text) == expected


def test_latex_is_a_booktabs_tabular():
    lines = table_of("a_b", "c", notes=["100 %"], legend=["c: x_y=1"]).latex().splitlines()
    assert lines == [
        "% a title",
        "% c: x_y=1",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"variant & pq \\",
        r"\midrule",
        r"a\_b & \textbf{$-$0.5} \\",
        r"c & $-$0.5 \\",
        r"\bottomrule",
        r"\multicolumn{2}{l}{\footnotesize 100 \%} \\",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize("name", ["[x] y", "*star"])
def test_a_name_cannot_become_an_option_of_the_row_break(name):
    text = table_of("first", name).latex()
    assert f"{{}}{name} &" in text


def test_comments_of_latex_stay_on_their_line():
    text = table_of("a", legend=["a: x=\n\\end{document}"]).latex()
    assert r"% a: x= \end{document}" in text.splitlines()


@pytest.mark.parametrize("text", ["1e-05", "a-b", "run-3"])
def test_hyphens_that_are_no_minus_stay(text):
    table = Table("", ["n", "x"], [[Cell("r"), Cell(text)]], frozenset({1}))
    assert f"& {text} " in table.latex()


def test_csv_keeps_every_digit_and_quotes_what_it_must():
    rows = list(csv.reader(io.StringIO(table_of('a,"b"\nc').csv())))
    assert rows[0] == ["n", "x", "y"]
    assert rows[1][0] == 'a,"b"\nc'
    assert float(rows[1][1]) == 0.1 + 0.2
    assert rows[1][2] == ""


def test_formats_are_chosen_by_name():
    table = table_of("a")
    made = {kind: table.formatted(kind) for kind in ("text", "markdown", "latex", "csv")}
    assert made == {
        "text": table.text(), "markdown": table.markdown(), "latex": table.latex(),
        "csv": table.csv(),
    }  # fmt: skip
