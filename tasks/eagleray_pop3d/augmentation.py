"""What training does to photographs: colors of each camera on its own, and one GridMask for all.

GridMask: Chen et al., "GridMask Data Augmentation", 2020. Numbers are those of the released
configuration (docs/originals/pop3d.md, section 12).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_vision.images.color_distortion import ColorDraw, distorted

MASK_PROBABILITY = 0.7
"""Of a sample to be masked (released configuration)."""
_RATIO = 0.5
"""Width of a stripe over the period (released configuration)."""
_CANVAS = 1.5
"""Size of the canvas over the image, from whose middle the mask is cut."""


_BRIGHTNESS = 32.0
"""Largest shift, 8-bit levels."""
_CONTRAST = (0.5, 1.5)
_SATURATION = (0.5, 1.5)
_HUE_DEG = 18.0
_TURN_DEG = 360.0

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def draw_colors(rng: np.random.Generator) -> ColorDraw:
    """Draw a distortion; each step is made with probability 1/2."""

    def maybe(value: Any) -> Any:
        return value if rng.integers(2) else None

    return ColorDraw(
        brightness=maybe(rng.uniform(-_BRIGHTNESS, _BRIGHTNESS)),
        contrast_first=bool(rng.integers(2)),
        contrast=maybe(rng.uniform(*_CONTRAST)),
        saturation=maybe(rng.uniform(*_SATURATION)),
        hue_deg=maybe(rng.uniform(-_HUE_DEG, _HUE_DEG)),
        channels=maybe(tuple(rng.permutation(3).tolist())),
    )


def distort_colors(rgb: Image, draw: ColorDraw) -> Image:
    """Distort the colors of a photograph; nothing is clipped or rounded.

    Args:
        rgb: ``(H, W, 3)`` float32, 8-bit levels.
        draw: What is done.

    Returns:
        An image of the same shape and type.
    """
    return distorted(rgb, draw, _linear, _in_hsv)


def _linear(values: Image, factor: float, offset: float) -> Image:
    # Photographs are large: one pass where one is enough.
    changed = values if factor == 1 else values * np.float32(factor)
    return changed if offset == 0 else changed + np.float32(offset)


def _in_hsv(rgb: Image, saturation: float | None, hue_deg: float | None) -> Image:
    hsv = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2HSV)
    if saturation is not None:
        hsv[..., 1] *= np.float32(saturation)
    if hue_deg is not None:
        hsv[..., 0] = (hsv[..., 0] + np.float32(hue_deg)) % np.float32(_TURN_DEG)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32, copy=False)


def grid_mask(size_hw: tuple[int, int], period: int, row_phase: int, column_phase: int) -> Mask:
    """Return ``(H, W)`` bool, True where the image is kept: horizontal and vertical stripes.

    Args:
        size_hw: Size of the image in pixels.
        period: Distance of stripes in pixels, at least 2.
        row_phase: First row of the first horizontal stripe on the canvas, below ``period``.
        column_phase: The same of vertical stripes.
    """
    width = min(max(int(period * _RATIO + 0.5), 1), period - 1)
    rows, columns = (
        _stripes(size, period, phase, width)
        for size, phase in zip(size_hw, (row_phase, column_phase), strict=True)
    )
    return rows[:, None] | columns[None]


def draw_grid_mask(size_hw: tuple[int, int], rng: np.random.Generator) -> Mask | None:
    """Draw the mask of a key frame, the same for all its cameras; None: it is left as it is."""
    if rng.random() >= MASK_PROBABILITY:
        return None
    period = int(rng.integers(2, size_hw[0]))
    row_phase, column_phase = rng.integers(0, period, size=2).tolist()
    return grid_mask(size_hw, period, row_phase, column_phase)


def _stripes(size: int, period: int, phase: int, width: int) -> Mask:
    canvas = int(_CANVAS * size)
    place = np.arange(canvas) - phase
    # The original draws whole periods only, so what is left of the canvas stays empty.
    whole = place < (canvas // period) * period
    kept = (place >= 0) & (place % period < width) & whole
    first = (canvas - size) // 2
    return kept[first : first + size]
