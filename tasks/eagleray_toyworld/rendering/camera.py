"""Cameras: where they stand and which ray belongs to which pixel.

Pixel (column u, row v) has its center at (u + 0.5, v + 0.5) from the upper left image corner, as in
COLMAP. Camera axes are right, down, forward. ``rays`` are unit vectors in the camera frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.scene.pose import FloatArray, Pose, Vector3, camera_at, look_at


class Camera(Protocol):
    """What the ray caster needs to know of a camera."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Image height and width in pixels."""

    @property
    def world_from_cam(self) -> FloatArray:
        """(4, 4) float64 rigid transform."""

    def rays(self, rows: slice) -> NDArray[np.float32]:
        """Return (3, rows, width) float32 unit ray directions of some rows, camera frame."""


@dataclass(frozen=True, kw_only=True)
class Pinhole:
    """Perspective camera without distortion.

    Attributes:
        size_hw: Image height and width, pixels.
        focal_px: Focal lengths (fx, fy), pixels.
        center_px: Principal point (cx, cy), pixels from the upper left image corner.
        world_from_cam: (4, 4) float64 rigid transform.
    """

    size_hw: tuple[int, int]
    focal_px: tuple[float, float]
    center_px: tuple[float, float]
    world_from_cam: FloatArray

    @property
    def matrix(self) -> FloatArray:
        """(3, 3) float64 intrinsic matrix, pixels."""
        (fx, fy), (cx, cy) = self.focal_px, self.center_px
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def rays(self, rows: slice) -> NDArray[np.float32]:
        """Return (3, rows, width) float32 unit ray directions, camera frame."""
        height, width = self.size_hw
        u = (np.arange(width) + 0.5 - self.center_px[0]) / self.focal_px[0]
        v = (np.arange(height)[rows] + 0.5 - self.center_px[1]) / self.focal_px[1]
        x, y = np.broadcast_arrays(u[None, :], v[:, None])
        inv = 1.0 / np.sqrt(x * x + y * y + 1.0)
        return np.stack([x * inv, y * inv, inv]).astype(np.float32)

    def project(self, points_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Project world points.

        Args:
            points_m: (n, 3) world coordinates, meters.

        Returns:
            (n, 2) float64 pixel coordinates (u, v) and (n,) float64 depth along z, meters; the
            coordinates mean nothing where the depth is not positive.
        """
        rotation, center = self.world_from_cam[:3, :3], self.world_from_cam[:3, 3]
        local = (np.asarray(points_m, dtype=np.float64) - center) @ rotation
        depth = local[:, 2]
        safe = np.where(depth > 0, depth, 1.0)
        uv = local[:, :2] / safe[:, None] * self.focal_px + self.center_px
        return uv, depth


@dataclass(frozen=True, kw_only=True)
class Equirectangular:
    """Full panorama: columns are azimuth from -180 to 180 degrees, rows elevation from +90 to -90.

    The image center looks along the camera's z axis; azimuth grows to the right.

    Attributes:
        size_hw: Image height and width, pixels; usually 1 : 2.
        world_from_cam: (4, 4) float64 rigid transform.
    """

    size_hw: tuple[int, int]
    world_from_cam: FloatArray

    def rays(self, rows: slice) -> NDArray[np.float32]:
        """Return (3, rows, width) float32 unit ray directions, camera frame."""
        height, width = self.size_hw
        azimuth = [((u + 0.5) / width - 0.5) * 2.0 * math.pi for u in range(width)]
        elevation = [(0.5 - (v + 0.5) / height) * math.pi for v in range(height)[rows]]
        return _spherical_rays(azimuth, elevation)


def _spherical_rays(azimuth_rad: list[float], elevation_rad: list[float]) -> NDArray[np.float32]:
    sin_a = np.array([math.sin(a) for a in azimuth_rad])
    cos_a = np.array([math.cos(a) for a in azimuth_rad])
    sin_e = np.array([math.sin(e) for e in elevation_rad])[:, None]
    cos_e = np.array([math.cos(e) for e in elevation_rad])[:, None]
    down = np.broadcast_to(-sin_e, (len(elevation_rad), len(azimuth_rad)))
    return np.stack([cos_e * sin_a, down, cos_e * cos_a]).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class BeamGrid:
    """The rays of a spinning lidar: one row per beam, one column per firing.

    Columns run clockwise seen from above, like the columns of a panorama.

    Attributes:
        elevations_rad: Elevation of each beam above the sensor's horizon, top row first.
        azimuths_rad: Azimuth of each firing, clockwise from the sensor's forward axis.
        world_from_cam: (4, 4) float64 rigid transform of the sensor in camera axes.
    """

    elevations_rad: tuple[float, ...]
    azimuths_rad: tuple[float, ...]
    world_from_cam: FloatArray

    @property
    def size_hw(self) -> tuple[int, int]:
        """Number of beams and of firings."""
        return len(self.elevations_rad), len(self.azimuths_rad)

    def rays(self, rows: slice) -> NDArray[np.float32]:
        """Return (3, rows, firings) float32 unit ray directions, camera axes."""
        return _spherical_rays(list(self.azimuths_rad), list(self.elevations_rad[rows]))


def pinhole_with_fov(
    size_hw: tuple[int, int], horizontal_fov_deg: float, world_from_cam: FloatArray
) -> Pinhole:
    """Return a pinhole camera with square pixels and a central principal point.

    Raises:
        ValueError: The field of view is not between 0 and 180 degrees.
    """
    if not 0.0 < horizontal_fov_deg < 180.0:
        raise ValueError(f"horizontal_fov_deg must lie in (0, 180), got {horizontal_fov_deg}")
    height, width = size_hw
    focal = 0.5 * width / math.tan(math.radians(horizontal_fov_deg) * 0.5)
    return Pinhole(
        size_hw=size_hw,
        focal_px=(focal, focal),
        center_px=(width * 0.5, height * 0.5),
        world_from_cam=world_from_cam,
    )


def orbit(
    *,
    target_m: Vector3,
    radius_m: float,
    heights_m: tuple[float, ...],
    num_views: int,
    size_hw: tuple[int, int],
    horizontal_fov_deg: float = 60.0,
) -> tuple[Pinhole, ...]:
    """Return cameras on circles around a target, all looking at it.

    Args:
        target_m: World point in the image center, meters.
        radius_m: Horizontal distance of the cameras, meters.
        heights_m: Heights of the circles above the target; view i uses entry i modulo their number.
        num_views: Number of cameras.
        size_hw: Image height and width, pixels.
        horizontal_fov_deg: Horizontal field of view, degrees.
    """
    cameras = []
    for i in range(num_views):
        angle = 2.0 * math.pi * i / num_views
        eye = (
            target_m[0] + radius_m * math.cos(angle),
            target_m[1] + radius_m * math.sin(angle),
            target_m[2] + heights_m[i % len(heights_m)],
        )
        cameras.append(pinhole_with_fov(size_hw, horizontal_fov_deg, look_at(eye, target_m)))
    return tuple(cameras)


@dataclass(frozen=True, kw_only=True)
class RigCamera:
    """How one camera of a rig sits on the vehicle: forward and lateral offset, yaw, field of view.

    Attributes:
        ego_from_body: Pose of the camera body (x forward) in the ego frame.
        horizontal_fov_deg: Horizontal field of view, degrees.
    """

    ego_from_body: Pose
    horizontal_fov_deg: float


def _rig_camera(x: float, y: float, z: float, yaw_deg: float, fov_deg: float) -> RigCamera:
    pose = Pose(position_m=(x, y, z), yaw_rad=math.radians(yaw_deg))
    return RigCamera(ego_from_body=pose, horizontal_fov_deg=fov_deg)


SIX_CAMERA_RIG: Mapping[str, RigCamera] = {
    "CAM_FRONT": _rig_camera(1.7, 0.0, 1.5, 0.0, 65.0),
    "CAM_FRONT_LEFT": _rig_camera(1.5, 0.5, 1.5, 55.0, 65.0),
    "CAM_FRONT_RIGHT": _rig_camera(1.5, -0.5, 1.5, -55.0, 65.0),
    "CAM_BACK": _rig_camera(0.0, 0.0, 1.6, 180.0, 90.0),
    "CAM_BACK_LEFT": _rig_camera(1.0, 0.5, 1.6, 110.0, 65.0),
    "CAM_BACK_RIGHT": _rig_camera(1.0, -0.5, 1.6, -110.0, 65.0),
}
"""Six cameras that look all around, named and turned as on the nuScenes vehicle (own offsets)."""


def rig_cameras(ego: Pose, size_hw: tuple[int, int]) -> dict[str, Pinhole]:
    """Return the six cameras of the rig for an ego pose."""
    cameras = {}
    for name, mount in SIX_CAMERA_RIG.items():
        world_from_cam = ego.matrix @ camera_at(mount.ego_from_body)
        cameras[name] = pinhole_with_fov(size_hw, mount.horizontal_fov_deg, world_from_cam)
    return cameras
