"""Samples and batches: photographs with their panoptic records, placed on the network input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import Dataset, Rows
from eagleray_seamseg.losses import PanopticTarget
from eagleray_seamseg.settings import InputSettings
from eagleray_seamseg.stages import PHOTO_FILE, PORTRAITS
from eagleray_seamseg.transforms import (
    ImageNormalization,
    Placement,
    evaluation_placement,
    place_image,
    place_labels,
    training_placement,
)
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, indexed_panoptic

_LANDSCAPE, _PORTRAIT = 0, 1


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


class PanopticDataset(Dataset):
    """The images of one split.

    Args:
        rows: Records of `PanopticLabelStage`.
        root: Folder of the data set; ``image_path`` of the records is relative to it.
        settings: Sizes of the network input.
        normalization: Colors that the network expects.
        training: Draw flips and scales, and leave photographs out of the samples.
    """

    def __init__(
        self,
        rows: Rows,
        root: Path,
        settings: InputSettings,
        normalization: ImageNormalization,
        *,
        training: bool,
    ) -> None:
        self._rows, self._root, self._settings = rows, root, settings
        self._normalization, self._training = normalization, training
        self._keys = list(rows.keys())
        self._portraits: frozenset[str] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._keys)

    def key(self, index: int) -> str:
        """Return the image's name."""
        return self._keys[index]

    def group(self, index: int) -> int:
        """Return 0 for images that are wider than high, 1 for the others (spec 3)."""
        if self._portraits is None:
            self._portraits = frozenset(self._rows.summary().get(PORTRAITS, ()))
        return _PORTRAIT if self._keys[index] in self._portraits else _LANDSCAPE

    def shard_idx(self, index: int) -> int:
        """Return the shard that holds the image's record."""
        return self._rows.shard_idx(self._keys[index])

    def load(self, index: int, rng: np.random.Generator) -> PanopticSample:
        """Read one image and its labels."""
        key = self._keys[index]
        row = self._rows[key]
        photo = read_rgb(self._photo(key, row["image_path"]))
        truth = indexed_panoptic(read_deep_ids(row["id_map"]), row["categories"], row["is_crowd"])
        placement = self._placement((photo.shape[0], photo.shape[1]), rng)
        image = place_image(photo, placement, self._normalization)
        placed = place_labels(truth, placement)
        if self._training:
            return PanopticSample(key, image, placed=placed)
        return PanopticSample(key, image, photo, placed, truth)

    def collate(self, samples: Sequence[PanopticSample]) -> PanopticBatch:
        """Pad the images to a common size and collect their targets."""
        images, sizes = pad_images([sample.image for sample in samples])
        placed = [sample.placed for sample in samples if sample.placed is not None]
        return PanopticBatch(images, sizes, tuple(panoptic_target(one) for one in placed))

    def _photo(self, key: str, image_path: str) -> Path | bytes:
        if image_path:
            return self._root / image_path
        return self._rows.read_file(key, PHOTO_FILE.format(key=key))

    def _placement(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Placement:
        settings = self._settings
        if not self._training:
            return evaluation_placement(
                size_hw,
                shortest_px=settings.shortest_px,
                longest_max_px=settings.longest_max_px,
            )
        return training_placement(
            size_hw,
            rng,
            shortest_px=settings.shortest_px,
            longest_max_px=settings.longest_max_px,
            random_scale=settings.random_scale,
            flip_probability=settings.flip_probability,
        )


def pad_images(images: Sequence[Tensor]) -> tuple[Tensor, tuple[tuple[int, int], ...]]:
    """Stack images of different sizes, padded with 0 at the bottom and right (spec 1.14).

    Args:
        images: ``(3, h_i, w_i)`` normalized images.

    Returns:
        ``(n, 3, max h, max w)``, and the size of each image.

    Example:
        >>> pad_images([torch.ones(3, 2, 5), torch.ones(3, 4, 1)])[0].shape
        torch.Size([2, 3, 4, 5])
    """
    sizes = tuple((image.shape[1], image.shape[2]) for image in images)
    height, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
    padded = [
        F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images
    ]
    return torch.stack(padded), sizes


def panoptic_target(placed: IndexedPanoptic) -> PanopticTarget:
    """Turn labels at the network input's size into the losses' target."""
    return PanopticTarget(
        ids=torch.from_numpy(placed.id_map.astype(np.int64)),
        classes=torch.from_numpy(placed.categories),
        is_crowd=torch.from_numpy(placed.is_crowd),
    )
