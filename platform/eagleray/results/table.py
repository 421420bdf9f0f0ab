"""Tables of results: paper / ours / difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prettytable import PrettyTable

RECALLED = "*"
"""Mark of a published number that is quoted from memory."""


def benchmark_table(result: Mapping[str, Any]) -> str:
    """Return one benchmark's metrics beside its published numbers.

    Args:
        result: A results JSON as ``evaluate`` writes it: ``benchmark``, ``checkpoint``, ``values``
            and ``published``.
    """
    table = _table(["metric", "paper", "ours", "difference", "source"])
    published = result.get("published", [])
    for metric, value in result["values"].items():
        rows = [p for p in published if p["metric"] == metric] or [None]
        for row in rows:
            paper = "" if row is None else f"{row['value']:.4g}{RECALLED * row['recalled']}"
            known = row is not None and value is not None
            difference = f"{value - row['value']:+.4g}" if known else ""
            source = "" if row is None else " ".join(filter(None, (row["model"], row["source"])))
            table.add_row([metric, paper, _number(value), difference, source])
    title = f"{result['benchmark']} ({result['checkpoint']} checkpoint, {result['units']} units)"
    marked = any(p["recalled"] for p in published)
    note = f"\n{RECALLED} quoted from memory, to be checked" if marked else ""
    return f"{title}\n{table.get_string()}{note}"


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
