"""Poses: the conventions of this plugin, checks, and the poses that the original builds.

Conventions, valid everywhere in ``eagleray_omniseg3d``:

- ``world_from_cam`` is (3, 4) or (4, 4) float64 and maps camera to world coordinates; camera axes
are right,
  down, forward (OpenCV, COLMAP). Files with axes right, up, backward (OpenGL: NeRF-synthetic,
  instant-ngp) are converted when they are read, by ``from_opengl``.
- Pixel (u, v) has its center at (u + 0.5, v + 0.5); rays are ordered row by row, index v W + u.
- Ray directions are not normalized: their camera z is 1, so distances along a ray are depths
along z. - ``scene`` coordinates are ``(world - shift) / scale``; the field's cube is [-S, S]^3
around 0 in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_omniseg3d.errors import PoseError

FloatArray = npt.NDArray[np.float64]

_ROTATION_TOLERANCE = 1e-3
"""Largest entry of R^T R - I of a matrix that passes for a rotation; files keep 4 digits or
more."""
_CIRCLE_TILT_RAD = -math.pi / 12
"""Tilt of the circular path (original ray_utils)."""


def check_world_from_cam(matrix: npt.ArrayLike, name: str) -> FloatArray:
    """Return a pose as (3, 4) float64 after checking that it is a rigid transform.

    Args:
        matrix: (3, 4) or (4, 4) camera-to-world matrix.
        name: Whose pose, for the error message.

    Raises:
        PoseError: Wrong shape, not finite, or its left part is no rotation.
    """
    try:
        pose = np.asarray(matrix, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PoseError(f"{name}: the pose is no matrix of numbers ({error})") from error
    if pose.shape not in ((3, 4), (4, 4)):
        raise PoseError(f"{name}: a pose must be 3 x 4 or 4 x 4, found {pose.shape}")
    if not np.isfinite(pose).all():
        raise PoseError(f"{name}: the pose has values that are not finite")
    rotation = pose[:3, :3]
    deviation = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if deviation > _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise PoseError(
            f"{name}: the left 3 x 3 part of the pose is no rotation (R^T R differs from 1 by "
            f"{deviation:.3g}, determinant {np.linalg.det(rotation):.3g}); "
            "remove scale and mirroring"
        )
    return pose[:3].copy()


def from_opengl(world_from_cam: FloatArray) -> FloatArray:
    """Turn camera axes right, up, backward into right, down, forward."""
    return world_from_cam * np.array([1.0, -1.0, -1.0, 1.0])


def rotation_from_quaternion(quaternion_wxyz: Sequence[float], name: str) -> FloatArray:
    """Return the (3, 3) rotation of a unit quaternion, scalar first.

    Raises:
        PoseError: The quaternion has not length 1.
    """
    q = np.asarray(quaternion_wxyz, np.float64)
    if not np.isfinite(q).all() or abs(np.linalg.norm(q) - 1.0) > _ROTATION_TOLERANCE:
        raise PoseError(f"{name}: quaternion {q.tolist()} has not length 1, so it is no rotation")
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Return rotations from axis times angle (Rodrigues), differentiable also at 0.

    Args:
        axis_angle: (..., 3) radians.

    Returns:
        (..., 3, 3).
    """
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    return torch.linalg.matrix_exp(skew.reshape(*x.shape, 3, 3))


def invert(pose: FloatArray) -> FloatArray:
    """Invert rigid transforms, (..., 3, 4)."""
    rotation = np.swapaxes(pose[..., :3], -1, -2)
    return np.concatenate([rotation, -(rotation @ pose[..., 3:])], axis=-1)


def average_frame(world_from_cam: FloatArray, points: FloatArray) -> FloatArray:
    """Return the frame in which the original centers a COLMAP scene.

    Args:
        world_from_cam: (N, 3, 4) of all cameras.
        points: (M, 3) all points of the model; their mean is the origin.

    Returns:
        (3, 4) world_from_average: z is the mean viewing direction.
    """
    z = _unit(world_from_cam[:, :, 2].mean(axis=0))
    x = _unit(np.cross(world_from_cam[:, :, 1].mean(axis=0), z))
    return np.stack([x, np.cross(z, x), z, points.mean(axis=0)], axis=1)


def transform_poses(frame_from_world: FloatArray, world_from_cam: FloatArray) -> FloatArray:
    """Move poses (N, 3, 4) into another frame, given by a (3, 4) rigid transform."""
    moved = frame_from_world[:, :3] @ world_from_cam
    moved[:, :, 3] += frame_from_world[:, 3]
    return moved


def circle_poses(radius: float, mean_height: float, num_poses: int = 120) -> FloatArray:
    """Return poses on a tilted circle around the origin, looking at it.

    Args:
        radius: Distance of the cameras, scene units.
        mean_height: Mean y of the training cameras.
        num_poses: Number of poses.

    Returns:
        (num_poses, 3, 4) world_from_cam.
    """
    lift = np.eye(4)
    lift[:3, 3] = 0.0, 2.0 * mean_height, -radius
    cos, sin = math.cos(_CIRCLE_TILT_RAD), math.sin(_CIRCLE_TILT_RAD)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[cos, -sin], [sin, cos]]
    flip = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    poses = []
    for angle in np.linspace(0.0, 2.0 * math.pi, num_poses, endpoint=False):
        turn = np.eye(4)
        turn[0, [0, 2]] = math.cos(angle), -math.sin(angle)
        turn[2, [0, 2]] = math.sin(angle), math.cos(angle)
        poses.append((flip @ turn @ tilt @ lift)[:3])
    return np.stack(poses)


def _unit(vector: FloatArray) -> FloatArray:
    return vector / np.linalg.norm(vector)
