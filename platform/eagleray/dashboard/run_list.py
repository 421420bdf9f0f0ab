"""Which runs an address asks for, in which order, alone or in groups, and the same as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eagleray.browse.filter import read_filter, value_text
from eagleray.browse.index import RunEntry
from eagleray.browse.run_groups import RunGroup, group_runs
from eagleray.browse.run_rows import RunRow, make_row
from eagleray.dashboard.address import Address
from eagleray.dashboard.elements import sorted_rows
from eagleray.dashboard.source import Source

ORDER: Mapping[str, Callable[[RunRow], Any]] = {
    "run": lambda row: row.entry.name,
    "task": lambda row: row.entry.summary.task,
    "state": lambda row: row.entry.state,
    "step": lambda row: row.entry.summary.step,
    "metric": lambda row: row.metric,
    "best": lambda row: row.best,
    "last": lambda row: row.last,
    "paper": lambda row: row.paper,
    "difference": lambda row: row.difference,
    "changed": lambda row: row.entry.changed_s,
}
"""What runs are sorted by, by the name of the column."""
GROUP_ORDER: Mapping[str, Callable[[RunGroup], Any]] = {
    "group": lambda group: group.name,
    "task": lambda group: group.rows[0].entry.summary.task,
    "runs": lambda group: len(group.rows),
    "seeds": lambda group: len(group.seeds),
    "metric": lambda group: group.rows[0].metric,
    "mean": lambda group: group.spread.mean,
    "±": lambda group: group.spread.deviation,
    "best": lambda group: group.best.ours if group.best else None,
    "paper": lambda group: group.rows[0].paper,
    "difference": lambda group: group.difference,
}
"""What groups are sorted by."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def chosen_runs(
    source: Source, runs: Sequence[RunEntry], address: Address
) -> tuple[list[RunRow], list[str]]:
    """Return the runs that an address asks for, in its order, and what is wrong with its filter.

    Settings are looked at only where the address names something that may be one.
    """
    terms, order = read_filter(address.one("q")), address.one("sort") or "-changed"
    column = order.removeprefix("-")
    columns, group = address.many("col"), address.one("group")
    is_deep = bool(terms.names or columns or group or column not in ORDER)
    settings = source.settings.of([run.name for run in runs]) if is_deep else {}
    asked = {"task": address.one("task"), "state": address.one("state")}
    rows = [
        make_row(run, address.one("metric"), settings.get(run.name))
        for run in runs
        if asked["task"] in ("", run.summary.task)
        and asked["state"] in ("", run.state)
        and is_shown(run, address)
    ]
    chosen, problems = terms.chosen(rows, "run")
    if group:
        return chosen, problems
    by = dict(ORDER) if column in ORDER else {**ORDER, column: sort_key(column)}
    return sorted_rows(chosen, order, by, "changed"), problems


def is_shown(run: RunEntry, address: Address) -> bool:
    """Return whether an address asks for a run by whether it is put aside."""
    wanted = address.one("show")
    return wanted == "all" or run.marks.archived == (wanted == "archived")


def chosen_groups(rows: Sequence[RunRow], address: Address) -> list[RunGroup]:
    """Return runs in the groups that an address asks for, in its order."""
    groups = group_runs(rows, address.one("group"))
    return sorted_rows(groups, address.one("sort") or "-mean", GROUP_ORDER, "mean")


def sort_key(name: str) -> Callable[[RunRow], Any]:
    """Return what runs are sorted by in a column of any name: numbers before texts."""

    def key(row: RunRow) -> tuple[int, Any] | None:
        value = row.value(name)
        if value is None:
            return None
        is_number = isinstance(value, int | float)
        return (0, value) if is_number else (1, value_text(value))

    return key


def runs_csv(source: Source, address: Address) -> str:
    """Return the runs or groups that an address asks for, all pages of them, with every digit."""
    rows, _ = chosen_runs(source, source.runs(), address)
    columns = address.many("col")
    if address.one("group"):
        heads = list(GROUP_ORDER)
        lines = [[of(g) for of in GROUP_ORDER.values()] for g in chosen_groups(rows, address)]
    else:
        heads = [*ORDER, *columns, "tags", "note"]
        lines = [
            [
                *(of(row) for of in ORDER.values()),
                *(row.value(name) for name in columns),
                " ".join(row.entry.marks.tags),
                row.entry.marks.note,
            ]
            for row in rows
        ]
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerows([heads, *([_cell(value) for value in line] for line in lines)])
    return written.getvalue()


def _cell(value: Any) -> Any:
    """Return a value for a cell; a text must not be a formula to who opens the file."""
    if value is None or isinstance(value, int | float):
        return value
    text = value_text(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
