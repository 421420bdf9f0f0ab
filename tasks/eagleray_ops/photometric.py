"""Photometric distortion of training images in 8 bits, as the released pipeline does it.

It comes in two parts, the draw and what is done with it, so that a draw can be given
(docs/originals/ops.md, section 8).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_ops.settings import PhotometricSettings
from eagleray_vision.images.color_distortion import ColorDraw, distorted

Image = npt.NDArray[np.uint8]

_HUES = 180
"""Steps of a whole turn of the hue in OpenCV's 8-bit HSV."""
_HUE_STEP_DEG = 360 / _HUES


def draw_colors(settings: PhotometricSettings, rng: np.random.Generator) -> ColorDraw:
    """Draw a distortion; each step is made with probability 1/2."""

    def maybe(value: Any) -> Any:
        return value if rng.integers(2) else None

    largest = settings.brightness
    return ColorDraw(
        brightness=maybe(rng.uniform(-largest, largest)),
        contrast=maybe(rng.uniform(*settings.contrast)),
        contrast_first=bool(rng.integers(2)),
        saturation=maybe(rng.uniform(*settings.saturation)),
        hue_deg=maybe(_HUE_STEP_DEG * int(rng.integers(-settings.hue, settings.hue)))
        if settings.hue
        else None,
    )


def distort_colors(rgb: Image, draw: ColorDraw) -> Image:
    """Distort the colors of an image; every step clips and truncates to 8 bits.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        draw: What is done.

    Returns:
        An image of the same shape.
    """
    return distorted(rgb, draw, _linear, _in_hsv)


def _linear(values: Image, factor: float, offset: float) -> Image:
    return np.clip(values.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)


def _in_hsv(rgb: Image, saturation: float | None, hue_deg: float | None) -> Image:
    """Change saturation and hue, each from and to 8-bit RGB as the released pipeline does."""
    if saturation is not None:
        hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _linear(hsv[..., 1], saturation, 0.0)
        rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if hue_deg is not None:
        hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + round(hue_deg / _HUE_STEP_DEG)) % _HUES
        rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return rgb
