"""The images of one split: photographs with their panoptic records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eagleray.task import Rows
from eagleray_vision.datasets.label_stage import PHOTO_FILE, PORTRAITS
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, indexed_panoptic
from eagleray_vision.samples.keyed import KeyedDataset
from eagleray_vision.samples.placement import (
    ImageNormalization,
    Placement,
    PlacementRule,
    place_image,
    place_labels,
)
from eagleray_vision.samples.sample import PanopticBatch, PanopticSample, pad_images
from eagleray_vision.samples.target import panoptic_target

_LANDSCAPE, _PORTRAIT = 0, 1


class PanopticDataset(KeyedDataset[PanopticSample, PanopticBatch]):
    """The images of one split.

    Args:
        rows: Records of `PanopticLabelStage`.
        root: Folder of the data set; ``image_path`` of the records is relative to it.
        place: How an image enters the network.
        normalization: Colors that the network expects.
        training: Leave photographs and full-size labels out of the samples.
        pad_multiple: Heights and widths of batches become multiples of this.
    """

    def __init__(
        self,
        rows: Rows,
        root: Path,
        place: PlacementRule,
        normalization: ImageNormalization,
        *,
        training: bool,
        pad_multiple: int = 1,
    ) -> None:
        super().__init__(rows)
        self._root, self._place = root, place
        self._normalization, self._training = normalization, training
        self._pad_multiple = pad_multiple
        self._portraits: frozenset[str] | None = None

    def group(self, index: int) -> int:
        """Return 0 for images that are wider than high, 1 for the others."""
        if self._portraits is None:
            self._portraits = frozenset(self._rows.summary().get(PORTRAITS, ()))
        return _PORTRAIT if self._keys[index] in self._portraits else _LANDSCAPE

    def load(self, index: int, rng: np.random.Generator) -> PanopticSample:
        """Read one image and its labels, and place them on the network's input."""
        photo, truth = self.read(index)
        return self.sample(index, photo, truth, self._place((photo.shape[0], photo.shape[1]), rng))

    def read(self, index: int) -> tuple[npt.NDArray[np.uint8], IndexedPanoptic]:
        """Return one photograph ``(H, W, 3)`` and its labels, as they are stored."""
        key = self._keys[index]
        row = self._rows[key]
        photo = read_rgb(self._photo(key, row["image_path"]))
        truth = indexed_panoptic(read_deep_ids(row["id_map"]), row["categories"], row["is_crowd"])
        return photo, truth

    def sample(
        self,
        index: int,
        photo: npt.NDArray[np.uint8],
        truth: IndexedPanoptic,
        placement: Placement,
    ) -> PanopticSample:
        """Place what `read` has returned on the network's input."""
        image = place_image(photo, placement, self._normalization)
        placed = place_labels(truth, placement)
        if self._training:
            return PanopticSample(self._keys[index], image, placed=placed)
        return PanopticSample(self._keys[index], image, photo, placed, truth)

    def collate(self, samples: Sequence[PanopticSample]) -> PanopticBatch:
        """Pad the images to a common size and collect their targets."""
        images, sizes = pad_images(
            [sample.image for sample in samples], multiple=self._pad_multiple
        )
        placed = [sample.placed for sample in samples if sample.placed is not None]
        return PanopticBatch(images, sizes, tuple(panoptic_target(one) for one in placed))

    def _photo(self, key: str, image_path: str) -> Path | bytes:
        if image_path:
            return self._root / image_path
        return self._rows.read_file(key, PHOTO_FILE.format(key=key))
