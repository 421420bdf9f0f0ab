"""What a window shows is made by a thread of its own, for the newest request.

A scene that renders is shown progressively: coarse at once, finer while the camera rests. How
coarse the first image is follows from how long images took so far, counting apart those after which
only threshold or clicks changed. A scene that the browser draws is sent when something else than
the camera changed.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from eagleray.task import (
    Camera,
    EaglerayError,
    InteractiveScene,
    RgbImage,
    Solid,
    SolidScene,
    ViewRequest,
)
from eagleray.view.turns import Turns

_log = logging.getLogger(__name__)

COARSE_TO_FINE = (8, 4, 2, 1)
"""Divisors of the full resolution, in the order in which they are shown."""
FIRST_IMAGE_S = 0.15
"""The first image after a change should take no longer than this."""


class SupersededError(Exception):
    """Raised inside a rendering that nobody wants to see any more."""


def reduced(camera: Camera, divisor: int) -> Camera:
    """Return a camera with fewer pixels and the same view."""
    return replace(
        camera,
        width_px=max(1, camera.width_px // divisor),
        height_px=max(1, camera.height_px // divisor),
    )


class NewestRequest(ABC):
    """A thread that serves the newest request of one window; a newer one interrupts it.

    Args:
        complain: Takes the text of an error.
        turns: The device, which all windows share.
    """

    def __init__(self, complain: Callable[[str], None], turns: Turns) -> None:
        self._complain, self._turns = complain, turns
        self._changed = threading.Condition()
        self._request: ViewRequest[Any] | None = None
        self._version = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="eagleray-view", daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether serving has been stopped."""
        return self._closed

    def want(self, request: ViewRequest[Any]) -> None:
        """Ask for something; an older request is dropped."""
        with self._changed:
            self._request = request
            self._version += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Stop serving."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=30)

    @abstractmethod
    def _serve(self, request: ViewRequest[Any], version: int) -> None:
        """Show what a request asks for."""

    def _run(self) -> None:
        done = 0
        while True:
            with self._changed:
                while not self._closed and self._version <= done:
                    self._changed.wait()
                if self._closed:
                    return
                request, done = self._request, self._version
            if request is None:
                continue
            try:
                self._serve(request, done)
            except SupersededError:
                continue
            except EaglerayError as error:
                self._complain(str(error))
            except Exception:
                _log.exception("rendering failed")
                self._complain("rendering failed; the log has the details")


class Painter(NewestRequest):
    """Renders images, coarse to fine.

    Args:
        scene: What is looked at.
        show: Takes a finished image, and whether finer ones follow.
        complain: Takes the text of an error.
        turns: The device, which all windows share.
    """

    def __init__(
        self,
        scene: InteractiveScene[Any],
        show: Callable[[RgbImage, bool], None],
        complain: Callable[[str], None],
        turns: Turns,
    ) -> None:
        self._scene, self._show = scene, show
        self._seconds_per_px: dict[tuple[str, bool], float] = {}
        self._settled: tuple[Camera, str] | None = None
        super().__init__(complain, turns)

    def _serve(self, request: ViewRequest[Any], version: int) -> None:
        """Show ever finer images until a newer request comes; the first is shown in any case."""
        is_new = self._settled != (request.camera, request.mode)
        first = self._first_divisor(request, is_new=is_new)
        for divisor in (d for d in COARSE_TO_FINE if d <= first):
            image, seconds = self._image(request, divisor, version, urgent=divisor == first)
            self._seconds_per_px[request.mode, is_new] = seconds / (image.shape[0] * image.shape[1])
            if divisor == 1:
                self._settled = request.camera, request.mode
            self._show(image, divisor > 1)

    def _first_divisor(self, request: ViewRequest[Any], *, is_new: bool) -> int:
        """Return the finest divisor whose image is expected in time; the coarsest if unknown."""
        rate = self._seconds_per_px.get((request.mode, is_new), float("inf"))
        pixels = request.camera.width_px * request.camera.height_px
        quick = [d for d in COARSE_TO_FINE if rate * pixels / d**2 <= FIRST_IMAGE_S]
        return min(quick, default=COARSE_TO_FINE[0])

    def _image(
        self, request: ViewRequest[Any], divisor: int, version: int, *, urgent: bool
    ) -> tuple[RgbImage, float]:
        """Return one image and the seconds that it took."""

        def check() -> None:
            if self._closed or (self._version != version and not urgent):
                raise SupersededError
            if not urgent:
                self._turns.give_way()

        with self._turns.take(urgent=urgent):
            check()
            begin = time.perf_counter()
            smaller = replace(request, camera=reduced(request.camera, divisor))
            return self._scene.look(smaller, check), time.perf_counter() - begin


class SolidSender(NewestRequest):
    """Sends what the browser draws, where something else than the camera changed.

    Args:
        scene: What is looked at.
        show: Takes what is to be drawn, and the request that it answers.
        complain: Takes the text of an error.
        turns: The device, which all windows share.
    """

    def __init__(
        self,
        scene: SolidScene[Any],
        show: Callable[[Solid, ViewRequest[Any]], None],
        complain: Callable[[str], None],
        turns: Turns,
    ) -> None:
        self._scene, self._show = scene, show
        self._shown: tuple[Any, ...] | None = None
        self._answered: ViewRequest[Any] | None = None
        super().__init__(complain, turns)

    def _serve(self, request: ViewRequest[Any], version: int) -> None:
        wanted = (
            *(request.mode, request.threshold, request.frame, request.hidden, request.top),
            *map(id, request.selection),
        )
        if wanted == self._shown:
            return
        with self._turns.take(urgent=True):
            solid = self._scene.solid(request)
        if self._version == version:
            # The request is kept, so that the names of what was selected stay its own.
            self._shown, self._answered = wanted, request
            self._show(solid, request)
