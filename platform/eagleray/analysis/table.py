"""Tables of results: paper / ours / difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prettytable import PrettyTable

from eagleray.analysis.table_formats import Cell, Table
from eagleray.runs.records import INITIAL, EvaluationResult, RunSummary

RECALLED = "*"
"""Mark of a published number that is quoted from memory."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric of ours beside one published number; either may be missing."""

    metric: str
    paper: float | None
    ours: float | None
    source: str = ""
    is_recalled: bool = False

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, None where one is missing."""
        return None if self.paper is None or self.ours is None else self.ours - self.paper


def comparisons(result: EvaluationResult) -> list[Comparison]:
    """Return every metric of a result beside each number published for it, or alone."""
    rows = []
    for metric, value in result.values.items():
        published = [p for p in result.published if p.metric == metric]
        for known in published:
            source = " ".join(filter(None, (known.model, known.source)))
            rows.append(Comparison(metric, known.value, value, source, known.recalled))
        if not published:
            rows.append(Comparison(metric, None, value))
    return rows


def benchmark_table(result: EvaluationResult, untrained: EvaluationResult | None = None) -> str:
    """Return one benchmark's metrics beside its published numbers.

    Args:
        result: The result.
        untrained: The same benchmark's result before training, shown beside it.
    """
    columns = ["metric", "paper", "ours", "difference", "source"]
    table = _table([*columns[:2], "untrained", *columns[2:]] if untrained else columns)
    for row in comparisons(result):
        before = [_number(untrained.values.get(row.metric))] if untrained else []
        ours = (_number(row.ours), _difference(row))
        table.add_row([row.metric, _paper(row), *before, *ours, row.source])
    title = f"{result.benchmark} ({result.checkpoint} checkpoint, {result.units} units)"
    return f"{title}\n{table.get_string()}{_note([result])}"


def results_table(results: Sequence[EvaluationResult]) -> str:
    """Return one table of paper / ours / difference over several results."""
    table = _table(
        ["benchmark", "checkpoint", "units", "metric", "paper", "ours", "difference", "source"]
    )
    for result in results:
        first: tuple[object, ...] = (result.benchmark, result.checkpoint, result.units)
        for row in comparisons(result):
            ours = (_number(row.ours), _difference(row))
            table.add_row([*first, row.metric, _paper(row), *ours, row.source])
            first = ("", "", "")
    return f"{table.get_string()}{_note(results)}"


def run_tables(summary: RunSummary) -> list[str]:
    """Return a table per benchmark and checkpoint of a run, with what it was before training."""
    untrained = {r.benchmark: r for r in summary.results if r.checkpoint == INITIAL}
    trained = [r for r in summary.results if r.checkpoint != INITIAL]
    return [
        benchmark_table(r, untrained.get(r.benchmark)) for r in trained or list(untrained.values())
    ]


def runs_listing(summaries: Sequence[tuple[str, RunSummary]]) -> Table:
    """Return one row per run and result: its state and its primary metric."""
    columns = ("run", "task", "state", "step", "benchmark", "checkpoint", "metric", "ours")
    rows: list[list[Any]] = []
    for name, summary in summaries:
        first = [name, summary.task or "?", summary.state or "?", summary.step]
        rows += [[*first, r.benchmark, r.checkpoint, r.metric, r.value] for r in summary.results]
        if not summary.results:
            rows.append([*first, "", "", "", None])
    return _as_table("Runs", columns, rows, {3, 7})


def results_listing(summaries: Sequence[tuple[str, RunSummary]]) -> Table:
    """Return one row per run, checkpoint, benchmark and metric: paper / ours / difference."""
    columns = (
        *("run", "benchmark", "checkpoint", "metric", "paper", "ours", "difference"),
        "source",
    )
    rows: list[list[Any]] = []
    results = [(name, result) for name, summary in summaries for result in summary.results]
    for name, result in results:
        for row in comparisons(result):
            source = f"{row.source} {RECALLED}" if row.is_recalled else row.source
            numbers = (row.paper, row.ours, row.difference)
            first = [name, result.benchmark, result.checkpoint, row.metric]
            rows.append([*first, *numbers, source])
    note = _note([result for _, result in results]).strip()
    return _as_table("Results", columns, rows, {4, 5, 6}, [note] if note else [])


def _as_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    numbers: set[int],
    notes: Sequence[str] = (),
) -> Table:
    cells = [[Cell(_number(v) if isinstance(v, float) else _text(v)) for v in r] for r in rows]
    return Table(
        title=title,
        columns=columns,
        rows=cells,
        numbers=frozenset(numbers),
        notes=notes,
        data_columns=columns,
        data_rows=rows,
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a left-aligned table."""
    table = _table(columns)
    for row in rows:
        table.add_row([str(cell) for cell in row])
    return str(table.get_string())


def _table(columns: Sequence[str]) -> PrettyTable:
    table = PrettyTable(list(columns))
    table.align = "l"
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _paper(row: Comparison) -> str:
    return f"{_number(row.paper)}{RECALLED * row.is_recalled}"


def _difference(row: Comparison) -> str:
    return "" if row.difference is None else f"{row.difference:+.4g}"


def _note(results: Sequence[EvaluationResult]) -> str:
    marked = any(published.recalled for result in results for published in result.published)
    return f"\n{RECALLED} quoted from memory, to be checked" if marked else ""
