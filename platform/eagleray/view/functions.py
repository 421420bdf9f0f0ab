"""The functions of a task that the viewer needs, found by name.

- ``start(model, arguments)`` gives ``position``, ``look_at``, ``up`` (3 numbers each) and
  ``fov_rad``.
- ``look(model, arguments, selection, check)`` gives an (H, W, 3) uint8 RGB image. It calls
  ``check()`` now and then, and lets pass what that raises: the image is no longer wanted.
- ``pick(model, arguments)`` gives something that stands for a click.
- ``save(model, arguments, selection, note)`` gives a file's name and content. It calls
  ``note(text)`` now and then to say how far it is, and lets pass what that raises.
- ``thresholds(model, arguments, selection)``, which a task may leave out, gives the thresholds
  that select the whole thing clicked at, and ever smaller parts of it.

Cameras have axes right, down, forward; ``selection`` is the list of what ``pick`` gave. If
``look`` has a mode called ``selection``, the first click switches to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from torch import nn

from eagleray.task import BaseTask, SettingsError, Task, Tool

RgbImage = npt.NDArray[np.uint8]

SELECTION_MODE = "selection"
_NEEDED = ("start", "look", "pick", "save")
_THRESHOLDS = "thresholds"


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera of the viewer.

    Args:
        position: (3,) where it stands.
        wxyz: Unit quaternion world_from_cam, axes right, down, forward.
        fov_rad: Vertical field of view.
        width_px: Image width.
        height_px: Image height.
    """

    position: tuple[float, ...]
    wxyz: tuple[float, ...]
    fov_rad: float
    width_px: int
    height_px: int

    def values(self) -> dict[str, Any]:
        """Return the camera's fields as tool arguments."""
        return {name: getattr(self, name) for name in self.__slots__}


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
    selection: tuple[Any, ...] = ()


class ViewFunctions:
    """The viewer's functions of one task with its trained model.

    Args:
        task: The task.
        model: Its model, on its device.

    Raises:
        SettingsError: The task has nothing to look at.
    """

    def __init__(self, task: BaseTask, model: nn.Module) -> None:
        tools = {tool.name: tool for tool in task.tools()} if isinstance(task, Task) else {}
        missing = [name for name in _NEEDED if name not in tools]
        if missing:
            raise SettingsError(
                f"task {task.name!r} cannot be viewed: it has no function {', '.join(missing)} "
                f"(it has {', '.join(tools) or 'none'})"
            )
        self._tools, self._model = tools, model

    @property
    def modes(self) -> tuple[str, ...]:
        """What ``look`` can show."""
        return _choices(self._tools["look"], "mode")

    @property
    def downloads(self) -> tuple[str, ...]:
        """What ``save`` can make."""
        return _choices(self._tools["save"], "what")

    @property
    def has_levels(self) -> bool:
        """Whether the task can tell thresholds of wholes and parts."""
        return _THRESHOLDS in self._tools

    def start(self) -> Any:
        """Return where to begin."""
        return self._call("start", {})

    def look(self, wish: Wish, check: Callable[[], None]) -> RgbImage:
        """Return what a camera sees; ``check`` raises when nobody wants to know any more."""
        selection = list(wish.selection)
        return np.asarray(
            self._call("look", _shown(wish), selection=selection, check=check), np.uint8
        )

    def pick(self, camera: Camera, column: int, row: int, *, positive: bool) -> Any:
        """Return what stands for a click."""
        values = camera.values() | {"column": column, "row": row, "positive": positive}
        return self._call("pick", values)

    def thresholds(self, wish: Wish) -> list[float]:
        """Return thresholds of the selection's levels, from the whole to its parts."""
        found = self._call(_THRESHOLDS, wish.camera.values(), selection=list(wish.selection))
        return [float(value) for value in found]

    def save(self, wish: Wish, what: str, note: Callable[[str], None]) -> tuple[str, bytes]:
        """Return the name and content of a file; ``note`` hears how far it is."""
        values = _shown(wish) | {"what": what}
        name, content = self._call("save", values, selection=list(wish.selection), note=note)
        return str(name), bytes(content)

    def _call(self, name: str, values: dict[str, Any], **more: Any) -> Any:
        tool = self._tools[name]
        call: Callable[..., Any] = tool.call
        try:
            arguments = tool.arguments(**values)
        except ValidationError as error:
            raise SettingsError(f"{name}: {error}") from error
        return call(self._model, arguments, **more)


def _shown(wish: Wish) -> dict[str, Any]:
    return wish.camera.values() | {"mode": wish.mode, "threshold": wish.threshold}


def _choices(tool: Tool, field: str) -> tuple[str, ...]:
    return tuple(str(v) for v in get_args(tool.arguments.model_fields[field].annotation))
