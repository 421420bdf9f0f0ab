"""Toy pictures: bright squares and discs on noisy ground. Delete it when you have data."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from .boxes import Things

MOST_THINGS = 3


def draw(key: str, size_px: int) -> tuple[npt.NDArray[np.uint8], Things]:
    """Draw a picture that depends on its key only.

    Args:
        key: Name of the picture.
        size_px: Height and width.

    Returns:
        ``(H, W, 3)`` RGB, and its things: class 0 squares, class 1 discs, side by side in columns
        of their own.
    """
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    rows, columns = np.mgrid[:size_px, :size_px]
    picture = np.full((size_px, size_px, 3), 60.0)
    number = int(rng.integers(1, MOST_THINGS + 1))
    width = size_px // number
    boxes, classes = [], []
    for left_edge in range(0, number * width, width):
        side = int(rng.integers(size_px // 6, size_px // MOST_THINGS + 1))
        side = min(side, width)
        left = left_edge + int(rng.integers(0, width - side + 1))
        top = int(rng.integers(0, size_px - side + 1))
        kind = int(rng.integers(0, 2))
        middle, half = (top + (side - 1) / 2, left + (side - 1) / 2), side / 2
        inside = np.hypot(rows - middle[0], columns - middle[1]) <= half
        if kind == 0:
            inside = np.maximum(abs(rows - middle[0]), abs(columns - middle[1])) <= half
        picture[inside] = ((200, 90, 60), (70, 120, 210))[kind]
        boxes.append([left, top, left + side, top + side])
        classes.append(kind)
    noisy = picture + rng.normal(0, 30, picture.shape)
    things = Things(np.array(boxes, np.float32), np.array(classes, np.int64))
    return noisy.clip(0, 255).astype(np.uint8), things
