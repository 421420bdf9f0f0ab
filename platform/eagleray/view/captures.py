"""The cameras of a scene's photographs, drawn as pyramids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import Camera, Capture

MOST_FRUSTUMS = 300
"""More cameras are thinned to so many, spread over the capture."""
_SIZE = 0.04
"""Size of a pyramid beside the extent of all places."""
_COLOR = (37, 99, 168)


def frustums(scene: Any, captures: Sequence[Capture]) -> list[Any]:
    """Draw the cameras of photographs and return viser's handles of them.

    Args:
        scene: viser's scene of the window.
        captures: The photographs.
    """
    count = min(len(captures), MOST_FRUSTUMS)
    if not count:
        return []
    chosen = np.linspace(0, len(captures) - 1, count).round().astype(int)
    places = np.array([capture.camera.position for capture in captures])
    size = max(_SIZE * float(np.ptp(places, axis=0).max()), 1e-3)
    return [
        scene.add_camera_frustum(
            f"/photographs/{index}",
            camera.fov_rad,
            camera.width_px / camera.height_px,
            scale=size,
            color=_COLOR,
            wxyz=camera.wxyz,
            position=camera.position,
        )
        for index in chosen.tolist()
        for camera in [captures[index].camera]
    ]


def forward(camera: Camera) -> npt.NDArray[np.float64]:
    """Return the direction (3,) in which a camera looks.

    Example:
        >>> forward(Camera((0, 0, 0), (1, 0, 0, 0), 1.0, 4, 3)).tolist()
        [0.0, 0.0, 1.0]
    """
    w, x, y, z = camera.wxyz
    return np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], np.float64)
