"""Speed between two lines of metrics: items per second and the fraction of time spent waiting for
data.
"""

from __future__ import annotations

import time


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
