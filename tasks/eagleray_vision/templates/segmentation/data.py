"""Samples and batches for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray.task import Dataset, Rows
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.panoptic.label_image import read_deep_ids


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture.

    Attributes:
        image: ``(3, H, W)`` float32, 0 to 1.
        photo: ``(H, W, 3)`` uint8, as it was read.
        labels: ``(H, W)`` int32 classes; None where nobody knows them.
    """

    image: Tensor
    photo: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Several pictures: ``(n, 3, H, W)`` float32 and ``(n, H, W)`` int64 classes."""

    images: Tensor
    labels: Tensor


def as_image(photo: npt.NDArray[np.uint8]) -> Tensor:
    """Return a photograph as the network reads it, ``(3, H, W)`` float32."""
    return torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255


class Pictures(Dataset[Sample, Batch]):
    """The rows of the stage as samples.

    Args:
        rows: Rows of ``PictureStage``.
        mirrored: Mirror every second picture, by chance (training).
    """

    def __init__(self, rows: Rows, *, mirrored: bool) -> None:
        self._rows, self._keys, self._mirrored = rows, list(rows.keys()), mirrored

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        """Return the picture's name."""
        return self._keys[index]

    def load(self, index: int, rng: np.random.Generator) -> Sample:
        """Read one picture; all chance comes from ``rng``."""
        row = self._rows[self._keys[index]]
        photo, labels = read_rgb(row["photo"]), read_deep_ids(row["labels"])
        if self._mirrored and rng.random() < 0.5:
            photo, labels = photo[:, ::-1].copy(), labels[:, ::-1].copy()
        return Sample(as_image(photo), photo, labels)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Join pictures of one size."""
        labels = [torch.from_numpy(s.labels).long() for s in samples if s.labels is not None]
        return Batch(torch.stack([s.image for s in samples]), torch.stack(labels))

    def shard_idx(self, index: int) -> int:
        """Return where the picture is stored."""
        return self._rows.shard_idx(self._keys[index])
