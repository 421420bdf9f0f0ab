"""Rigid poses, in double precision and without array code in the public type.

Frames. World: x forward along the road, y left, z up, meters. Camera: x right, y down, z forward
(OpenCV and COLMAP). ``world_from_x`` maps coordinates of frame x to world coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Vector3 = tuple[float, float, float]


@lru_cache(maxsize=4096)
def rotation_from_euler(roll_rad: float, pitch_rad: float, yaw_rad: float) -> FloatArray:
    """Return ``Rz(yaw) @ Ry(pitch) @ Rx(roll)`` as a (3, 3) float64 matrix, read-only."""
    cr, sr = math.cos(roll_rad), math.sin(roll_rad)
    cp, sp = math.cos(pitch_rad), math.sin(pitch_rad)
    cy, sy = math.cos(yaw_rad), math.sin(yaw_rad)
    out = np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ],
        dtype=np.float64,
    )
    out.setflags(write=False)
    return out


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Position and orientation of a frame in its parent frame.

    Attributes:
        position_m: Origin of the frame in parent coordinates, meters.
        roll_rad: Rotation about the own x axis, applied first.
        pitch_rad: Rotation about the own y axis, applied second.
        yaw_rad: Rotation about the parent's z axis, applied last.
    """

    position_m: Vector3 = (0.0, 0.0, 0.0)
    roll_rad: float = 0.0
    pitch_rad: float = 0.0
    yaw_rad: float = 0.0

    @property
    def rotation(self) -> FloatArray:
        """(3, 3) float64 rotation, parent_from_own."""
        return rotation_from_euler(self.roll_rad, self.pitch_rad, self.yaw_rad)

    @property
    def matrix(self) -> FloatArray:
        """(4, 4) float64 rigid transform, parent_from_own."""
        out = np.eye(4)
        out[:3, :3] = self.rotation
        out[:3, 3] = self.position_m
        return out


def look_at(eye_m: Vector3, target_m: Vector3) -> FloatArray:
    """Return ``world_from_cam`` of a camera at ``eye_m`` that looks at ``target_m``, z up.

    Args:
        eye_m: Camera center in world coordinates, meters.
        target_m: Point on the optical axis, meters; not straight above or below the camera.

    Returns:
        (4, 4) float64; camera axes right, down, forward.

    Raises:
        ValueError: The two points coincide or lie on one vertical line.
    """
    forward = np.subtract(target_m, eye_m).astype(np.float64)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    if not np.linalg.norm(right) > 0:
        raise ValueError(
            f"look_at needs a horizontal distance between eye {eye_m} and target {target_m}"
        )
    forward /= np.linalg.norm(forward)
    right /= np.linalg.norm(right)
    out = np.eye(4)
    out[:3, 0], out[:3, 1], out[:3, 2] = right, np.cross(forward, right), forward
    out[:3, 3] = eye_m
    return out


CAM_FROM_BODY_AXES = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""Axes change only: body (forward, left, up) to camera (right, down, forward)."""


def camera_at(body: Pose) -> FloatArray:
    """Return ``world_from_cam`` (4, 4) of a camera that looks along the body's x axis."""
    out = body.matrix
    out[:3, :3] = out[:3, :3] @ CAM_FROM_BODY_AXES.T
    return out
