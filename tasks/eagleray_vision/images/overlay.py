"""Colored label maps, blends with the photograph, and outlines of instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from eagleray_vision.images.errors import ImageSizeMismatchError

GAP_PX = 4
"""Width of the white gap between pictures that stand side by side, in pixels."""


def color_labels(
    labels: npt.NDArray[np.integer[Any]], palette: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Paint a label map.

    Args:
        labels: ``(H, W)`` integers; labels outside the palette (void) become black.
        palette: ``(C, 3)`` uint8 RGB colors by label.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    table = np.vstack([palette, np.zeros((1, 3), np.uint8)])
    known = (labels >= 0) & (labels < len(palette))
    colored: npt.NDArray[np.uint8] = table[np.where(known, labels, len(palette))]
    return colored


def blend(
    image: npt.NDArray[np.uint8], colors: npt.NDArray[np.uint8], alpha: float = 0.5
) -> npt.NDArray[np.uint8]:
    """Mix a photograph with a colored map of the same size, by Pillow's arithmetic.

    Args:
        image: ``(H, W, 3)`` uint8.
        colors: ``(H, W, 3)`` uint8.
        alpha: Share of ``colors`` in 0..1.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ImageSizeMismatchError: The sizes differ.
    """
    if image.shape != colors.shape:
        raise ImageSizeMismatchError(
            f"cannot blend an image of shape {image.shape} with colors of shape {colors.shape}; "
            "resize one of them first"
        )
    mixed = Image.blend(Image.fromarray(image), Image.fromarray(colors), alpha)
    return np.asarray(mixed, dtype=np.uint8)


def paint_through(
    image: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.uint8],
    color: tuple[int, int, int] = (255, 255, 255),
) -> npt.NDArray[np.uint8]:
    """Paint a color over an image with a mask as opacity.

    Args:
        image: ``(H, W, 3)`` uint8.
        mask: ``(H, W)`` uint8 opacity, 255 = opaque.
        color: RGB color.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    paint = Image.new("RGB", (image.shape[1], image.shape[0]), color)
    painted = Image.composite(paint, Image.fromarray(image), Image.fromarray(mask))
    return np.asarray(painted, dtype=np.uint8)


def side_by_side(
    pictures: Sequence[npt.NDArray[np.uint8]], titles: Sequence[str] = ()
) -> npt.NDArray[np.uint8]:
    """Put pictures of equal height next to each other, each with a title in its upper left corner.

    Args:
        pictures: ``(H, W_k, 3)`` uint8 images.
        titles: One title per picture, or none at all.

    Returns:
        ``(H, sum(W_k) + gaps, 3)`` uint8.

    Raises:
        ImageSizeMismatchError: The heights differ.
    """
    heights = {picture.shape[0] for picture in pictures}
    if len(heights) != 1:
        raise ImageSizeMismatchError(
            f"pictures side by side need one height, found {sorted(heights)}; resize them first"
        )
    height = heights.pop()
    width = sum(picture.shape[1] for picture in pictures) + GAP_PX * (len(pictures) - 1)
    canvas = Image.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    left = 0
    for index, picture in enumerate(pictures):
        canvas.paste(Image.fromarray(picture), (left, 0))
        if titles:
            draw.text(
                (left + GAP_PX, GAP_PX),
                titles[index],
                fill="white",
                stroke_width=1,
                stroke_fill="black",
            )
        left += picture.shape[1] + GAP_PX
    return np.asarray(canvas, dtype=np.uint8)
