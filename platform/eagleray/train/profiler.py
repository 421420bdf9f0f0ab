"""A profiler window over some optimizer steps; the trace goes into the run's log folder
(chrome://tracing).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from eagleray.storage import Store


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
