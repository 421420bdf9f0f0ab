"""Samples, and batches with what the network is to say of each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray.task import Dataset, Rows
from eagleray_vision.images.reading import read_rgb

from .boxes import Things
from .model import STRIDE


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture.

    Attributes:
        image: ``(3, H, W)`` float32, 0 to 1.
        photo: ``(H, W, 3)`` uint8, as it was read.
        things: Boxes in the image's pixels; None where nobody knows them.
    """

    image: Tensor
    photo: npt.NDArray[np.uint8]
    things: Things | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Several pictures; a cell is ``STRIDE`` pixels wide.

    Attributes:
        images: ``(n, 3, H, W)`` float32.
        centers: ``(n, C, H/4, W/4)`` float32: 1 in the cell of a thing's center, -1 in those around
            it, which count for nothing, else 0.
        edges: ``(n, 4, H/4, W/4)`` float32: cells from the middle of a center's cell to the edges.
    """

    images: Tensor
    centers: Tensor
    edges: Tensor


def as_image(photo: npt.NDArray[np.uint8]) -> Tensor:
    """Return a photograph as the network reads it, ``(3, H, W)`` float32."""
    return torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255


class Pictures(Dataset[Sample, Batch]):
    """The rows of the stage as samples.

    Args:
        rows: Rows of ``BoxStage``.
        num_classes: Classes.
        mirrored: Mirror every second picture, by chance (training).
    """

    def __init__(self, rows: Rows, num_classes: int, *, mirrored: bool) -> None:
        self._rows, self._keys, self._mirrored = rows, list(rows.keys()), mirrored
        self._num_classes = num_classes

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        """Return the picture's name."""
        return self._keys[index]

    def load(self, index: int, rng: np.random.Generator) -> Sample:
        """Read one picture; all chance comes from ``rng``."""
        row = self._rows[self._keys[index]]
        photo = read_rgb(row["photo"])
        boxes = np.array(row["boxes_xyxy"], np.float32).reshape(-1, 4)
        if self._mirrored and rng.random() < 0.5:
            photo = photo[:, ::-1].copy()
            boxes[:, [0, 2]] = photo.shape[1] - boxes[:, [2, 0]]
        classes = np.array(row["classes"], np.int64)
        things = Things(boxes, classes, np.ones(len(classes), np.float32))
        return Sample(as_image(photo), photo, things)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Join pictures of one size."""
        images = torch.stack([sample.image for sample in samples])
        grid = (images.shape[2] // STRIDE, images.shape[3] // STRIDE)
        targets = [
            cell_targets(sample.things, self._num_classes, grid)
            for sample in samples
            if sample.things is not None
        ]
        centers, edges = (np.stack(parts) for parts in zip(*targets, strict=True))
        return Batch(images, torch.from_numpy(centers), torch.from_numpy(edges))

    def shard_idx(self, index: int) -> int:
        """Return where the picture is stored."""
        return self._rows.shard_idx(self._keys[index])


def cell_targets(
    things: Things, num_classes: int, grid: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return what the network is to say of one picture: centers ``(C, h, w)`` and edges
    ``(4, h, w)`` as in `Batch`.
    """
    centers = np.zeros((num_classes, *grid), np.float32)
    edges = np.zeros((4, *grid), np.float32)
    cells = things.boxes_xyxy / STRIDE
    middles = (cells[:, :2] + cells[:, 2:]) / 2
    places = np.minimum(middles.astype(int), [grid[1] - 1, grid[0] - 1])
    for (column, row), kind in zip(places, things.classes, strict=True):
        around = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
        centers[kind][around] = -1
    for (column, row), kind, box in zip(places, things.classes, cells, strict=True):
        centers[kind, row, column] = 1
        middle = np.array([column + 0.5, row + 0.5])
        edges[:, row, column] = np.concatenate([middle - box[:2], box[2:] - middle])
    return centers, edges
