"""Progressive rendering: coarse at once, finer while the camera rests.

One thread per visitor renders; a newer wish interrupts the refinement of an older one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import EaglerayError
from eagleray.view.functions import Camera, ViewFunctions

_log = logging.getLogger(__name__)

RgbImage = npt.NDArray[np.uint8]

COARSE_TO_FINE = (8, 4, 2, 1)
"""Divisors of the full resolution, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a visitor wants to see.

    Args:
        camera: At full resolution.
        mode: What is shown.
        threshold: Threshold of the selection.
        selection: What was clicked at.
    """

    camera: Camera
    mode: str
    threshold: float
    selection: tuple[Any, ...]


def reduced(camera: Camera, divisor: int) -> Camera:
    """Return a camera with fewer pixels and the same view."""
    return replace(
        camera,
        width_px=max(1, camera.width_px // divisor),
        height_px=max(1, camera.height_px // divisor),
    )


class Painter:
    """Renders the newest wish of one visitor, coarse to fine.

    Args:
        functions: The task's functions.
        show: Takes a finished image.
        complain: Takes the text of an error.
        gate: Held while rendering, so that visitors take turns on one device.
    """

    def __init__(
        self,
        functions: ViewFunctions,
        show: Callable[[RgbImage], None],
        complain: Callable[[str], None],
        gate: threading.Lock,
    ) -> None:
        self._functions, self._show, self._complain = functions, show, complain
        self._gate = gate
        self._changed = threading.Condition()
        self._wish: Wish | None = None
        self._version = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="eagleray-view", daemon=True)
        self._thread.start()

    def want(self, wish: Wish) -> None:
        """Ask for an image; an older wish is dropped."""
        with self._changed:
            self._wish = wish
            self._version += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Stop rendering."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        done = 0
        while True:
            with self._changed:
                while not self._closed and self._version <= done:
                    self._changed.wait()
                if self._closed:
                    return
                wish, done = self._wish, self._version
            if wish is not None:
                self._refine(wish, done)

    def _refine(self, wish: Wish, version: int) -> None:
        for divisor in COARSE_TO_FINE:
            if self._version != version or self._closed:
                return
            try:
                with self._gate:
                    image = self._functions.look(
                        reduced(wish.camera, divisor), wish.mode, wish.threshold, wish.selection
                    )
                self._show(image)
            except EaglerayError as error:
                self._complain(str(error))
                return
            except Exception:
                _log.exception("rendering failed")
                self._complain("rendering failed; the log has the details")
                return
