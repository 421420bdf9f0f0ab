"""Where the pixels of panoramas and of perspective views look, and which pixel sees a direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eagleray_vision.sphere.errors import SphereError

Floats = npt.NDArray[np.float64]
Size = tuple[int, int]

_WIDEST_DEG = 180.0


@dataclass(frozen=True, slots=True)
class View:
    """Where a perspective view looks.

    The frame is first turned in the picture plane, then pitched, then yawed:
    ``Ry(yaw) Rx(-pitch) Rz(-roll) (x, y, 1)``.

    Args:
        fov_x_deg: Horizontal field of view, below 180 degrees.
        fov_y_deg: Vertical field of view, below 180 degrees.
        yaw_deg: Positive to the right.
        pitch_deg: Positive upwards.
        roll_deg: Positive turns the frame of the view clockwise.
    """

    fov_x_deg: float
    fov_y_deg: float
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("fov_x_deg", self.fov_x_deg), ("fov_y_deg", self.fov_y_deg)):
            if not 0 < value < _WIDEST_DEG:
                raise SphereError(
                    f"{name} is {value}; a perspective view needs a field of view between 0 and "
                    f"{_WIDEST_DEG:.0f} degrees: several views cover more"
                )

    def tangents(self) -> tuple[float, float]:
        """Return half the width and height of the picture plane at distance 1."""
        half_x, half_y = np.radians([self.fov_x_deg / 2, self.fov_y_deg / 2])
        return float(np.tan(half_x)), float(np.tan(half_y))

    def rotation(self) -> Floats:
        """Return the rotation world_from_view, ``(3, 3)``."""
        yaw, pitch, roll = np.radians([self.yaw_deg, -self.pitch_deg, -self.roll_deg])
        return _about_y(yaw) @ _about_x(pitch) @ _about_z(roll)


def view_directions(view: View, size_hw: Size, *, corner_to_corner: bool = False) -> Floats:
    """Return where the pixels of a view look, ``(H, W, 3)``.

    Args:
        view: The view.
        size_hw: Height and width in pixels.
        corner_to_corner: Let the first and last pixel look along the border of the field of view,
            as py360convert does, instead of their centers lying half a pixel inside.
    """
    half_x, half_y = view.tangents()
    height, width = size_hw
    if corner_to_corner:
        x: Floats = np.linspace(-half_x, half_x, width, dtype=np.float32).astype(np.float64)
        y: Floats = np.linspace(-half_y, half_y, height, dtype=np.float32).astype(np.float64)
    else:
        x, y = half_x * _centers(width), half_y * _centers(height)
    plane = np.ones((height, width, 3))
    plane[..., 0], plane[..., 1] = x[None, :], -y[:, None]
    directions: Floats = plane @ view.rotation().T
    return directions


def panorama_directions(size_hw: Size) -> Floats:
    """Return where the pixel centers of a panorama look, ``(H, W, 3)`` of length 1."""
    longitude, latitude = panorama_angles(size_hw)
    around = np.cos(latitude)[:, None]
    return np.stack(
        [
            around * np.sin(longitude),
            np.broadcast_to(np.sin(latitude)[:, None], size_hw),
            around * np.cos(longitude),
        ],
        axis=-1,
    )


def panorama_angles(size_hw: Size) -> tuple[Floats, Floats]:
    """Return the longitude of every column and the latitude of every row, in radians."""
    height, width = size_hw
    return np.pi * _centers(width), -np.pi / 2 * _centers(height)


def panorama_pixels(directions: Floats, size_hw: Size) -> tuple[Floats, Floats]:
    """Return the column and row of a panorama at which directions are seen.

    Args:
        directions: ``(..., 3)``, of any length but 0.
        size_hw: Height and width of the panorama.

    Returns:
        Two arrays ``(...)``; whole numbers are pixel centers, columns from -0.5 to W - 0.5, rows
        from -0.5 (zenith) to H - 0.5.

    Example:
        >>> panorama_pixels(np.array([0.0, 0.0, 1.0]), (4, 8))
        (3.5, 1.5)
    """
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    longitude = np.arctan2(x, z)
    latitude = np.arctan2(y, np.sqrt(x**2 + z**2))
    height, width = size_hw
    columns = (longitude / (2 * np.pi) + 0.5) * width - 0.5
    rows = (-latitude / np.pi + 0.5) * height - 0.5
    return columns, rows


def _centers(count: int) -> Floats:
    """Return the centers of equal cells of the interval from -1 to 1."""
    return (np.arange(count, dtype=np.float64) + 0.5) * (2 / count) - 1


def _about_x(angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
