"""Resizing by OpenCV's rules, where they differ from Pillow's."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Label = TypeVar("Label", bound=np.generic)


def resize_nearest_floor(
    labels: npt.NDArray[Label], size_hw: tuple[int, int]
) -> npt.NDArray[Label]:
    """Resize a map by OpenCV's nearest neighbor: source index ``floor(i * in / out)``.

    Args:
        labels: ``(H, W)`` values of any type.
        size_hw: Wanted height and width in pixels.

    Returns:
        ``size_hw`` array of the same dtype.

    Example:
        >>> resize_nearest_floor(np.arange(4)[None], (1, 2)).tolist()
        [[0, 2]]
    """
    if labels.shape == tuple(size_hw):
        return labels
    rows, columns = (
        _source_indices(old, new) for old, new in zip(labels.shape, size_hw, strict=True)
    )
    return np.take(np.take(labels, rows, axis=0), columns, axis=1)  # four times as fast as at once


def _source_indices(old: int, new: int) -> npt.NDArray[np.int64]:
    """Return the source of each index, in OpenCV's arithmetic, whose rounding decides ties."""
    step = 1.0 / (new / old)
    indices = np.floor(np.arange(new) * step).astype(np.int64)
    return np.minimum(indices, old - 1)


def resize_bilinear(
    image: npt.NDArray[np.uint8], size_hw: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Resize an 8-bit image bilinearly without widening the filter when it is reduced.

    Args:
        image: ``(H, W)`` or ``(H, W, 3)`` uint8.
        size_hw: Wanted height and width in pixels.
    """
    if image.shape[:2] == tuple(size_hw):
        return image
    resized: npt.NDArray[np.uint8] = cv2.resize(
        image, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR
    )
    return resized
