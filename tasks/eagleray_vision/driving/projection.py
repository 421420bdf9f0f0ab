"""Lidar points onto photographs (docs/originals/pop3d.md 2).

Computed when asked: a key frame takes milliseconds. The original rounds points to float32 after
every rotation and translation, and so do we, so that its files are met to the bit. What is cheap
comes first: one product in float32 for all cameras leaves out the points that no rounding could
bring into a picture, and only the rest goes the exact way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.key_frame import KeyFrame
from eagleray_vision.driving.pose import FloatArray

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
    chain = _Chain.of(frame)
    intrinsics = np.stack([one.matrix for one in cameras])
    sizes = np.array([sizes_hw[one.name] for one in cameras], dtype=np.float64)
    rows = _candidates(intrinsics, chain, xyz, sizes[:, 1])
    ends = np.cumsum([0, *map(len, rows)]).tolist()
    parts = [slice(a, b) for a, b in pairwise(ends)]
    index = np.concatenate(rows)
    local = chain.apply(xyz, index, parts)
    image = _turned(intrinsics, local, parts)
    uv = image[:2] / image[2]
    limits = np.repeat(sizes[:, ::-1].T - 1.0, [len(one) for one in rows], axis=1)
    seen = (local[2] > MIN_DEPTH_M) & (uv[0] > 0) & (uv[1] > 0)
    seen &= (uv[0] < limits[0]) & (uv[1] < limits[1])
    kept = np.flatnonzero(seen)
    index, uv, depth = index[kept], uv.take(kept, axis=1).T, local[2][kept]
    borders = np.searchsorted(kept, ends).tolist()
    return {
        camera.name: Matches(index[a:b], uv[a:b], depth[a:b])
        for camera, (a, b) in zip(cameras, pairwise(borders), strict=True)
    }


@dataclass(frozen=True)
class _Chain:
    """Turns and moves from the lidar to the C cameras, in the order and precision of the original.

    Attributes:
        shared: Turn (3, 3), then move (3, 1): lidar to vehicle, vehicle to world.
        own: Move (C, 3, 1), then turn (C, 3, 3): world to vehicle at the camera's time, vehicle to
            camera.
        stated: (C, 3, 4) transforms that the source states itself, instead of all these.
    """

    shared: list[tuple[FloatArray, Points]]
    own: list[tuple[Points, FloatArray]]
    stated: FloatArray | None

    @classmethod
    def of(cls, frame: KeyFrame) -> _Chain:
        """Return the chain of a key frame."""
        stated = [one.stated_camera_from_lidar is not None for one in frame.cameras]
        if all(stated):
            seen = np.stack([frame.camera_from_lidar(one)[:3] for one in frame.cameras])
            return cls([], [], seen)
        if any(stated):
            raise DrivingDataError(
                f"key frame {frame.token}: some cameras state their poses, others only lidar2cam; "
                "give one of the two for all"
            )
        # NumPy 1, with which the original runs, adds a scalar to float32 in float32.
        shared = [
            (pose.rotation, np.array(pose.translation_m, dtype=np.float32)[:, None])
            for pose in frame.lidar.poses
        ]
        poses = [one.poses[::-1] for one in frame.cameras]
        own = [
            (
                np.array([pose.translation_m for pose in step], dtype=np.float32)[:, :, None],
                np.stack([pose.rotation.T for pose in step]),
            )
            for step in zip(*poses, strict=True)
        ]
        return cls(shared, own, None)

    def approximate(self) -> FloatArray:
        """Return (C, 3, 4) transforms from the lidar to the cameras, each in one."""
        if self.stated is not None:
            return self.stated
        turn, move = np.eye(3), np.zeros((3, 1))
        for rotation, by in self.shared:
            turn, move = rotation @ turn, rotation @ move + by
        for moves, turns in self.own:
            turn, move = turns @ turn, turns @ (move - moves)
        return np.concatenate([turn, move], axis=2)

    def apply(self, xyz: Points, index: NDArray[np.int64], parts: list[slice]) -> Points:
        """Return (3, n) float32 candidates of all cameras, one after the other, in camera axes."""
        if self.stated is not None:
            out = _turned(self.stated[:, :, :3], xyz.take(index, axis=1), parts)
            for part, one in zip(parts, self.stated, strict=True):
                out[:, part] += one[:, 3:]
            return out.astype(np.float32)
        points = xyz
        for rotation, by in self.shared:
            points = _turned(rotation[None], points, [slice(None)]).astype(np.float32)
            points += by
        points = points.take(index, axis=1)
        for moves, turns in self.own:
            for part, by in zip(parts, moves, strict=True):
                points[:, part] -= by
            points = _turned(turns, points, parts).astype(np.float32)
        return points


def _candidates(
    intrinsics: FloatArray, chain: _Chain, xyz: Points, widths_px: FloatArray
) -> list[NDArray[np.int64]]:
    """Return, per camera, the points that may be seen: on the inner sides of the planes through the
    picture's left and right border (so in front), all in one product in float32.
    """
    seen = intrinsics @ chain.approximate()
    u, depth = seen[:, 0], seen[:, 2]
    planes = np.stack(
        [u + _MARGIN_PX * depth, (widths_px[:, None] + _MARGIN_PX) * depth - u], axis=1
    ).reshape(-1, 4)
    least = -planes[:, 3] - _MARGIN_M * np.sqrt((planes[:, :3] ** 2).sum(axis=1))
    inside = planes[:, :3].astype(np.float32) @ xyz > least.astype(np.float32)[:, None]
    return [np.flatnonzero(one) for one in inside[::2] & inside[1::2]]


def _turned(matrices: FloatArray, xyz: Points, parts: list[slice]) -> FloatArray:
    """Multiply each part of (3, n) points by its matrix, in float64."""
    wide = xyz.astype(np.float64)
    out = np.empty_like(wide)
    for matrix, part in zip(matrices, parts, strict=True):
        np.matmul(matrix, wide[:, part], out=out[:, part])
    return out
