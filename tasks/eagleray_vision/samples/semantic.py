"""One image with a class per pixel as a network sees it, several as a batch, and what is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray_vision.panoptic.label_space import VOID_CLASS


@dataclass(frozen=True, slots=True)
class SemanticSample:
    """One image, with labels where it has any.

    Attributes:
        key: Name of the sample.
        image: ``(3, h, w)`` float32 normalized network input, not padded.
        labels: ``(h, w)`` int64 classes of the network input; None outside of training.
        photo: ``(H, W, 3)`` uint8 photograph; None in training.
        truth: ``(H, W)`` uint8 classes at their own size; None without labels and in training.
    """

    key: str
    image: Tensor
    labels: Tensor | None = None
    photo: npt.NDArray[np.uint8] | None = None
    truth: npt.NDArray[np.uint8] | None = None

    @property
    def output_hw(self) -> tuple[int, int]:
        """Size at which results are reported: the labels', else the photograph's."""
        for known in (self.truth, self.photo):
            if known is not None:
                return (known.shape[0], known.shape[1])
        return (self.image.shape[1], self.image.shape[2])


@dataclass(frozen=True, slots=True)
class SemanticBatch:
    """Images padded to a common size.

    Attributes:
        images: ``(n, 3, H, W)`` float32, 0 beyond each image.
        labels: ``(n, H, W)`` int64 classes, 255 is void and padding.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class SemanticPrediction:
    """What a network says of one image.

    Attributes:
        classes: ``(H, W)`` int32 class per pixel, at the size at which results are reported.
        scores: ``(K, h, w)`` float16 at the size of the network input; None where there was no
            room to keep them.
    """

    classes: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float16] | None = None


def semantic_batch(samples: Sequence[SemanticSample], *, side_px: int) -> SemanticBatch:
    """Pad samples to a square, or to larger multiples of its side, and stack them.

    Args:
        samples: Samples; all is void where one has no labels.
        side_px: Heights and widths of the batch are multiples of this.
    """
    height, width = (
        max(-(-sample.image.shape[axis] // side_px) for sample in samples) * side_px
        for axis in (1, 2)
    )

    def padded(values: Tensor, fill: float) -> Tensor:
        return F.pad(
            values, (0, width - values.shape[-1], 0, height - values.shape[-2]), value=fill
        )

    def labels(sample: SemanticSample) -> Tensor:
        size = (sample.image.shape[1], sample.image.shape[2])
        void = torch.full(size, VOID_CLASS)
        return padded(void if sample.labels is None else sample.labels, VOID_CLASS)

    return SemanticBatch(
        torch.stack([padded(sample.image, 0) for sample in samples]),
        torch.stack([labels(sample) for sample in samples]),
    )


def class_tensor(classes: npt.NDArray[np.integer[Any]]) -> Tensor:
    """Return classes ``(h, w)`` as the int64 tensor of a sample."""
    return torch.from_numpy(classes.astype(np.int64))
