"""Photometric distortion of training images in 8 bits, as the released pipeline does it.

It comes in two parts, the draw and what is done with it, so that a draw can be given
(docs/originals/ops.md, section 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_ops.settings import PhotometricSettings

Image = npt.NDArray[np.uint8]

_HUES = 180
"""Steps of a whole turn of the hue in OpenCV's 8-bit HSV."""


@dataclass(frozen=True, slots=True)
class ColorDraw:
    """One draw of the photometric distortion; None: the step is left out.

    Attributes:
        brightness: Added to all channels, 8-bit levels.
        contrast: Factor of all channels.
        contrast_first: Whether contrast comes before saturation and hue, not behind them.
        saturation: Factor of the saturation.
        hue: Added to the hue, of 180.
    """

    brightness: float | None
    contrast: float | None
    contrast_first: bool
    saturation: float | None
    hue: int | None


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
        hue=maybe(int(rng.integers(-settings.hue, settings.hue))) if settings.hue else None,
    )


def distort_colors(rgb: Image, draw: ColorDraw) -> Image:
    """Distort the colors of an image; every step clips and truncates to 8 bits.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        draw: What is done.

    Returns:
        An image of the same shape.
    """
    if draw.brightness is not None:
        rgb = _linear(rgb, 1.0, draw.brightness)
    if draw.contrast is not None and draw.contrast_first:
        rgb = _linear(rgb, draw.contrast, 0.0)
    if draw.saturation is not None:
        hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _linear(hsv[..., 1], draw.saturation, 0.0)
        rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if draw.hue is not None:
        hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + draw.hue) % _HUES
        rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if draw.contrast is not None and not draw.contrast_first:
        rgb = _linear(rgb, draw.contrast, 0.0)
    return rgb


def _linear(values: Image, factor: float, offset: float) -> Image:
    return np.clip(values.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)
