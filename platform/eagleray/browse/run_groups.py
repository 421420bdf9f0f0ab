"""Runs that differ in their seed alone, or agree in one setting: one row with mean and spread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eagleray.analysis.spread import Spread, spread
from eagleray.browse.filter import value_text
from eagleray.browse.run_rows import RunRow
from eagleray.experiment.paths import short_names
from eagleray.runs.settings import differing

SEEDS = "seeds"
"""Groups runs that agree in all settings but the seed."""
_NOT_COMPARED = ("seed", "run", "name", "storage")


@dataclass(frozen=True)
class RunGroup:
    """Some runs of one task, with the same metric.

    Args:
        label: What tells the group from others: values by setting.
        rows: Its runs.
        spread: Mean and deviation of their values.
    """

    label: Mapping[str, str]
    rows: Sequence[RunRow]
    spread: Spread

    @property
    def name(self) -> str:
        """The label as text; the experiment where nothing tells the group from others."""
        told = " ".join(f"{name}={value}" for name, value in self.label.items())
        return told or self.rows[0].entry.name.partition("/")[0]

    @property
    def seeds(self) -> list[Any]:
        """The seeds of its runs."""
        return sorted({row.settings["seed"] for row in self.rows if "seed" in row.settings})

    @property
    def best(self) -> RunRow | None:
        """Its best run; None where none has a value."""
        known = [row for row in self.rows if row.ours is not None]
        sign = 1 if self.rows[0].higher_is_better else -1
        return max(known, key=lambda row: sign * (row.ours or 0.0), default=None)

    @property
    def difference(self) -> float | None:
        """The mean minus the paper's."""
        paper, mean = self.rows[0].paper, self.spread.mean
        return None if paper is None or mean is None else mean - paper


def group_runs(rows: Sequence[RunRow], by: str) -> list[RunGroup]:
    """Return rows in groups, in the order of their first rows.

    Args:
        rows: Runs with their settings.
        by: ``SEEDS``, or any name that a filter understands.
    """
    groups: dict[tuple[str, ...], list[RunRow]] = {}
    for row in rows:
        if by == SEEDS:
            same = {k: v for k, v in row.settings.items() if k not in _NOT_COMPARED}
            value = json.dumps(same, sort_keys=True, default=str)
        else:
            value = value_text(row.value(by))
        groups.setdefault((row.entry.summary.task, row.metric, value), []).append(row)
    labels = [{by: key[2] or "(none)"} for key in groups]
    if by == SEEDS:
        labels = _labels([members[0] for members in groups.values()])
    return [
        RunGroup(label, members, spread(row.ours for row in members))
        for label, members in zip(labels, groups.values(), strict=True)
    ]


def _labels(first: Sequence[RunRow]) -> list[dict[str, str]]:
    """Return what tells runs apart, per task: others have other settings altogether."""
    labels: list[dict[str, str]] = [{} for _ in first]
    for task in {row.entry.summary.task for row in first}:
        places = [idx for idx, row in enumerate(first) if row.entry.summary.task == task]
        found = differing([first[idx].settings for idx in places])
        short = short_names([name for name in found if name not in _NOT_COMPARED])
        for name, label in short.items():
            for place, value in zip(places, found[name], strict=True):
                labels[place][label] = value_text(value)
    return labels
