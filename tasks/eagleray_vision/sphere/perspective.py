"""Perspective views out of a panorama, and a panorama out of views that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from eagleray_vision.sphere.sampling import Interpolation, Pixel, check_panorama, sample_panorama


def panorama_to_view(
    panorama: npt.NDArray[Pixel],
    view: View,
    size_hw: tuple[int, int],
    interpolation: Interpolation = "bilinear",
    *,
    faithful: bool = False,
) -> npt.NDArray[Pixel]:
    """Look out of a panorama with a pinhole camera.

    Args:
        panorama: ``(H, W)`` or ``(H, W, C)``.
        view: Where the camera looks.
        size_hw: Height and width of the picture in pixels.
        interpolation: ``bilinear`` for photographs, ``nearest`` for labels.
        faithful: Do as py360convert 0.1.0: border pixels on the border of the field of view, and
            its wrap.

    Returns:
        ``size_hw`` of the panorama's dtype and channels.

    Raises:
        SphereError: The panorama is none.
    """
    check_panorama(panorama)
    directions = view_directions(view, size_hw, corner_to_corner=faithful)
    size = (panorama.shape[0], panorama.shape[1])
    columns, rows = panorama_pixels(directions, size)
    return sample_panorama(panorama, columns, rows, interpolation, faithful=faithful)


def view_pixels(
    view: View, view_hw: tuple[int, int], directions: Floats
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return where in a view directions are seen.

    Args:
        view: The view.
        view_hw: Its height and width in pixels.
        directions: ``(..., 3)``.

    Returns:
        Column and row (whole numbers are pixel centers), and whether the view sees them at all.
    """
    x, y, z = np.moveaxis(directions @ view.rotation(), -1, 0)
    half_x, half_y = view.tangents()
    ahead = z > 0
    depth = np.where(ahead, z, 1.0)
    across, up = x / depth / half_x, y / depth / half_y
    seen = ahead & (np.abs(across) <= 1) & (np.abs(up) <= 1)
    height, width = view_hw
    return (across + 1) * width / 2 - 0.5, (1 - up) * height / 2 - 0.5, seen


def views_to_panorama(
    pictures: Sequence[npt.NDArray[np.floating[Any]]],
    views: Sequence[View],
    size_hw: tuple[int, int],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Lay views over a panorama and average them where they overlap.

    A view's weight falls linearly to 0 towards its border, so that no border is seen in the result.

    Args:
        pictures: One ``(h, w, C)`` per view: colors or scores of classes.
        views: Where each one looks.
        size_hw: Height and width of the panorama in pixels.

    Returns:
        The mean ``(H, W, C)`` float64, 0 where no view looks, and the summed weights ``(H, W)``.

    Raises:
        SphereError: There are not as many pictures as views, or none.
    """
    if not views or len(pictures) != len(views):
        raise SphereError(f"{len(pictures)} pictures for {len(views)} views: give one per view")
    directions = panorama_directions(size_hw)
    total = np.zeros((*size_hw, pictures[0].shape[2]))
    weights = np.zeros(size_hw)
    for picture, view in zip(pictures, views, strict=True):
        height, width = picture.shape[:2]
        columns, rows, seen = view_pixels(view, (height, width), directions)
        weight = border_weight(columns[seen], width) * border_weight(rows[seen], height)
        total[seen] += weight[:, None] * _bilinear(picture, columns[seen], rows[seen])
        weights[seen] += weight
    return total / np.maximum(weights, np.finfo(np.float64).tiny)[..., None], weights


def border_weight(position: Floats, count: int) -> Floats:
    """Return a weight that is 1 in the middle of a picture and almost 0 at its border."""
    return np.minimum(position + 1, count - position) / ((count + 1) / 2)


def _bilinear(picture: npt.NDArray[np.floating[Any]], columns: Floats, rows: Floats) -> Floats:
    height, width = picture.shape[:2]
    column, row = np.clip(columns, 0, width - 1), np.clip(rows, 0, height - 1)
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (column - left)[:, None], (row - top)[:, None]
    upper = (1 - across) * picture[top, left] + across * picture[top, right]
    lower = (1 - across) * picture[below, left] + across * picture[below, right]
    mixed: Floats = (1 - down) * upper + down * lower
    return mixed
