"""Resize photographs, masks and label maps by Pillow's rules.

Labels use Pillow's nearest neighbor, whose source index is ``floor((i + 0.5) * in / out)``; torch
and OpenCV take ``floor(i * in / out)`` and give other masks (`opencv_resizing`).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

Label = TypeVar("Label", bound=np.generic)


def scale_to_shortest(
    size_hw: tuple[int, int], shortest_px: int, longest_max_px: int | None
) -> float:
    """Return the factor that brings the shorter side to a length, unless the longer one gets too
    long.

    ``scale = shortest / min(h, w)``, but ``longest_max / max(h, w)`` where
    ``int(max(h, w) * scale)`` would exceed ``longest_max`` (Seamless' rule).

    Args:
        size_hw: Height and width in pixels.
        shortest_px: Wanted length of the shorter side, in pixels.
        longest_max_px: Largest allowed length of the longer side, in pixels; None for no limit.

    Returns:
        Scale factor.

    Example:
        >>> scale_to_shortest((40, 90), shortest_px=30, longest_max_px=50) == 50 / 90
        True
    """
    shorter, longer = min(size_hw), max(size_hw)
    scale = shortest_px / shorter
    if longest_max_px is not None and int(longer * scale) > longest_max_px:
        scale = longest_max_px / longer
    return scale


def scaled_size(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Multiply a size by a factor, truncating each side to whole pixels (at least 1).

    Args:
        size_hw: Height and width in pixels.
        scale: Factor.

    Returns:
        Height and width in pixels.
    """
    return max(1, int(size_hw[0] * scale)), max(1, int(size_hw[1] * scale))


def shortest_edge_size(
    size_hw: tuple[int, int], shortest_px: int, longest_max_px: int | None
) -> tuple[int, int]:
    """Return the size with a given shorter side, or longer side where that would get too long.

    The rule of detectron2 and mmsegmentation: both sides are scaled in floating point, first to the
    shorter side, then, if the longer one exceeds its limit, to that; then ``int(side + 0.5)``.

    Args:
        size_hw: Height and width in pixels.
        shortest_px: Wanted length of the shorter side, in pixels.
        longest_max_px: Largest allowed length of the longer side; None for no limit.

    Returns:
        Height and width in pixels, each at least 1.

    Example:
        >>> shortest_edge_size((400, 2048), 640, 2560), shortest_edge_size((333, 500), 640, None)
        ((500, 2560), (640, 961))
    """
    scale = shortest_px / min(size_hw)
    if size_hw[0] < size_hw[1]:
        height, width = float(shortest_px), scale * size_hw[1]
    else:
        height, width = scale * size_hw[0], float(shortest_px)
    if longest_max_px is not None and max(height, width) > longest_max_px:
        scale = longest_max_px / max(height, width)
        height, width = height * scale, width * scale
    return max(1, int(height + 0.5)), max(1, int(width + 0.5))


def resize_rgb(
    image: npt.NDArray[np.uint8],
    size_hw: tuple[int, int],
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> npt.NDArray[np.uint8]:
    """Resize an 8-bit image (gray or RGB) with one of Pillow's filters.

    Args:
        image: ``(H, W)`` or ``(H, W, 3)`` uint8.
        size_hw: Wanted height and width in pixels.
        resample: Pillow filter; bilinear widens its support when it reduces.

    Returns:
        uint8 array of the wanted size with the same number of channels.
    """
    if image.shape[:2] == tuple(size_hw):
        return image
    resized = Image.fromarray(image).resize((size_hw[1], size_hw[0]), resample)
    return np.asarray(resized, dtype=np.uint8)


def resize_nearest(labels: npt.NDArray[Label], size_hw: tuple[int, int]) -> npt.NDArray[Label]:
    """Resize a map of labels, ids or booleans by Pillow's nearest neighbor.

    Args:
        labels: ``(H, W)`` integers that fit in 32 bits with sign, or booleans.
        size_hw: Wanted height and width in pixels.

    Returns:
        ``size_hw`` array of the same dtype.

    Example:
        >>> resize_nearest(np.arange(4)[None], (1, 2)).tolist()
        [[1, 3]]
    """
    if labels.shape == tuple(size_hw):
        return labels
    is_narrow = labels.dtype in (np.dtype(np.uint8), np.dtype(np.bool_))
    carrier = labels.astype(np.uint8 if is_narrow else np.int32)
    resized = Image.fromarray(carrier).resize((size_hw[1], size_hw[0]), Image.Resampling.NEAREST)
    return np.asarray(resized).astype(labels.dtype)
