"""Photographs with their cameras, and the rays through their pixels.

Cameras look along z, x goes right and y down; a ray begins at the camera and is one unit long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """A photograph with its camera.

    Attributes:
        key: Its name.
        photo: ``(H, W, 3)`` uint8 RGB.
        scene_from_cam: ``(3, 4)`` float32.
        focal_px: Focal length in pixels of the photograph; the principal point is its middle.
    """

    key: str
    photo: npt.NDArray[np.uint8]
    scene_from_cam: Floats
    focal_px: float


def rays_of(view: View) -> tuple[Floats, Floats]:
    """Return origins and directions of the rays through all pixels, ``(H * W, 3)`` float32 each,
    row by row.
    """
    height, width = view.photo.shape[:2]
    rows, columns = np.mgrid[:height, :width] + 0.5
    in_cam = np.stack(
        [
            (columns - width / 2) / view.focal_px,
            (rows - height / 2) / view.focal_px,
            np.ones_like(rows),
        ],
        -1,
    ).reshape(-1, 3)
    directions = in_cam @ view.scene_from_cam[:, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = np.broadcast_to(view.scene_from_cam[:, 3], directions.shape)
    return origins.astype(np.float32), directions.astype(np.float32)


def looking_at_middle(position: npt.NDArray[np.float64]) -> Floats:
    """Return ``scene_from_cam`` ``(3, 4)`` of a camera that looks at the scene's middle; the
    scene's z axis is up.
    """
    forward = -position / np.linalg.norm(position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    place: Floats = np.stack([right, down, forward, position], 1).astype(np.float32)
    return place
