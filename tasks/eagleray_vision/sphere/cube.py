"""Cube maps: six square faces around the sphere, from and to panoramas.

Faces come in the order of `FACES`, each as seen from inside; the upper face has the front at its
lower edge, the lower face has it at its upper edge.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from eagleray_vision.sphere.directions import (
    Floats,
    View,
    panorama_directions,
    panorama_pixels,
    view_directions,
)
from eagleray_vision.sphere.errors import SphereError
from eagleray_vision.sphere.library_cube import cube_positions, read_cube
from eagleray_vision.sphere.sampling import Interpolation, Pixel, check_panorama, sample_panorama

FACES = ("front", "right", "back", "left", "up", "down")
"""Order of the faces."""

_RIGHT_ANGLE_DEG = 90.0
_FACE_VIEWS = tuple(
    View(_RIGHT_ANGLE_DEG, _RIGHT_ANGLE_DEG, yaw, pitch)
    for yaw, pitch in ((0, 0), (90, 0), (180, 0), (-90, 0), (0, 90), (0, -90))
)
_MIRRORED = (1, 2)
"""Faces (right, back) that py360convert's strip stores mirrored left to right."""
_TOPPLED = (4,)
"""The face (up) that it stores upside down."""


def faces_from_strip(strip: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
    """Cut a strip of six faces, as py360convert stores it, into faces as seen from inside.

    Args:
        strip: ``(w, 6 w, C)``: front, right, back, left, up, down; right and back mirrored left to
            right, up mirrored top to bottom.

    Returns:
        ``(6, w, w, C)``.

    Raises:
        SphereError: The strip is not six times as wide as high.
    """
    if strip.ndim != 3 or strip.shape[1] != len(FACES) * strip.shape[0]:
        raise SphereError(
            f"a strip of a cube map is (w, 6 w, C), six square faces; this one is {strip.shape}"
        )
    return _mirrored(np.stack(np.split(strip, len(FACES), axis=1)))


def strip_from_faces(faces: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
    """Join faces ``(6, w, w, C)`` to the strip ``(w, 6 w, C)`` of `faces_from_strip`."""
    _check_faces(faces)
    return np.concatenate(list(_mirrored(faces)), axis=1)


def panorama_to_cube(
    panorama: npt.NDArray[Pixel],
    face_px: int,
    interpolation: Interpolation = "bilinear",
    *,
    faithful: bool = False,
) -> npt.NDArray[Pixel]:
    """Turn a panorama into a cube map.

    Args:
        panorama: ``(H, W, C)``.
        face_px: Side of a face in pixels.
        interpolation: ``bilinear`` for photographs, ``nearest`` for labels.
        faithful: Do as py360convert 0.1.0 (see `library_cube`).

    Returns:
        ``(6, w, w, C)`` of the panorama's dtype.
    """
    check_panorama(panorama)
    size = (panorama.shape[0], panorama.shape[1])
    faces = []
    for view in _FACE_VIEWS:
        directions = view_directions(view, (face_px, face_px), corner_to_corner=faithful)
        columns, rows = panorama_pixels(directions, size)
        faces.append(sample_panorama(panorama, columns, rows, interpolation, faithful=faithful))
    return np.stack(faces)


def cube_to_panorama(
    faces: npt.NDArray[Pixel],
    size_hw: tuple[int, int],
    interpolation: Interpolation = "bilinear",
    *,
    faithful: bool = False,
) -> npt.NDArray[np.float64] | npt.NDArray[Pixel]:
    """Turn a cube map into a panorama.

    Args:
        faces: ``(6, w, w, C)``.
        size_hw: Height and width of the panorama; faithful: the width is a multiple of 8.
        interpolation: ``bilinear`` for photographs, ``nearest`` for labels. Between faces the
            border pixels of the neighbor are read, so no edge of the cube shows.
        faithful: Do as py360convert 0.1.0 (see `library_cube`).

    Returns:
        ``(H, W, C)``; bilinear float64, nearest the faces' dtype.

    Raises:
        SphereError: The faces are no cube, or the width does not suit.
    """
    _check_faces(faces)
    if faithful:
        return read_cube(faces, cube_positions(size_hw, faces.shape[1]), interpolation)
    face, columns, rows = _seen_at(panorama_directions(size_hw), faces.shape[1])
    if interpolation == "nearest":
        return _nearest(faces, face, columns, rows)
    return _bilinear(_with_border(faces), face, columns + 1, rows + 1)


def _seen_at(directions: Floats, face_px: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return the face that a direction meets, and where (whole numbers are pixel centers)."""
    # the face whose forward axis is nearest: the largest of six dot products
    axes = np.stack([view.rotation()[:, 2] for view in _FACE_VIEWS])
    face = np.argmax(directions @ axes.T, axis=-1)
    columns, rows = np.empty(face.shape), np.empty(face.shape)
    for index, view in enumerate(_FACE_VIEWS):
        here = face == index
        x, y, z = (directions[here] @ view.rotation()).T
        columns[here] = (x / z + 1) * face_px / 2 - 0.5
        rows[here] = (1 - y / z) * face_px / 2 - 0.5
    return face, columns, rows


def _with_border(faces: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
    """Give every face a border of one pixel, read from the neighbors."""
    count, side = faces.shape[0], faces.shape[1]
    padded = np.zeros((count, side + 2, side + 2, faces.shape[3]), faces.dtype)
    padded[:, 1:-1, 1:-1] = faces
    step = (np.arange(side + 2) - 0.5) * (2 / side) - 1
    plane = np.ones((side + 2, side + 2, 3))
    plane[..., 0], plane[..., 1] = step[None, :], -step[:, None]
    border = np.ones(plane.shape[:2], bool)
    border[1:-1, 1:-1] = False
    for index, view in enumerate(_FACE_VIEWS):
        neighbor = _seen_at(plane[border] @ view.rotation().T, side)
        padded[index][border] = _nearest(faces, *neighbor)
    return padded


def _nearest(
    faces: npt.NDArray[Pixel], face: npt.NDArray[np.int64], columns: Floats, rows: Floats
) -> npt.NDArray[Pixel]:
    last = faces.shape[1] - 1
    row, column = (np.clip(np.floor(p + 0.5), 0, last).astype(np.int64) for p in (rows, columns))
    return faces[face, row, column]


def _bilinear(
    faces: npt.NDArray[Pixel], face: npt.NDArray[np.int64], columns: Floats, rows: Floats
) -> Floats:
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    values = cast("Floats", faces.astype(np.float64))
    upper = (1 - right) * values[face, top, left] + right * values[face, top, left + 1]
    lower = (1 - right) * values[face, top + 1, left] + right * values[face, top + 1, left + 1]
    mixed: Floats = (1 - down) * upper + down * lower
    return mixed


def _mirrored(faces: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
    turned = faces.copy()
    for index in _MIRRORED:
        turned[index] = faces[index][:, ::-1]
    for index in _TOPPLED:
        turned[index] = faces[index][::-1]
    return turned


def _check_faces(faces: npt.NDArray[Pixel]) -> None:
    if faces.ndim != 4 or faces.shape[0] != len(FACES) or faces.shape[1] != faces.shape[2]:
        raise SphereError(
            f"a cube map is (6, w, w, C): {', '.join(FACES)}; this one is {faces.shape}"
        )
