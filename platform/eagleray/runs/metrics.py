"""Training metrics of a run, read from its segments ``metrics/<attempt>-<first step>.jsonl``.

Segments are written whole, but a copied or damaged store may hold half a line: what cannot be read
is counted and left out. Where several attempts wrote the same step, the highest one counts. The
newest line, whose segment may not be written yet, is also in ``log/live.json``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.storage import Store

FOLDER = "metrics"
LIVE = "log/live.json"
TIME = "time"
"""Column with the time of an entry, seconds since 1970."""
_NOT_COLUMNS = ("kind", "step", "total_step", "phase", "attempt")


@dataclass(frozen=True, slots=True)
class History:
    """What was logged during training, one entry per optimizer step that logged something.

    Args:
        steps: Optimizer steps over all phases, int64 (n,), ascending.
        phases: Phase of each entry.
        columns: Values by ``kind/name`` (``train/loss``, ``validate/miou``), float64 (n,), NaN
            where a step did not log it; ``time`` has none of the kinds.
        attempts: Highest attempt that wrote a segment, 0 where there is none.
        damaged_lines: Lines that could not be read.
    """

    steps: npt.NDArray[np.int64]
    phases: tuple[str, ...]
    columns: Mapping[str, npt.NDArray[np.float64]]
    attempts: int = 0
    damaged_lines: int = 0

    def __len__(self) -> int:
        return len(self.steps)

    def last(self) -> dict[str, float]:
        """Return the latest finite value of every column."""
        found = {}
        for name, values in self.columns.items():
            finite = np.flatnonzero(np.isfinite(values))
            if len(finite):
                found[name] = float(values[finite[-1]])
        return found

    def curve(
        self, name: str, *, by_time: bool = False
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the points of one column without its gaps.

        Args:
            name: A column; an unknown one has no points.
            by_time: x is the time since the first entry in s instead of the step.

        Returns:
            x and y, float64 (m,) each.
        """
        if name not in self.columns:
            return np.empty(0), np.empty(0)
        values = self.columns[name]
        there = ~np.isnan(values)
        x = self._elapsed_s() if by_time else self.steps.astype(np.float64)
        return x[there], values[there]

    def _elapsed_s(self) -> npt.NDArray[np.float64]:
        times = self.columns.get(TIME, np.full(len(self), np.nan))
        first = times[np.isfinite(times)][:1]
        return times - (first[0] if len(first) else 0.0)


def read_history(run: Store) -> History:
    """Return everything that a run has logged; empty where it has logged nothing.

    Args:
        run: The run's folder.
    """
    segments = run.read_many([*segment_names(run), LIVE])
    newest = segments.pop(LIVE, b"")
    return parse_segments(segments, newest)


def segment_names(run: Store) -> list[str]:
    """Return the paths of a run's metric segments, in the order of attempts and steps."""
    return sorted((p for p in run.files(FOLDER) if p.endswith(".jsonl")), key=_segment_order)


def parse_segments(segments: Mapping[str, bytes], newest: bytes = b"") -> History:
    """Return the history in the contents of segments by path, see ``read_history``.

    Args:
        segments: Content by path.
        newest: A line that counts where no segment has come as far.
    """
    entries: dict[tuple[int, str], dict[str, Any]] = {}
    damaged, highest = 0, 0
    for path in sorted(segments, key=_segment_order):
        highest = max(highest, _segment_order(path)[0])
        lines, unreadable = _parse_lines(segments[path])
        damaged += unreadable
        for line in lines:
            step = _step(line)
            if step is None:
                damaged += 1
            else:
                entries[step, _kind(line)] = line
    for line in _parse_lines(newest)[0]:
        step = _step(line)
        if step is not None and step > max((s for s, _ in entries), default=-1):
            entries[step, _kind(line)] = line
    return _history(entries, highest, damaged)


def smooth(values: npt.NDArray[np.float64], weight: float) -> npt.NDArray[np.float64]:
    """Return the exponential moving average of a curve, without the pull of its first value.

    Args:
        values: float64 (n,); what is not finite is passed over and kept.
        weight: Share of the past in each new value, from 0 (the curve itself) to below 1.

    Example:
        >>> smooth(np.array([1.0, 0.0, 1.0]), 0.5).round(3).tolist()
        [1.0, 0.333, 0.714]
    """
    if weight <= 0:
        return values
    smoothed = np.array(values, dtype=np.float64)
    average, mass = 0.0, 0.0
    for idx in np.flatnonzero(np.isfinite(values)):
        average = weight * average + (1 - weight) * float(values[idx])
        mass = weight * mass + (1 - weight)
        smoothed[idx] = average / mass
    return smoothed


def flatten(values: Mapping[str, Any], prefix: str = "", separator: str = "/") -> dict[str, Any]:
    """Return nested mappings as one, their keys joined by ``separator``.

    Example:
        >>> flatten({"lr": 0.1, "losses": {"mask": 2.0}})
        {'lr': 0.1, 'losses/mask': 2.0}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}{separator}", separator))
        else:
            flat[name] = value
    return flat


def _segment_order(path: str) -> tuple[int, int, str]:
    attempt, _, first = path.rpartition("/")[2].removesuffix(".jsonl").partition("-")
    number = int(attempt) if attempt.isdecimal() else 0
    return number, int(first) if first.isdecimal() else 0, path


def _parse_lines(content: bytes) -> tuple[list[dict[str, Any]], int]:
    raw = [line for line in content.split(b"\n") if line.strip()]
    try:
        found = json.loads(b"[" + b",".join(raw) + b"]")
    except ValueError:
        found = [_parse_line(line) for line in raw]
    lines = [line for line in found if isinstance(line, dict)]
    return lines, len(raw) - len(lines)


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _history(
    entries: Mapping[tuple[int, str], Mapping[str, Any]], attempts: int, damaged: int
) -> History:
    steps = sorted({step for step, _ in entries})
    position = {step: idx for idx, step in enumerate(steps)}
    phases = [""] * len(steps)
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for (step, kind), line in entries.items():
        idx = position[step]
        phases[idx] = str(line.get("phase", ""))
        for name, value in flatten(line).items():
            number = _number(value)
            if number is None or name in _NOT_COLUMNS:
                continue
            column = name if name == TIME else f"{kind}/{name}"
            if column not in columns:
                columns[column] = np.full(len(steps), np.nan)
            columns[column][idx] = number
    return History(np.array(steps, dtype=np.int64), tuple(phases), columns, attempts, damaged)


def _step(line: Mapping[str, Any]) -> int | None:
    step = line.get("total_step", line.get("step"))
    return step if type(step) is int else None


def _kind(line: Mapping[str, Any]) -> str:
    return str(line.get("kind", "train"))


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
