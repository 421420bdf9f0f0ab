"""The viewer's orbit camera, with the steps of the original's window."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from eagleray_omniseg3d.scenes.poses import FloatArray

_ORBIT_DEG_PER_PX = 0.05
_ZOOM_BASE = 1.1
_PAN_PER_PX = 1e-4
START_RADIUS = 2.5
"""Distance from the center at the start, scene units."""


@dataclass(frozen=True, slots=True)
class OrbitCamera:
    """A camera on a sphere around a center; every movement gives a new one.

    Args:
        radius: Distance from the center, scene units.
        rotation: (3, 3) world_from_cam rotation.
        center: (3,) negative of the point looked at, scene units (as the original keeps it).
    """

    radius: float = START_RADIUS
    rotation: FloatArray = field(default_factory=lambda: np.eye(3))
    center: FloatArray = field(default_factory=lambda: np.zeros(3))

    @property
    def world_from_cam(self) -> FloatArray:
        """(4, 4) float64 pose, camera axes right, down, forward."""
        pose = np.eye(4)
        pose[:3, :3] = self.rotation
        pose[:3, 3] = -self.radius * self.rotation[:, 2] - self.center
        return pose

    def orbit(self, right_px: float, down_px: float) -> OrbitCamera:
        """Turn around the camera's own axes as they were before the movement."""
        about_y = _rotation(self.rotation[:, 1], _ORBIT_DEG_PER_PX * right_px)
        about_x = _rotation(self.rotation[:, 0], -_ORBIT_DEG_PER_PX * down_px)
        return replace(self, rotation=about_x @ about_y @ self.rotation)

    def zoom(self, clicks: float) -> OrbitCamera:
        """Move towards the center, by a factor per click of the wheel."""
        return replace(self, radius=self.radius * _ZOOM_BASE**-clicks)

    def pan(self, right_px: float, down_px: float) -> OrbitCamera:
        """Shift the center in the image plane."""
        shift = self.rotation @ np.array([right_px, down_px, 0.0])
        return replace(self, center=self.center + _PAN_PER_PX * shift)


def _rotation(axis: FloatArray, angle_deg: float) -> FloatArray:
    matrix, _ = cv2.Rodrigues(axis * np.radians(angle_deg))
    return np.asarray(matrix, np.float64)
