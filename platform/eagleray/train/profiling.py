"""What training measures of itself: speed, memory, and a profiler's window."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from eagleray.storage import Store


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
