"""Photographs of a key frame at the network's scale, with the matrices that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.key_frame import CameraTime
from eagleray_vision.images.reading import read_rgb

Image = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]

SIZE_DIVISOR = 32
"""Images are padded to multiples of the coarsest map's stride."""


def read_photograph(root: Path, camera: CameraTime, token: str) -> npt.NDArray[np.uint8]:
    """Read the photograph of a camera; it has the size that the key frame states, if it does.

    Raises:
        InputError: It is missing or damaged, or has another size.
    """
    path = root / camera.path
    if not path.is_file():
        raise DrivingDataError(
            f"{path} of key frame {token} does not exist; unpack the part of the data that holds it"
        )
    image = read_rgb(path)
    if camera.size_hw not in ((0, 0), image.shape[:2]):
        raise DrivingDataError(
            f"{path} of key frame {token} has {image.shape[0]} x {image.shape[1]} pixels, its "
            f"table says {camera.size_hw[0]} x {camera.size_hw[1]}: the intrinsic matrix does not "
            "fit to it"
        )
    return image


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
    # Six distorted photographs of nuScenes are 100 MB: each value is written once. np.zeros would
    # cost five times as much here, since only np.empty asks for large pages.
    padded = np.empty((len(images), height, width, 3), dtype=images[0].dtype)
    for slot, image, (own_height, own_width) in zip(padded, images, sizes, strict=True):
        slot[:own_height, :own_width] = image
        slot[own_height:] = 0
        slot[:, own_width:] = 0
    return padded, sizes


def fill_to(images: Image, height: int, width: int) -> Image:
    """Return ``(N, h, w, 3)`` images as ``(N, height, width, 3)``, zero where they end."""
    missing = (height - images.shape[1], width - images.shape[2])
    if missing == (0, 0):
        return images
    return np.pad(images, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
