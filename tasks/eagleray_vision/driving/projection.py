"""Lidar points onto photographs (docs/originals/pop3d.md 2).

Computed when asked: a key frame takes milliseconds. The original rounds points to float32 after
every rotation and translation, and so do we, so that its files are met to the bit. What is cheap
comes first: one product in float32 for all cameras leaves out the points that no rounding could
bring into a picture, and only the rest goes the exact way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eagleray_vision.driving.key_frame import CameraTime, KeyFrame
from eagleray_vision.driving.pose import FloatArray, SensorPose

Points = NDArray[np.float32]

MIN_DEPTH_M = 1.0
"""Nearer points are the vehicle's own."""
_MARGIN_PX = 4.0
_MARGIN_M = 0.05
"""What the cheap test allows for its own rounding; a world of 100 km rounds to 1 cm."""


@dataclass(frozen=True)
class Matches:
    """The points of a sweep that a camera sees.

    Attributes:
        points: (n,) int64 rows of the sweep, ascending.
        uv: (n, 2) float64 column and row of each, pixels.
        depth_m: (n,) float32 depth in the camera.
    """

    points: NDArray[np.int64]
    uv: FloatArray
    depth_m: Points

    @property
    def pixels(self) -> NDArray[np.int64]:
        """(n, 2) int64 (row, column), rounded half to even as the original's files."""
        return np.round(self.uv[:, ::-1]).astype(np.int64)

    def __getitem__(self, chosen: NDArray[np.generic]) -> Matches:
        return Matches(self.points[chosen], self.uv[chosen], self.depth_m[chosen])


def project_frame(
    frame: KeyFrame, points_m: Points, sizes_hw: Mapping[str, tuple[int, int]]
) -> dict[str, Matches]:
    """Project a sweep onto all photographs of its key frame.

    Args:
        frame: The key frame.
        points_m: (n, 3) or more columns float32, lidar frame, meters.
        sizes_hw: Height and width of the photographs by camera.

    Returns:
        Matches by camera: depth above 1 m, 0 < u < width - 1, 0 < v < height - 1.

    Raises:
        DrivingDataError: The poses are not known.
    """
    xyz = np.ascontiguousarray(points_m[:, :3].T, dtype=np.float32)
    cameras = frame.cameras
    candidates = _candidates(frame, xyz, [sizes_hw[one.name] for one in cameras])
    chained = any(one.stated_camera_from_lidar is None for one in cameras)
    world = _to_world(frame, xyz) if chained else xyz
    found = {}
    for camera, rows in zip(cameras, candidates, strict=True):
        if camera.stated_camera_from_lidar is None:
            local = _from_world(camera, world[:, rows])
        else:
            local = _apply(frame.camera_from_lidar(camera), xyz[:, rows])
        found[camera.name] = _seen(camera.matrix, local, rows, sizes_hw[camera.name])
    return found


def _candidates(
    frame: KeyFrame, xyz: Points, sizes_hw: list[tuple[int, int]]
) -> list[NDArray[np.int64]]:
    """Return, per camera, the points that may be seen, by one product in float32."""
    matrices = np.stack([frame.image_from_lidar(one)[:3] for one in frame.cameras])
    turns, moves = matrices[:, :, :3].reshape(-1, 3), matrices[:, :, 3].reshape(-1, 1)
    projected = turns.astype(np.float32) @ xyz
    projected += moves.astype(np.float32)
    rows = []
    for k, (height, width) in enumerate(sizes_hw):
        u, v, depth = projected[3 * k : 3 * k + 3]
        slack = np.float32(_MARGIN_PX) * np.abs(depth) + np.float32(
            _MARGIN_M * np.abs(matrices[k, :2, :3]).sum(axis=1).max()
        )
        inside = (depth > MIN_DEPTH_M - _MARGIN_M) & (u > -slack) & (v > -slack)
        inside &= (u < width * depth + slack) & (v < height * depth + slack)
        rows.append(np.flatnonzero(inside))
    return rows


def _to_world(frame: KeyFrame, xyz: Points) -> Points:
    calibration, vehicle = frame.lidar.poses
    return _forward(vehicle, _forward(calibration, xyz))


def _from_world(camera: CameraTime, world: Points) -> Points:
    calibration, vehicle = camera.poses
    return _backward(calibration, _backward(vehicle, world))


def _forward(pose: SensorPose, xyz: Points) -> Points:
    return _moved(_turned(pose.rotation, xyz), pose.translation_m, 1.0)


def _backward(pose: SensorPose, xyz: Points) -> Points:
    return _turned(pose.rotation.T, _moved(xyz, pose.translation_m, -1.0))


def _turned(rotation: FloatArray, xyz: Points) -> Points:
    """Rotate in float64, round to float32."""
    return (rotation @ xyz.astype(np.float64)).astype(np.float32)


def _moved(xyz: Points, by: tuple[float, float, float], sign: float) -> Points:
    """Translate by float32 numbers in float32, as NumPy 1 adds a scalar to an array."""
    return xyz + np.float32(sign) * np.array(by, dtype=np.float32)[:, None]


def _apply(transform: FloatArray, xyz: Points) -> Points:
    return (transform[:3, :3] @ xyz.astype(np.float64) + transform[:3, 3:]).astype(np.float32)


def _seen(
    intrinsic: FloatArray, local: Points, rows: NDArray[np.int64], size_hw: tuple[int, int]
) -> Matches:
    depth = local[2]
    near = depth > MIN_DEPTH_M
    local, rows, depth = local[:, near], rows[near], depth[near]
    image = intrinsic @ local.astype(np.float64)
    u, v = image[:2] / image[2]
    height, width = size_hw
    kept = (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1)
    return Matches(rows[kept], np.stack([u[kept], v[kept]], axis=1), depth[kept])
