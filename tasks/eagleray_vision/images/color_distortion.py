"""Photometric distortion of training images: what is drawn, and in which order it is done.

OPS and POP-3D distort colors by the same recipe (that of SSD), one in 8 bits and one in floats,
so each brings its arithmetic and its draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy.typing as npt

A = TypeVar("A", bound=npt.NDArray[Any])


@dataclass(frozen=True, slots=True)
class ColorDraw:
    """One draw of the color distortion; None: the step is left out.

    Attributes:
        brightness: Added to all channels, 8-bit levels.
        contrast: Factor of all channels.
        contrast_first: Whether contrast comes before saturation and hue, not behind them.
        saturation: Factor of the saturation.
        hue_deg: Added to the hue, in degrees.
        channels: New order of the three channels.
    """

    brightness: float | None
    contrast: float | None
    contrast_first: bool
    saturation: float | None
    hue_deg: float | None
    channels: tuple[int, ...] | None = None


def distorted(
    rgb: A,
    draw: ColorDraw,
    linear: Callable[[A, float, float], A],
    in_hsv: Callable[[A, float | None, float | None], A],
) -> A:
    """Return an image with the steps of a draw made in their order.

    Args:
        rgb: ``(H, W, 3)``.
        draw: What is done.
        linear: Returns ``values * factor + offset``.
        in_hsv: Returns the image with its saturation multiplied and its hue turned by degrees.
    """
    if draw.brightness is not None:
        rgb = linear(rgb, 1.0, draw.brightness)
    if draw.contrast is not None and draw.contrast_first:
        rgb = linear(rgb, draw.contrast, 0.0)
    if draw.saturation is not None or draw.hue_deg is not None:
        rgb = in_hsv(rgb, draw.saturation, draw.hue_deg)
    if draw.contrast is not None and not draw.contrast_first:
        rgb = linear(rgb, draw.contrast, 0.0)
    return rgb if draw.channels is None else cast(A, rgb[..., list(draw.channels)])
