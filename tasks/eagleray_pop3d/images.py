"""Photographs of a key frame at the network's scale, with the matrices that fit them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]


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
