"""From photograph and labels to the input of a network: resized, cropped, mirrored, normalized.

Two rules of resizing are in use: Pillow's (bilinear with a support that widens when it reduces;
nearest pixel center for labels) and OpenCV's (bilinear between four pixels; labels by
``floor(i * in / out)``). Segments that resizing or cropping has lost are dropped, and the rest are
renumbered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_vision.images.opencv_resizing import resize_bilinear, resize_nearest_floor
from eagleray_vision.images.resizing import (
    resize_nearest,
    resize_rgb,
    scale_to_shortest,
    scaled_size,
)
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

Resizing = Literal["pillow", "opencv"]
Pixel = TypeVar("Pixel", bound=np.generic)

_MAX_LEVEL = 255.0


@dataclass(frozen=True)
class ImageNormalization:
    """Mean and standard deviation per color channel, of values in 0..1.

    Attributes:
        mean: RGB mean.
        std: RGB standard deviation.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Crop:
    """A part of a resized image.

    Attributes:
        top: First row.
        left: First column.
        size_hw: Height and width in pixels.
    """

    top: int
    left: int
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """How one image enters the network: it is resized, then cropped, then mirrored.

    Attributes:
        size_hw: Height and width after resizing, in pixels.
        flip: Whether it is mirrored left to right.
        crop: The part of the resized image that is kept; None for all of it.
        resizing: Whose rule of resizing.
    """

    size_hw: tuple[int, int]
    flip: bool = False
    crop: Crop | None = None
    resizing: Resizing = "pillow"

    @property
    def placed_hw(self) -> tuple[int, int]:
        """Height and width of the placed image in pixels."""
        return self.size_hw if self.crop is None else self.crop.size_hw


class PlacementRule(Protocol):
    """Decides how an image of a size enters the network; a training rule draws random numbers."""

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Placement:
        """Return the placement of a photograph of a size, in pixels."""


def evaluation_placement(
    size_hw: tuple[int, int], *, shortest_px: int, longest_max_px: int | None
) -> Placement:
    """Scale an image to a length of its shorter side.

    Args:
        size_hw: Size of the photograph in pixels.
        shortest_px: Wanted length of the shorter side.
        longest_max_px: Largest length of the longer side; None for no limit.

    Returns:
        The placement.
    """
    return Placement(scaled_size(size_hw, scale_to_shortest(size_hw, shortest_px, longest_max_px)))


def place_image(
    image: npt.NDArray[np.uint8], placement: Placement, normalization: ImageNormalization
) -> Tensor:
    """Resize, crop, mirror and normalize a photograph.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        placement: Where it goes.
        normalization: Mean and deviation of the colors.

    Returns:
        ``(3, h, w)`` float32.

    Example:
        >>> gray = np.full((4, 6, 3), 255, np.uint8)
        >>> one = ImageNormalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        >>> place_image(gray, Placement((2, 3)), one).shape
        torch.Size([3, 2, 3])
    """
    resize = resize_rgb if placement.resizing == "pillow" else resize_bilinear
    placed = _cropped_and_mirrored(resize(image, placement.size_hw), placement)
    values = placed.astype(np.float32) / np.float32(_MAX_LEVEL)
    mean = np.asarray(normalization.mean, dtype=np.float32)
    std = np.asarray(normalization.std, dtype=np.float32)
    normalized = (values - mean) / std
    return torch.from_numpy(np.ascontiguousarray(normalized.transpose(2, 0, 1)))


def place_labels(panoptic: IndexedPanoptic, placement: Placement) -> IndexedPanoptic:
    """Resize, crop and mirror labels, then drop the segments that are gone and renumber the rest.

    Args:
        panoptic: Labels; their size need not be the photograph's.
        placement: Where the photograph goes.

    Returns:
        Labels at the placement's size; segment 0 stays void.
    """
    resize = resize_nearest if placement.resizing == "pillow" else resize_nearest_floor
    id_map = _cropped_and_mirrored(resize(panoptic.id_map, placement.size_hw), placement)
    counts = np.bincount(id_map.ravel(), minlength=len(panoptic.categories))
    counts[0] = 1
    kept = np.flatnonzero(counts)
    renumbering = np.zeros(len(counts), dtype=np.int32)
    renumbering[kept] = np.arange(len(kept), dtype=np.int32)
    return IndexedPanoptic(
        renumbering[id_map],
        panoptic.categories[kept],
        panoptic.is_crowd[kept],
        panoptic.scores[kept],
    )


def _cropped_and_mirrored(image: npt.NDArray[Pixel], placement: Placement) -> npt.NDArray[Pixel]:
    crop = placement.crop
    if crop is not None:
        bottom, right = crop.top + crop.size_hw[0], crop.left + crop.size_hw[1]
        image = image[crop.top : bottom, crop.left : right]
    return image[:, ::-1] if placement.flip else image
