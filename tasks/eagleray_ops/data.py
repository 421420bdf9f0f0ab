"""Samples of OPS: photographs as training sees them, distorted or not, and panoramas to be tested.

Training images go through: a short side drawn from a list, a random crop, distorted colors, a
mirror half the time, CLIP's colors. Where RERP is on, a share of them is distorted before: by the
stage that made one image per photograph, or afresh for every epoch. All chance comes from the
generator that belongs to (seed, epoch, sample).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray.task import Rows
from eagleray_ops.photometric import distort_colors, draw_colors
from eagleray_ops.rerp import rerp
from eagleray_ops.settings import InputSettings, OpsSettings
from eagleray_ops.stages import (
    RERP_IMAGE,
    RERP_LABEL,
    RERP_VAL,
    VAL,
    data_folders,
    stage_labels,
)
from eagleray_ops.training_words import training_classes
from eagleray_vision.images.opencv_resizing import resize_bilinear, resize_nearest_floor
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.images.resizing import shortest_edge_size
from eagleray_vision.inference.panorama import resize_photo
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import VOID_CLASS
from eagleray_vision.samples.keyed import KeyedDataset
from eagleray_vision.samples.semantic import (
    SemanticBatch,
    SemanticSample,
    class_tensor,
    semantic_batch,
)

Photo = npt.NDArray[np.uint8]


class TrainingImages(KeyedDataset[SemanticSample, SemanticBatch]):
    """The images that are trained on.

    Args:
        labels: Rows of the label stage.
        distorted: Rows of the RERP stage; None in the other modes.
        root: Folder of the data set.
        settings: Settings of the experiment.
    """

    def __init__(
        self, labels: Rows, distorted: Rows | None, root: Path, settings: OpsSettings
    ) -> None:
        replaced = distorted is not None and settings.rerp.share == 1
        super().__init__(labels, distorted.keys() if replaced and distorted else None)
        self._labels, self._distorted, self._root = labels, distorted, root
        self._input, self._rerp = settings.input, settings.rerp
        self._faithful = settings.faithful
        self._known = frozenset(distorted.keys()) if distorted is not None else frozenset()
        self._classes = training_classes(settings)

    def load(self, index: int, rng: np.random.Generator) -> SemanticSample:
        """Read one photograph and its classes, and draw what training sees of them."""
        key = self._keys[index]
        photo, classes = self._read(key, rng)
        classes = self._classes[classes]
        photo, classes = self._resized_and_cropped(photo, classes, rng)
        if self._input.photometric.enabled:
            photo = distort_colors(photo, draw_colors(self._input.photometric, rng))
        if rng.random() < self._input.flip_probability:
            photo, classes = photo[:, ::-1], classes[:, ::-1]
        return SemanticSample(key, normalized(photo, self._input), class_tensor(classes))

    def collate(self, samples: Sequence[SemanticSample]) -> SemanticBatch:
        """Pad images and classes to the size of the crop."""
        return semantic_batch(samples, side_px=self._input.crop_px)

    def _read(self, key: str, rng: np.random.Generator) -> tuple[Photo, Photo]:
        is_distorted = self._rerp.mode != "off" and rng.random() < self._rerp.share
        if is_distorted and self._distorted is not None and key in self._known:
            return read_distorted(self._distorted, key)
        photo, classes = read_labeled(self._labels, key, self._root)
        if not is_distorted or self._rerp.mode != "online":
            return photo, classes
        return rerp(
            photo,
            classes,
            self._input.crop_px,
            rng,
            shuffle=self._rerp.shuffle,
            faithful=self._faithful,
            yaw_deg=self._rerp.yaw_deg,
            pitch_deg=self._rerp.pitch_deg,
        )

    def _resized_and_cropped(
        self, photo: Photo, classes: Photo, rng: np.random.Generator
    ) -> tuple[Photo, Photo]:
        short = int(rng.choice(self._input.short_edges_px))
        size = shortest_edge_size((photo.shape[0], photo.shape[1]), short, self._input.long_edge_px)
        photo, classes = resize_bilinear(photo, size), resize_nearest_floor(classes, size)
        crop = self._input.crop_px
        top, left = (int(rng.integers(max(side - crop, 0) + 1)) for side in size)
        rows, columns = slice(top, top + crop), slice(left, left + crop)
        return photo[rows, columns], classes[rows, columns]


@dataclass(frozen=True)
class LabeledFolder:
    """One folder of panoramas.

    Attributes:
        rows: Rows of its label stage.
        root: Folder that ``image_path`` of the rows is relative to.
        is_distorted: Whether the rows are those of RERP, which hold the images.
        classes: ``(256,)`` uint8 class of each stored one; None: as they are stored.
    """

    rows: Rows
    root: Path
    is_distorted: bool = False
    classes: npt.NDArray[np.uint8] | None = None

    def read(self, key: str) -> tuple[Photo, Photo]:
        """Read an image and its classes, both ``(H, W)`` uint8, 255 is void."""
        if self.is_distorted:
            photo, classes = read_distorted(self.rows, key)
        else:
            photo, classes = read_labeled(self.rows, key, self.root)
        return photo, classes if self.classes is None else self.classes[classes]


class EvaluationImages(KeyedDataset[SemanticSample, SemanticBatch]):
    """Images to be scored.

    Args:
        folder: Their folder.
        settings: Settings of the experiment.
    """

    def __init__(self, folder: LabeledFolder, settings: OpsSettings) -> None:
        super().__init__(folder.rows)
        self._folder, self._settings = folder, settings

    def load(self, index: int, rng: np.random.Generator) -> SemanticSample:
        """Read one image and its classes."""
        photo, truth = self._folder.read(self._keys[index])
        image = network_image(photo, self._settings)
        return SemanticSample(self._keys[index], image, photo=photo, truth=truth)

    def collate(self, samples: Sequence[SemanticSample]) -> SemanticBatch:
        """Pad images to a common size; their classes stay with the samples."""
        return semantic_batch(samples, side_px=self._settings.input.pad_multiple_px)


def evaluation_images(
    source: str, rows: Mapping[str, Rows], settings: OpsSettings
) -> EvaluationImages:
    """Return the images of a benchmark's source.

    Args:
        source: The source.
        rows: Rows of the prepared stages, by label.
        settings: Settings of the experiment.
    """
    is_distorted = source == RERP_VAL
    (label,) = stage_labels(source, settings)
    folder = LabeledFolder(
        rows[label],
        data_folders(settings.data)[VAL if is_distorted else source].root,
        is_distorted=is_distorted,
        classes=training_classes(settings) if is_distorted or source == VAL else None,
    )
    return EvaluationImages(folder, settings)


def read_distorted(rows: Rows, key: str) -> tuple[Photo, Photo]:
    """Read an image that RERP has made and its classes."""
    image = rows.read_file(key, RERP_IMAGE.format(key=key))
    label = rows.read_file(key, RERP_LABEL.format(key=key))
    return read_rgb(image), read_deep_ids(label).astype(np.uint8)


def read_labeled(rows: Rows, key: str, root: Path) -> tuple[Photo, Photo]:
    """Read a photograph and its classes, both ``(H, W)`` uint8, 255 is void."""
    row = rows[key]
    table = np.asarray(row["categories"], dtype=np.uint8).copy()
    table[0] = VOID_CLASS
    return read_rgb(root / row["image_path"]), table[read_deep_ids(row["id_map"])]


def network_hw(
    size_hw: tuple[int, int], settings: OpsSettings, scale: float = 1.0
) -> tuple[int, int]:
    """Return the size at which an image is seen.

    Around a panorama the width is brought to a multiple of the patches' multiple, so that nothing
    has to be padded at the seam.

    Args:
        size_hw: Height and width of the photograph.
        settings: Settings of the experiment.
        scale: One of ``inference.scales``.
    """
    sizes = settings.input
    height, width = shortest_edge_size(size_hw, sizes.short_edge_px, sizes.long_edge_px)
    if scale != 1:
        height, width = max(1, round(scale * height)), max(1, round(scale * width))
    if goes_around(size_hw, settings):
        width = max(1, round(width / sizes.pad_multiple_px)) * sizes.pad_multiple_px
    return height, width


def goes_around(size_hw: tuple[int, int], settings: OpsSettings) -> bool:
    """Return whether windows and resizing go around the seam of an image of a size."""
    match settings.inference.wrap:
        case "always":
            return True
        case "never":
            return False
    return not settings.faithful and size_hw[1] >= 2 * size_hw[0]


def network_image(photo: Photo, settings: OpsSettings, scale: float = 1.0) -> Tensor:
    """Resize and normalize a photograph as the network sees it, ``(3, h, w)``.

    Args:
        photo: ``(H, W, 3)`` uint8.
        settings: Settings of the experiment.
        scale: One of ``inference.scales``.
    """
    size = (photo.shape[0], photo.shape[1])
    around = goes_around(size, settings)
    return normalized(
        resize_photo(photo, network_hw(size, settings, scale), wrap=around), settings.input
    )


def normalized(photo: npt.NDArray[np.integer[Any]], sizes: InputSettings) -> Tensor:
    """Return ``(H, W, 3)`` 8-bit colors as CLIP expects them, ``(3, H, W)`` float32."""
    values = np.empty((3, *photo.shape[:2]), dtype=np.float32)
    for channel in range(3):  # one at a time: a large panorama takes its own size, not four times
        mean, std = np.float32(sizes.rgb_mean[channel]), np.float32(sizes.rgb_std[channel])
        plane = values[channel]
        plane[:] = photo[..., channel]
        plane /= np.float32(255)
        plane -= mean
        plane /= std
    return torch.from_numpy(values)
