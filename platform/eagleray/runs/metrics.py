"""Training metrics: written by rank 0 as whole segments, read back as lines or as columns.

    metrics/<attempt>-<first step>.jsonl  every start of the workers is an attempt
    log/live.json                         the newest value of every metric
    tensorboard/                          events for TensorBoard (local storage only)

Where several attempts wrote the same step, the highest one counts: a run that was killed repeats
the steps since its last checkpoint. Segments are written whole, but a copied or damaged store may
hold half a line: what cannot be read is counted and left out.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.runs.strange_files import warn_once
from eagleray.storage import Store

_log = logging.getLogger(__name__)

FOLDER = "metrics"
_SEGMENT = re.compile(rf"{FOLDER}/\d{{4,}}-\d{{8,}}\.jsonl")
LIVE = "log/live.json"
TIME = "time"
"""Column with the time of an entry, seconds since 1970."""
_NOT_COLUMNS = ("kind", "step", "total_step", "phase", "attempt")
_LIVE_EVERY_S = 1.0
_SEGMENT_LINES = 200
_SEGMENT_S = 30.0

_STARTS = "log/starts"
"""Holds an empty file per start of the run's training."""


def next_attempt(run: Store) -> int:
    """Return the number of the attempt that begins now, from 1."""
    return 1 + max((_segment_order(path)[0] for path in segment_names(run)), default=0)


def claim_attempt(run: Store) -> int:
    """Return the number of the attempt that begins now, from 1; no other one ever gets it.

    Exclusive creation decides, so that also a driver that was cut off before it wrote anything, and
    comes back, has a number of its own.
    """
    attempt = max(next_attempt(run), 1 + newest_claim(run))
    while not run.create(f"{_STARTS}/{attempt:06d}", b""):
        attempt += 1
    return attempt


def newest_claim(run: Store) -> int:
    """Return the highest number that an attempt has claimed, 0 where none has. An attempt that
    finds a higher one than its own was cut off, and another driver has taken the run over.
    """
    names = (path.rpartition("/")[2] for path in run.files(_STARTS))
    return max((int(name) for name in names if name.isdigit()), default=0)


class MetricsWriter:
    """Collects lines and writes them in segments; used by rank 0 only.

    Args:
        run: The run's folder.
        attempt: Number of this start.
    """

    def __init__(self, run: Store, attempt: int) -> None:
        self._run, self._attempt = run, attempt
        self._lines: list[str] = []
        self._first_step = 0
        self._opened = time.monotonic()
        self._last_live = -_LIVE_EVERY_S
        self._live: dict[str, Any] = {}
        self._board: Any = None
        if run.is_local:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(
                str(run.local_path("tensorboard")), filename_suffix=f".{attempt}"
            )

    def write(
        self,
        kind: str,
        *,
        phase: str,
        step: int,
        total_step: int,
        end_step: int,
        values: Mapping[str, float],
    ) -> None:
        """Add a line.

        Args:
            kind: ``train`` or ``validate``.
            phase: Name of the phase.
            step: Optimizer steps done in the phase.
            total_step: Optimizer steps done in all phases.
            end_step: Optimizer step of the phase at which this call ends.
            values: The metrics.
        """
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        line = {
            "kind": kind,
            "phase": phase,
            "step": step,
            "total_step": total_step,
            "time": time.time(),
            **finite,
        }
        if not self._lines:
            self._first_step, self._opened = total_step, time.monotonic()
        self._lines.append(json.dumps(line))
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, total_step)
        self._live = {**self._live, **line, "end_step": end_step}
        if kind == "validate":
            self._live["validated_step"] = total_step
        now = time.monotonic()
        if now - self._last_live >= _LIVE_EVERY_S:
            self._write_live(now)
        if len(self._lines) >= _SEGMENT_LINES or now - self._opened >= _SEGMENT_S:
            self.flush()

    def flush(self) -> None:
        """Write the collected lines as one segment."""
        if self._lines:
            name = f"{self._attempt:04d}-{self._first_step:08d}.jsonl"
            self._run.write(f"{FOLDER}/{name}", ("\n".join(self._lines) + "\n").encode())
            self._lines = []
        if self._board is not None:
            self._board.flush()

    def _write_live(self, now: float) -> None:
        self._last_live = now
        self._run.write(LIVE, json.dumps(self._live).encode())

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        if self._live:
            self._write_live(time.monotonic())
        if self._board is not None:
            self._board.close()


_Lines = dict[tuple[int, str], dict[str, Any]]
"""Lines by total step and kind."""


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
    """Return the paths of a run's metric segments, in the order of attempts and steps; files that
    are none (somebody's copies) are passed over with a warning.
    """
    paths = run.files(FOLDER)
    ours = [path for path in paths if _SEGMENT.fullmatch(path)]
    for path in paths:
        if path not in ours:
            warn_once(_log, f"{run.uri}/{path} holds no metrics of this run and is passed over")
    return sorted(ours, key=_segment_order)


def parse_segments(segments: Mapping[str, bytes], newest: bytes = b"") -> History:
    """Return the history in the contents of segments by path, see ``read_history``.

    Args:
        segments: Content by path.
        newest: A line that counts where no segment has come as far.
    """
    lines, damaged = _merge(segments)
    for line in _parse_lines(newest)[0]:
        step = _step(line)
        if step is not None and step > max((s for s, _ in lines), default=-1):
            lines[step, _kind(line)] = line
    highest = max((_segment_order(path)[0] for path in segments), default=0)
    return _history(lines, highest, damaged)


def read_lines(run: Store) -> list[dict[str, Any]]:
    """Return all lines by total step, those of the highest attempt where attempts overlap."""
    lines, _ = _merge(run.read_many(segment_names(run)))
    return [lines[key] for key in sorted(lines)]


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


def _merge(segments: Mapping[str, bytes]) -> tuple[_Lines, int]:
    """Return the lines that count, and the number of those that cannot be read."""
    lines: _Lines = {}
    damaged = 0
    for path in sorted(segments, key=_segment_order):
        found, unreadable = _parse_lines(segments[path])
        damaged += unreadable
        for line in found:
            step = _step(line)
            if step is None:
                damaged += 1
            else:
                lines[step, _kind(line)] = line
    return lines, damaged


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


def _history(lines: _Lines, attempts: int, damaged: int) -> History:
    steps = sorted({step for step, _ in lines})
    position = {step: idx for idx, step in enumerate(steps)}
    phases = [""] * len(steps)
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for (step, kind), line in lines.items():
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
