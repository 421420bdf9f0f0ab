"""What a dense extractor is: a frozen network that gives every place of a photograph a vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eagleray_vision.dense_features.two_resizes import sample_through_resizes
from eagleray_vision.images.opencv_resizing import resize_bilinear

RgbImage = NDArray[np.uint8]


class DenseExtractor(nn.Module, ABC):
    """A photograph becomes a network's input on the CPU, and that a small map on the device.

    Attributes:
        name: What tables call it.
        channels: Length of a feature.
        is_non_negative: Whether features are never below 0.
    """

    name: ClassVar[str]
    channels: int
    is_non_negative: bool = False

    @abstractmethod
    def input_size(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the size to which a photograph is resized."""

    @abstractmethod
    def normalize(self, image: Tensor) -> Tensor:
        """Return (3, h, w) float32 as the network reads it, of a (3, h, w) uint8 RGB image."""

    @abstractmethod
    def feature_map(self, inputs: Tensor) -> Tensor:
        """Map (B, 3, h, w) normalized inputs to (B, C, h', w')."""

    def prepare(self, image: RgbImage) -> Tensor:
        """Return a photograph resized, as (3, h, w) uint8; for the CPU side of a stage."""
        resized = resize_bilinear(image, self.input_size((image.shape[0], image.shape[1])))
        return torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))

    @torch.no_grad()
    def at_pixels(self, prepared: Tensor, pixels: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Return the features at pixels of a photograph.

        Args:
            prepared: (3, h, w) uint8 of ``prepare``, on the network's device.
            pixels: (n, 2) int64 (row, column) of the photograph.
            image_hw: Its height and width.

        Returns:
            (n, C) float32 on the network's device.
        """
        small = self.feature_map(self.normalize(prepared)[None])[0]
        middle = (int(prepared.shape[1]), int(prepared.shape[2]))
        return sample_through_resizes(small.float(), pixels, middle_hw=middle, output_hw=image_hw)


def keep_ratio(image_hw: tuple[int, int], long_px: int, short_px: int) -> tuple[int, int]:
    """Return the largest size of an image's ratio that fits two bounds, rounded half up.

    Example:
        >>> keep_ratio((900, 1600), 2048, 1024)
        (1024, 1820)
    """
    factor = min(long_px / max(image_hw), short_px / min(image_hw))
    return int(image_hw[0] * factor + 0.5), int(image_hw[1] * factor + 0.5)
