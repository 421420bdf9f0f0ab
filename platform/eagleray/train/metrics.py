"""What training reports: whole JSON-lines segments with TensorBoard events beside them; speed,
memory, and a profiler's window.

metrics/<attempt>-<first step>.jsonl  every start of the workers is an attempt; per step the
                                      highest attempt counts
tensorboard/                          events for TensorBoard (local storage only)
log/live.json                         the newest value of every metric
"""

from __future__ import annotations

import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from eagleray.storage import Store

_FOLDER = "metrics"
LIVE = "log/live.json"
_LIVE_EVERY_S = 1.0
_SEGMENT_LINES = 200
_SEGMENT_S = 30.0


def next_attempt(run: Store) -> int:
    """Return the number of the attempt that begins now, from 1."""
    return 1 + max((_attempt(p) for p in run.files(_FOLDER)), default=0)


def read_metrics(run: Store) -> list[dict[str, Any]]:
    """Return all lines by total step; where attempts overlap, those of the highest attempt."""
    lines: dict[tuple[int, str], dict[str, Any]] = {}
    for path in sorted(run.files(_FOLDER), key=_attempt):
        for text in run.read(path).decode().splitlines():
            line = json.loads(text)
            lines[(line["total_step"], line["kind"])] = line
    return [lines[key] for key in sorted(lines)]


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
            self._run.write(f"{_FOLDER}/{name}", ("\n".join(self._lines) + "\n").encode())
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


def _attempt(path: str) -> int:
    return int(path.rpartition("/")[2].partition("-")[0])


class Throughput:
    """Measures from its creation or the last ``read``; pauses (validation, checkpoints) are left
    out.
    """

    def __init__(self, waited_s: float = 0.0) -> None:
        self._begin = time.perf_counter()
        self._items = 0
        self._waited_before = waited_s

    def count(self, items: int) -> None:
        """Count trained samples over all ranks."""
        self._items += items

    def pause(self, seconds: float) -> None:
        """Leave out time that was not training."""
        self._begin += seconds

    def read(self, waited_s: float) -> dict[str, float]:
        """Return the speed and begin anew.

        Args:
            waited_s: Seconds that the loader has waited so far, in all.
        """
        now = time.perf_counter()
        seconds = max(now - self._begin, 1e-9)
        values = {
            "items_per_s": self._items / seconds,
            "wait_fraction": min((waited_s - self._waited_before) / seconds, 1.0),
        }
        self._begin, self._items, self._waited_before = now, 0, waited_s
        return values


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory used so far in MB: allocated on a GPU, else resident in this
    process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


class ProfilerWindow:
    """Profiles from the first to the last step of the window.

    Args:
        window: First and last optimizer step of the phase, from 0; None for never.
        run: The run's folder.
        label: Part of the trace's file name.
    """

    def __init__(self, window: tuple[int, int] | None, run: Store, label: str) -> None:
        self._window, self._run, self._label = window, run, label
        self._profile: torch.profiler.profile | None = None

    def before_step(self, step: int) -> None:
        """Begin if the window does."""
        if self._window is not None and self._profile is None and step == self._window[0]:
            self._profile = torch.profiler.profile(record_shapes=True)
            self._profile.start()

    def after_step(self, step: int) -> None:
        """End if the window does."""
        if self._window is not None and step >= self._window[1]:
            self.close()

    def close(self) -> None:
        """Write the trace if one is being taken."""
        if self._profile is None:
            return
        self._profile.stop()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self._profile.export_chrome_trace(str(path))
            self._run.write(f"log/profile-{self._label}.json", path.read_bytes())
        self._profile, self._window = None, None
