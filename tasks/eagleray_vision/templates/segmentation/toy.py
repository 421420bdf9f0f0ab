"""Toy pictures: a bright square and a disc on noisy ground. Delete it when you have data."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def draw(key: str, size_px: int) -> tuple[Pixels, Pixels]:
    """Draw a picture that depends on its key only.

    Args:
        key: Name of the picture.
        size_px: Height and width.

    Returns:
        ``(H, W, 3)`` RGB and ``(H, W)`` labels: 0 ground, 1 square, 2 disc.
    """
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    rows, columns = np.mgrid[:size_px, :size_px]
    labels = np.zeros((size_px, size_px), np.uint8)
    side = int(rng.integers(size_px // 4, size_px // 2))
    top, left = rng.integers(0, size_px - side, 2)
    labels[top : top + side, left : left + side] = 1
    center, radius = rng.integers(size_px // 4, size_px, 2), size_px // 5
    labels[(rows - center[0]) ** 2 + (columns - center[1]) ** 2 < radius**2] = 2
    colors = np.array([[60, 60, 60], [200, 90, 60], [70, 120, 210]], np.float64)
    noisy = colors[labels] + rng.normal(0, 30, (size_px, size_px, 3))
    return noisy.clip(0, 255).astype(np.uint8), labels
