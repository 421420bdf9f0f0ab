"""Tables of results: paper / ours / difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prettytable import PrettyTable

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


def comparisons(result: Mapping[str, Any]) -> list[Comparison]:
    """Return every metric of a results JSON beside each number published for it, or alone."""
    rows = []
    for metric, value in result["values"].items():
        published = [p for p in result.get("published", []) if p["metric"] == metric]
        for known in published:
            source = " ".join(filter(None, (known["model"], known["source"])))
            rows.append(Comparison(metric, known["value"], value, source, known["recalled"]))
        if not published:
            rows.append(Comparison(metric, None, value))
    return rows


def benchmark_table(result: Mapping[str, Any], untrained: Mapping[str, Any] | None = None) -> str:
    """Return one benchmark's metrics beside its published numbers.

    Args:
        result: A results JSON as ``evaluate`` writes it: ``benchmark``, ``checkpoint``, ``values``
            and ``published``.
        untrained: The same benchmark's results before training, shown beside it.
    """
    columns = ["metric", "paper", "ours", "difference", "source"]
    table = _table([*columns[:2], "untrained", *columns[2:]] if untrained else columns)
    published = result.get("published", [])
    for metric, value in result["values"].items():
        for row in [p for p in published if p["metric"] == metric] or [None]:
            paper = "" if row is None else f"{row['value']:.4g}{RECALLED * row['recalled']}"
            known = row is not None and value is not None
            difference = f"{value - row['value']:+.4g}" if known else ""
            source = "" if row is None else " ".join(filter(None, (row["model"], row["source"])))
            before = [_number(untrained["values"].get(metric))] if untrained else []
            table.add_row([metric, paper, *before, _number(value), difference, source])
    title = f"{result['benchmark']} ({result['checkpoint']} checkpoint, {result['units']} units)"
    marked = any(p["recalled"] for p in published)
    note = f"\n{RECALLED} quoted from memory, to be checked" if marked else ""
    return f"{title}\n{table.get_string()}{note}"


def results_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return one table of paper / ours / difference over several results.

    Args:
        results: Results JSONs as ``evaluate`` writes them.
    """
    columns = (
        "benchmark",
        "checkpoint",
        "units",
        "metric",
        "paper",
        "ours",
        "difference",
        "source",
    )
    table = _table(columns)
    for result in results:
        first = (result["benchmark"], result["checkpoint"], result["units"])
        for row in comparisons(result):
            paper = f"{_number(row.paper)}{RECALLED * row.is_recalled}"
            difference = "" if row.difference is None else f"{row.difference:+.4g}"
            table.add_row([*first, row.metric, paper, _number(row.ours), difference, row.source])
            first = ("", "", "")
    marked = any(p["recalled"] for result in results for p in result.get("published", []))
    note = f"\n{RECALLED} quoted from memory, to be checked" if marked else ""
    return f"{table.get_string()}{note}"


def run_tables(summary: Mapping[str, Any]) -> list[str]:
    """Return a table per benchmark and checkpoint of a run, with what it was before training."""
    results = summary.get("results", {})
    untrained = {r["benchmark"]: r for r in results.values() if r["checkpoint"] == "initial"}
    trained = [r for r in results.values() if r["checkpoint"] != "initial"]
    return [
        benchmark_table(r, untrained.get(r["benchmark"]))
        for r in trained or list(untrained.values())
    ]


def runs_table(summaries: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return one line per run: its state and its primary metric on each benchmark."""
    table = _table(["run", "task", "state", "step", "benchmark", "checkpoint", "metric", "ours"])
    for name, summary in summaries:
        results = summary.get("results") or {"": {}}
        for result in results.values():
            metric = result.get("metric", "")
            value = result.get("values", {}).get(metric)
            table.add_row(
                [
                    name,
                    summary.get("task", "?"),
                    summary.get("state", "?"),
                    summary.get("step", ""),
                    result.get("benchmark", ""),
                    result.get("checkpoint", ""),
                    metric,
                    _number(value),
                ]
            )
    return str(table.get_string())


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
