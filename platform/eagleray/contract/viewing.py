"""Interactive viewing: how a trained scene is walked through and clicked at in a browser.

The engine owns the port, the access and the queue of requests. A task gives a ``Scene``: one whose
images it renders itself (``InteractiveScene``), or one that the browser draws (``SolidScene``).
What else it offers it says by further functions: several frames, questions in words, parts that can
be switched off, pictures beside. Positions and directions are in the scene's own coordinates;
cameras have axes right, down, forward, square pixels and a central principal point.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from eagleray.contract.base import ModelTask
from eagleray.contract.generics import K, M
from eagleray.contract.prepare import Rows

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
        mode: One of ``Scene.modes``.
        threshold: What is more similar than this to the selection is selected, 0 to 1.
        selection: What ``pick`` gave for each click, and ``ask`` for each question.
        frame: One of ``FramedScene.frames``; empty where there are none.
        hidden: Which of ``PartedScene.parts`` are switched off.
        top: What lies higher is left out, in the scene's units; None: nothing.
    """

    camera: Camera
    mode: str
    threshold: float
    selection: tuple[K, ...] = ()
    frame: str = ""
    hidden: tuple[str, ...] = ()
    top: float | None = None


@dataclass(frozen=True, slots=True)
class Solid:
    """What the browser draws, and turns without asking again.

    Args:
        centers: (n, 3) float32 places.
        colors: (n, 3) uint8 RGB.
        sides: Lengths of upright boxes, all of one size; None draws points.
        point_size: Diameter of points.
    """

    centers: npt.NDArray[np.float32]
    colors: RgbImage
    sides: tuple[float, float, float] | None = None
    point_size: float = 0.1


@runtime_checkable
class Scene(Protocol[K]):
    """What a viewer can show of a trained model; ``K`` is what stands for a click or a question.

    Every method may raise InputError, which the viewer shows to the person who asked. Several
    people may look at once: a scene keeps nothing of what one of them asked.
    """

    @property
    def modes(self) -> Sequence[str]:
        """What can be shown; the first one is shown at the beginning."""
        ...

    @property
    def selection_mode(self) -> str | None:
        """The mode that the first click or question switches to; None for no change."""
        ...

    @property
    def downloads(self) -> Sequence[str]:
        """What ``save`` can make."""
        ...

    def start(self) -> Viewpoint:
        """Return where a viewer begins."""
        ...

    def save(
        self, request: ViewRequest[K], what: str, note: Callable[[str], None]
    ) -> tuple[str, bytes]:
        """Return name and content of a file, one of ``downloads``.

        Call ``note`` now and then to say how far it is, and let pass what it raises.
        """
        ...


@runtime_checkable
class InteractiveScene(Scene[K], Protocol[K]):
    """A scene that renders what a camera sees, and can be clicked at."""

    @property
    def has_levels(self) -> bool:
        """Whether ``thresholds`` can tell wholes from parts."""
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


@runtime_checkable
class SolidScene(Scene[K], Protocol[K]):
    """A scene of boxes or points, which the browser draws from all sides."""

    @property
    def heights(self) -> tuple[float, float] | None:
        """Lowest and highest place, between which ``ViewRequest.top`` can be set; None: no cut."""
        ...

    def solid(self, request: ViewRequest[K]) -> Solid:
        """Return what is drawn; the request's camera does not matter."""
        ...


@runtime_checkable
class FramedScene(Protocol):
    """A scene of many frames, of which one is shown."""

    @property
    def frames(self) -> Sequence[str]:
        """Names of the frames; the first one is shown at the beginning."""
        ...


@runtime_checkable
class AskableScene(Protocol[K]):
    """A scene that can be asked in words."""

    def ask(self, text: str, request: ViewRequest[K]) -> K:
        """Return what stands for a text, to be part of the selection."""
        ...


@runtime_checkable
class PartedScene(Protocol):
    """A scene with parts (classes) that can be switched off."""

    @property
    def parts(self) -> Mapping[str, tuple[int, int, int]]:
        """Name and RGB color of each part, in the order in which they are listed."""
        ...


@dataclass(frozen=True, slots=True)
class Capture:
    """A photograph of a scene.

    Args:
        name: Unique within the scene.
        camera: Where it was taken from.
    """

    name: str
    camera: Camera


@runtime_checkable
class CapturedScene(Protocol):
    """A scene that was made from photographs."""

    @property
    def captures(self) -> Sequence[Capture]:
        """The photographs, in their order."""
        ...

    def photograph(self, name: str) -> RgbImage:
        """Return a photograph, (H, W, 3) uint8 RGB, at a size that suits a panel."""
        ...


@runtime_checkable
class PicturedScene(Protocol[K]):
    """A scene with pictures that stand beside it."""

    def beside(self, request: ViewRequest[K]) -> Mapping[str, RgbImage]:
        """Return (H, W, 3) pictures by title; always the same titles."""
        ...


class Viewing(ModelTask[M], Generic[M]):
    """A task whose trained scene can be looked at and clicked."""

    @abstractmethod
    def interactive_scene(self, model: M, rows: Mapping[str, Rows]) -> Scene[Any]:
        """Return what can be looked at: an ``InteractiveScene`` or a ``SolidScene``.

        Called by the viewer, once, with the model on its device, in eval mode.

        Args:
            model: The trained model.
            rows: Rows of the prepared stages that the run used, by label; a stage that is not there
                any more is an error only when it is asked for.
        """
