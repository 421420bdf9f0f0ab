"""Photographs of a key frame at the network's scale, with the matrices that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]

SIZE_DIVISOR = 32
"""Images are padded to multiples of the coarsest map's stride."""


def rescale_view(image: Image, lidar2img: Matrix, rate: float) -> tuple[Image, Matrix]:
    """Resize a photograph and its projection.

    Args:
        image: ``(h, w, 3)`` uint8 or float32.
        lidar2img: ``(4, 4)``, lidar metres to pixels times depth.
        rate: Factor of both sides; sizes are cut to whole pixels.

    Returns:
        The image, bilinear, and the matrix of the new pixels. As in the original the matrix is
        scaled by ``rate`` itself, also where sizes were cut.
    """
    if rate == 1:
        return image, lidar2img
    height, width = image.shape[:2]
    size_wh = (int(width * rate), int(height * rate))
    scaled = cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)
    return scaled, np.diag([rate, rate, 1.0, 1.0]) @ lidar2img


def pad_images(images: Sequence[Image]) -> tuple[Image, npt.NDArray[np.int64]]:
    """Stack the photographs of a rig, filled at their lower and right edges.

    Args:
        images: ``(h_i, w_i, 3)``, of one type.

    Returns:
        ``(N, H, W, 3)`` with sides that are multiples of 32, and the ``(N, 2)`` sizes of the
        photographs in it.
    """
    sizes = np.array([image.shape[:2] for image in images], dtype=np.int64)
    height, width = (-(-side // SIZE_DIVISOR) * SIZE_DIVISOR for side in sizes.max(axis=0).tolist())
    return np.concatenate([fill_to(image[None], height, width) for image in images]), sizes


def fill_to(images: Image, height: int, width: int) -> Image:
    """Return ``(N, h, w, 3)`` images as ``(N, height, width, 3)``, zero where they end."""
    missing = (height - images.shape[1], width - images.shape[2])
    if missing == (0, 0):
        return images
    return np.pad(images, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
