"""From photograph and labels to network input (Seamless, spec 3).

Photographs are resized by Pillow's bilinear filter, labels by its nearest neighbor; then segments
that resizing has lost are dropped and the rest renumbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_vision.images.resizing import (
    resize_nearest,
    resize_rgb,
    scale_to_shortest,
    scaled_size,
)
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

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
class Placement:
    """How one image enters the network.

    Attributes:
        size_hw: Height and width after resizing, in pixels.
        flip: Whether it is mirrored left to right.
    """

    size_hw: tuple[int, int]
    flip: bool = False


def training_placement(
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    shortest_px: int,
    longest_max_px: int,
    random_scale: Sequence[float] | None,
    flip_probability: float,
) -> Placement:
    """Draw flip and scale of a training image (spec 3).

    Args:
        size_hw: Size of the photograph in pixels.
        rng: Random numbers of this sample.
        shortest_px: Wanted length of the shorter side.
        longest_max_px: Largest length of the longer side.
        random_scale: Two entries: the shorter side is drawn between these multiples of
            ``shortest_px``; more: one of them is chosen; None: no random scale.
        flip_probability: Probability of mirroring.

    Returns:
        The placement.
    """
    flip = bool(rng.random() < flip_probability)
    target_px = shortest_px
    if random_scale is not None and len(random_scale) == 2:
        low, high = random_scale
        target_px = int(rng.uniform(shortest_px * low, shortest_px * high))
    elif random_scale is not None and len(random_scale) > 2:
        target_px = int(shortest_px * random_scale[int(rng.integers(len(random_scale)))])
    scale = scale_to_shortest(size_hw, max(1, target_px), longest_max_px)
    return Placement(scaled_size(size_hw, scale), flip)


def evaluation_placement(
    size_hw: tuple[int, int], *, shortest_px: int, longest_max_px: int | None
) -> Placement:
    """Scale an image for validation, or for inference on a user's own file.

    Args:
        size_hw: Size of the photograph in pixels.
        shortest_px: Wanted length of the shorter side.
        longest_max_px: Largest length of the longer side. The original's test transform ignores it,
            so that inference runs at another scale than validation: None reproduces that.

    Returns:
        The placement.
    """
    return Placement(scaled_size(size_hw, scale_to_shortest(size_hw, shortest_px, longest_max_px)))


def place_image(
    image: npt.NDArray[np.uint8], placement: Placement, normalization: ImageNormalization
) -> Tensor:
    """Resize, mirror and normalize a photograph.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        placement: Where it goes.
        normalization: Mean and deviation of the colors.

    Returns:
        ``(3, h, w)`` float32.

    Example:
        >>> grey = np.full((4, 6, 3), 255, np.uint8)
        >>> one = ImageNormalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        >>> place_image(grey, Placement((2, 3)), one).shape
        torch.Size([3, 2, 3])
    """
    resized = resize_rgb(image, placement.size_hw)
    if placement.flip:
        resized = resized[:, ::-1]
    values = resized.astype(np.float32) / np.float32(_MAX_LEVEL)
    mean = np.asarray(normalization.mean, dtype=np.float32)
    std = np.asarray(normalization.std, dtype=np.float32)
    normalized = (values - mean) / std
    return torch.from_numpy(np.ascontiguousarray(normalized.transpose(2, 0, 1)))


def place_labels(panoptic: IndexedPanoptic, placement: Placement) -> IndexedPanoptic:
    """Resize and mirror labels, then drop the segments that are gone and renumber the rest.

    Args:
        panoptic: Labels; their size need not be the photograph's.
        placement: Where the photograph goes.

    Returns:
        Labels at the placement's size; segment 0 stays void.
    """
    id_map = resize_nearest(panoptic.id_map, placement.size_hw)
    if placement.flip:
        id_map = id_map[:, ::-1]
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
