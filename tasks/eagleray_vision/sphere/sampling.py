"""Panoramas between their pixels: bilinear or nearest, wrapped around and over the poles."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from eagleray_vision.sphere.directions import Floats
from eagleray_vision.sphere.errors import SphereError

Interpolation = Literal["bilinear", "nearest"]
Pixel = TypeVar("Pixel", bound=np.generic)

_ORDER = {"nearest": 0, "bilinear": 1}


def sample_panorama(
    panorama: npt.NDArray[Pixel],
    columns: Floats,
    rows: Floats,
    interpolation: Interpolation,
    *,
    faithful: bool = False,
) -> npt.NDArray[Pixel]:
    """Read a panorama at positions between pixels.

    Column ``W`` is column 0; above the first row lies the first row turned by half a circle, below
    the last row the last one.

    Args:
        panorama: ``(H, W)`` or ``(H, W, C)``.
        columns: ``(...)`` positions; whole numbers are pixel centers. Any value: they wrap.
        rows: ``(...)`` positions from -0.5 to H - 0.5.
        interpolation: ``bilinear`` (integers are rounded half away from zero) or ``nearest``.
        faithful: Wrap as py360convert 0.1.0 does (scipy's ``wrap``: the period is one pixel short,
            so that the seam is off by up to a pixel, and the rows beyond both poles are mixed).

    Returns:
        ``(...)`` or ``(..., C)`` of the panorama's dtype.
    """
    channels = panorama if panorama.ndim == 3 else panorama[..., None]
    read = _read_scipy if faithful else _read
    values = read(channels, columns, rows, interpolation)
    return values if panorama.ndim == 3 else values[..., 0]


def roll_panorama(panorama: npt.NDArray[Pixel], degrees: float) -> npt.NDArray[Pixel]:
    """Turn a panorama about the vertical by whole columns; what was ahead moves to the right.

    Args:
        panorama: ``(H, W)`` or ``(H, W, C)``.
        degrees: Angle, rounded to whole columns.
    """
    return np.roll(panorama, round(degrees / 360 * panorama.shape[1]), axis=1)


def check_panorama(panorama: npt.NDArray[Any]) -> None:
    """Refuse what is no picture; any ratio of the sides is taken (annular panoramas are legal).

    Raises:
        SphereError: The array has no two or three axes, or is empty.
    """
    if panorama.ndim not in (2, 3) or 0 in panorama.shape:
        raise SphereError(
            f"a panorama is an array (H, W) or (H, W, C) with pixels; this one is {panorama.shape}"
        )


def _read(
    panorama: npt.NDArray[Pixel], columns: Floats, rows: Floats, interpolation: Interpolation
) -> npt.NDArray[Pixel]:
    if interpolation == "nearest":
        row, column = np.floor(rows + 0.5), np.floor(columns + 0.5)
        return _at(panorama, row.astype(np.int64), column.astype(np.int64))
    top, left = np.floor(rows), np.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    row, column = top.astype(np.int64), left.astype(np.int64)
    upper = (1 - right) * _at(panorama, row, column) + right * _at(panorama, row, column + 1)
    lower = (1 - right) * _at(panorama, row + 1, column) + right * _at(
        panorama, row + 1, column + 1
    )
    mixed = (1 - down) * upper + down * lower
    if np.issubdtype(panorama.dtype, np.integer):
        mixed = np.trunc(mixed + np.copysign(0.5, mixed))
    return mixed.astype(panorama.dtype)


def _at(
    panorama: npt.NDArray[Pixel], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[Pixel]:
    """Return pixels, of rows one beyond the poles too."""
    height, width = panorama.shape[:2]
    beyond = (rows < 0) | (rows >= height)
    column = np.where(beyond, columns + width // 2, columns) % width
    return panorama[np.clip(rows, 0, height - 1), column]


def _read_scipy(
    panorama: npt.NDArray[Pixel], columns: Floats, rows: Floats, interpolation: Interpolation
) -> npt.NDArray[Pixel]:
    half = panorama.shape[1] // 2
    beyond_poles = [np.roll(panorama[-1:], half, 1), np.roll(panorama[:1], half, 1)]
    padded = np.concatenate([panorama, *beyond_poles])
    order = _ORDER[interpolation]
    return np.stack(
        [
            ndimage.map_coordinates(padded[..., channel], [rows, columns], order=order, mode="wrap")
            for channel in range(padded.shape[2])
        ],
        axis=-1,
    )
