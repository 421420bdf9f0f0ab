"""One image as a network sees it, and several of them as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.samples.target import PanopticTarget


@dataclass(frozen=True, slots=True)
class PanopticSample:
    """One image, with labels where it has any.

    Attributes:
        key: Name of the sample.
        image: ``(3, h, w)`` float32 normalized network input.
        photo: ``(H, W, 3)`` uint8 photograph; None in training.
        placed: Labels at the network input's size; None without labels.
        truth: Labels at their own size; None without labels and in training.
    """

    key: str
    image: Tensor
    photo: npt.NDArray[np.uint8] | None = None
    placed: IndexedPanoptic | None = None
    truth: IndexedPanoptic | None = None

    @property
    def network_hw(self) -> tuple[int, int]:
        """Height and width of the network input in pixels."""
        return (self.image.shape[1], self.image.shape[2])

    @property
    def output_hw(self) -> tuple[int, int]:
        """Size at which results are reported: the labels', else the photograph's."""
        if self.truth is not None:
            return (self.truth.id_map.shape[0], self.truth.id_map.shape[1])
        if self.photo is not None:
            return (self.photo.shape[0], self.photo.shape[1])
        return self.network_hw


@dataclass(frozen=True, slots=True)
class PanopticBatch:
    """Images padded to a common size, with their targets.

    Attributes:
        images: ``(n, 3, H, W)`` float32, zero beyond each image.
        valid_sizes: Height and width of each image before padding.
        targets: One per image.
    """

    images: Tensor
    valid_sizes: tuple[tuple[int, int], ...]
    targets: tuple[PanopticTarget, ...]


def pad_images(
    images: Sequence[Tensor], *, multiple: int = 1
) -> tuple[Tensor, tuple[tuple[int, int], ...]]:
    """Stack images of different sizes, padded with 0 at the bottom and right.

    Args:
        images: ``(3, h_i, w_i)`` normalized images.
        multiple: Height and width of the stack become multiples of this.

    Returns:
        ``(n, 3, H, W)`` of the largest height and width, rounded up, and the size of each image.

    Example:
        >>> pad_images([torch.ones(3, 2, 5), torch.ones(3, 4, 1)])[0].shape
        torch.Size([2, 3, 4, 5])
    """
    sizes = tuple((image.shape[1], image.shape[2]) for image in images)
    height = -(-max(size[0] for size in sizes) // multiple) * multiple
    width = -(-max(size[1] for size in sizes) // multiple) * multiple
    padded = [
        F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images
    ]
    return torch.stack(padded), sizes
