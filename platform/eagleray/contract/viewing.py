"""Interactive viewing: how a trained scene is walked through and clicked at in a browser.

The engine owns the port, the access and the queue of requests; the task renders. Positions and
directions are in the scene's own coordinates; cameras have axes right, down, forward, square pixels
and a central principal point.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

import numpy as np
import numpy.typing as npt

from eagleray.contract.base import ModelTask
from eagleray.contract.generics import K, M

RgbImage = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera of the viewer.

    Args:
        position: (3,) where it stands.
        wxyz: (4,) unit quaternion world_from_cam, scalar first.
        fov_rad: Vertical field of view.
        width_px: Image width.
        height_px: Image height.
    """

    position: tuple[float, float, float]
    wxyz: tuple[float, float, float, float]
    fov_rad: float
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """Where a viewer begins.

    Args:
        position: (3,) where it stands.
        look_at: (3,) point that it looks at.
        up: (3,) direction that is up on the screen, of any length.
        fov_rad: Vertical field of view.
    """

    position: tuple[float, float, float]
    look_at: tuple[float, float, float]
    up: tuple[float, float, float]
    fov_rad: float


@dataclass(frozen=True, slots=True)
class ViewRequest(Generic[K]):
    """What somebody wants to see.

    Args:
        camera: From where.
        mode: One of ``InteractiveScene.modes``.
        threshold: Pixels more similar than this to what was clicked at are selected, 0 to 1.
        selection: What ``pick`` gave for each click.
    """

    camera: Camera
    mode: str
    threshold: float
    selection: tuple[K, ...] = ()


class InteractiveScene(Protocol[K]):
    """A trained scene that answers a viewer; ``K`` is what stands for a click.

    Every method may raise InputError, which the viewer shows to the person who asked.
    """

    @property
    def modes(self) -> Sequence[str]:
        """What ``look`` can show; the first one is shown at the beginning."""
        ...

    @property
    def selection_mode(self) -> str | None:
        """The mode that the first click switches to; None for no change."""
        ...

    @property
    def downloads(self) -> Sequence[str]:
        """What ``save`` can make."""
        ...

    @property
    def has_levels(self) -> bool:
        """Whether ``thresholds`` can tell wholes from parts."""
        ...

    def start(self) -> Viewpoint:
        """Return where a viewer begins."""
        ...

    def look(self, request: ViewRequest[K], check: Callable[[], None]) -> RgbImage:
        """Return what a camera sees, (H, W, 3) uint8 RGB.

        Call ``check`` now and then and let pass what it raises: the image is no longer wanted.
        """
        ...

    def pick(self, camera: Camera, column: int, row: int, *, positive: bool) -> K:
        """Return what stands for a click at a pixel of a camera's image; ``positive`` says whether
        the thing clicked at is to be selected.
        """
        ...

    def thresholds(self, request: ViewRequest[K]) -> Sequence[float]:
        """Return the thresholds that select the whole thing clicked at, and ever smaller parts."""
        ...

    def save(
        self, request: ViewRequest[K], what: str, note: Callable[[str], None]
    ) -> tuple[str, bytes]:
        """Return name and content of a file, one of ``downloads``.

        Call ``note`` now and then to say how far it is, and let pass what it raises.
        """
        ...


class Viewing(ModelTask[M], Generic[M]):
    """A task whose trained scene can be looked at and clicked."""

    @abstractmethod
    def interactive_scene(self, model: M) -> InteractiveScene[Any]:
        """Return the scene that the model was trained on; ``model`` is on its device.

        Called by the viewer, once, with the model in eval mode.
        """
