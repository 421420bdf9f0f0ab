"""Who may render: one at a time, and short work before long work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Turns:
    """Lets renderings take turns on one device.

    A click or the first coarse image is urgent. Whoever does something longer calls ``give_way``
    now and then, which lets urgent work go first.
    """

    def __init__(self) -> None:
        self._device = threading.Lock()
        self._changed = threading.Condition()
        self._urgent = 0

    @contextlib.contextmanager
    def take(self, *, urgent: bool = False) -> Iterator[None]:
        """Hold the device.

        Args:
            urgent: Ask whoever holds it to give way.
        """
        self._count(1 if urgent else 0)
        self._device.acquire()
        self._count(-1 if urgent else 0)
        try:
            yield
        finally:
            self._device.release()

    def give_way(self) -> None:
        """Let waiting urgent work go first; called by who holds the device, and holds it after."""
        if self._urgent == 0:
            return
        self._device.release()
        with self._changed:
            self._changed.wait_for(lambda: self._urgent == 0)
        self._device.acquire()

    def _count(self, change: int) -> None:
        with self._changed:
            self._urgent += change
            self._changed.notify_all()
