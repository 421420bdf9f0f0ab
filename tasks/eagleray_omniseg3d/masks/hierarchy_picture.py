"""Pictures of masks and patches over their image, as the original writes beside its npz files."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.masks.hierarchy import BoolArray, IntArray

_MAX_COLOR = 192
"""Random colors lie in 0..191 per channel, the darkened image in 0..63 (original run_sam)."""

RgbImage = npt.NDArray[np.uint8]


def paint_masks(image: RgbImage, masks: BoolArray, name: str) -> RgbImage:
    """Paint masks in random colors over a darkened image; larger masks cover smaller ones.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: (N, H, W) bool.
        name: Seeds the colors, so that the same image gets the same ones.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    colors = _colors(name, len(masks))
    layer = np.zeros_like(image)
    for mask_idx in np.argsort(np.count_nonzero(masks, axis=(1, 2)), kind="stable"):
        layer[masks[mask_idx]] = colors[mask_idx]
    return np.add(image >> 2, layer, dtype=np.uint8)


def paint_patches(image: RgbImage, indices: IntArray, name: str) -> RgbImage:
    """Paint patches in random colors over a darkened image; patch 0 stays dark.

    Args:
        image: (H, W, 3) uint8 RGB.
        indices: (H, W) patch ids.
        name: Seeds the colors.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    colors = _colors(name, int(indices.max(initial=0)) + 1)
    colors[0] = 0
    return np.add(image >> 2, colors[indices], dtype=np.uint8)


def _colors(name: str, count: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.integers(0, _MAX_COLOR, (count, 3)).astype(np.uint8)
