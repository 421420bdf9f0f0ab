"""The cube map of py360convert 0.1.0, with which the original OPS makes its training images.

What differs from geometry, and is kept because images depend on it:

* Pixels of the panorama lie on ``linspace(-pi, pi, W)`` and ``linspace(pi/2, -pi/2, H)``, both ends
  included; angles and their trigonometry are float32, what follows float64.
* A face of ``w`` pixels is read at ``(value + 0.5) * w``, so positions run from 0 to w instead of
  from -0.5 to w - 0.5: every face is shifted by half a pixel and lacks a last row and column,
  which are borrowed from neighbors (`extended_faces`), two of them off by one row.
* Which columns of a row belong to the upper and lower face follows from a table of whole rows.

The facts are in docs/originals/ops.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eagleray_vision.sphere.directions import Floats
from eagleray_vision.sphere.errors import SphereError
from eagleray_vision.sphere.sampling import Interpolation, Pixel

FRONT, RIGHT, BACK, LEFT, UP, DOWN = range(6)
"""Places of the faces in a strip."""

_SIDES = 4
_COLUMN_UNIT = 8
"""Faces begin in the middle of eighths of a panorama."""


@dataclass(frozen=True)
class CubePositions:
    """Where on a cube map the pixels of a panorama, or of a part of it, are read.

    Attributes:
        face: ``(h, w)`` int32, place of the face in the strip.
        columns: ``(h, w)`` float64 position on the face, 0 to w.
        rows: Likewise.
    """

    face: npt.NDArray[np.int32]
    columns: Floats
    rows: Floats


def angle_grid(
    size_hw: tuple[int, int],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the longitude of every column and the latitude of every row, float32."""
    height, width = size_hw
    return (
        np.linspace(-np.pi, np.pi, width, dtype=np.float32),
        np.linspace(np.pi / 2, -np.pi / 2, height, dtype=np.float32),
    )


def cube_positions(
    size_hw: tuple[int, int],
    face_px: int,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> CubePositions:
    """Return where the pixels of a panorama are read on a cube map.

    Args:
        size_hw: Height and width of the whole panorama.
        face_px: Side of a face.
        rows: Rows of the panorama that are wanted.
        columns: Columns that are wanted.

    Raises:
        SphereError: The width is no multiple of 8.
    """
    face = face_of_pixels(size_hw)[rows, columns]
    longitude, latitude = angle_grid(size_hw)
    u, v = np.broadcast_arrays(longitude[None, columns], latitude[rows, None])
    x, y = np.zeros(face.shape, np.float32), np.zeros(face.shape, np.float32)
    for side in range(_SIDES):
        here = face == side
        turned = u[here] - np.float32(np.pi) * side / 2
        x[here] = 0.5 * np.tan(turned)
        y[here] = -0.5 * np.tan(v[here]) / np.cos(turned)
    here = face == UP
    across = 0.5 * np.tan(np.float32(np.pi) / 2 - v[here])
    x[here], y[here] = across * np.sin(u[here]), across * np.cos(u[here])
    here = face == DOWN
    across = 0.5 * np.tan(np.float32(np.pi) / 2 - np.abs(v[here]))
    x[here], y[here] = across * np.sin(u[here]), -across * np.cos(u[here])
    return CubePositions(
        face, *((np.clip(p.astype(np.float64), -0.5, 0.5) + 0.5) * face_px for p in (x, y))
    )


def face_of_pixels(size_hw: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Return which face each pixel of a panorama is read from, ``(H, W)``.

    Raises:
        SphereError: The width is no multiple of 8.
    """
    height, width = size_hw
    if width % _COLUMN_UNIT or width < _COLUMN_UNIT:
        raise SphereError(
            f"a cube map becomes a panorama whose width is a multiple of {_COLUMN_UNIT}; "
            f"{width} is none"
        )
    side = width // _SIDES
    shift = 3 * width // _COLUMN_UNIT
    face = np.tile(np.roll(np.arange(_SIDES).repeat(side), shift), (height, 1))
    angle = np.linspace(-np.pi, np.pi, side) / _SIDES
    reach = height // 2 - np.round(np.arctan(np.cos(angle)) * height / np.pi).astype(np.int64)
    top = np.roll(np.tile(reach, _SIDES), shift)
    is_up = np.arange(height)[:, None] < top
    face[is_up] = UP
    face[is_up[::-1]] = DOWN
    return face.astype(np.int32)


def extended_faces(faces: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
    """Give every face the extra last row and column that the library reads.

    Args:
        faces: ``(6, w, w, C)``, each as seen from inside.

    Returns:
        ``(6, w + 1, w + 1, C)``.
    """
    f, r, b, d = (faces[index] for index in (FRONT, RIGHT, BACK, DOWN))
    below = [d[0], d[:, -1], d[-1, ::-1], d[::-1, 0], f[0], b[-1, ::-1]]
    tall = [np.concatenate([face, row[None]]) for face, row in zip(faces, below, strict=True)]
    corner = np.zeros_like(f[:1, 0])
    beside = [tall[RIGHT][:, 0], tall[BACK][:, 0], tall[LEFT][:, 0], tall[FRONT][:, 0]]
    beside += [np.concatenate([corner, r[0, ::-1]]), np.concatenate([corner, d[:, -1]])]
    return np.stack(
        [np.concatenate([face, col[:, None]], 1) for face, col in zip(tall, beside, strict=True)]
    )


def read_cube(
    faces: npt.NDArray[Pixel], positions: CubePositions, interpolation: Interpolation
) -> npt.NDArray[np.float64] | npt.NDArray[Pixel]:
    """Read a cube map as the library does.

    Args:
        faces: ``(6, w, w, C)``, each as seen from inside.
        positions: Where.
        interpolation: ``bilinear`` gives float64, ``nearest`` the faces' dtype.

    Returns:
        ``(h, w, C)``.
    """
    padded = extended_faces(faces)
    face = positions.face
    if interpolation == "nearest":
        row, column = (
            np.floor(p + 0.5).astype(np.int64) for p in (positions.rows, positions.columns)
        )
        return padded[face, row, column]
    size = padded.shape[1]
    top, left = np.floor(positions.rows), np.floor(positions.columns)
    down, right = (positions.rows - top)[..., None], (positions.columns - left)[..., None]
    row, column = top.astype(np.int64), left.astype(np.int64)
    below, beside = np.minimum(row + 1, size - 1), np.minimum(column + 1, size - 1)
    mixed: Floats = (
        (1 - down) * (1 - right) * padded[face, row, column]
        + (1 - down) * right * padded[face, row, beside]
        + down * (1 - right) * padded[face, below, column]
        + down * right * padded[face, below, beside]
    )
    return mixed
