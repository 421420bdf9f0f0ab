"""Cityscapes in its published layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eagleray_vision.datasets.source import (
    LabeledImage,
    ValueSource,
)
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES, LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

_PHOTO_SUFFIX = "_leftImg8bit"


class CityscapesSource(ValueSource):
    """Photographs by city and ``*_instanceIds.png`` beside.

    Args:
        root: Folder that holds ``leftImg8bit`` and ``gtFine``.
        images: Glob pattern of the photographs relative to ``root``; ``{split}`` is replaced. The
            coarse set is ``leftImg8bit/train_extra``.
        labels: Label file relative to ``root``; ``{split}``, ``{city}`` and ``{id}`` are
            replaced, and the first file that matches a ``*`` is taken.
    """

    published_images = "leftImg8bit/{split}/*/*_leftImg8bit.png"
    published_labels = "gtFine/{split}/{city}/{id}_gtFine_instanceIds.png"

    def label_space(self) -> LabelSpace:
        """Return the 19 evaluated classes."""
        return CITYSCAPES

    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the photographs by path; keys are ``city_sequence_frame``."""
        for path in self.photos(split):
            key = path.stem.removesuffix(_PHOTO_SUFFIX)
            label = self._labels.format(split=split, city=key.split("_")[0], id=key)
            yield LabeledImage(key, path, self._label_path(label))

    def _label_path(self, name: str) -> Path:
        """Resolve a wildcard in the label pattern; without a match the pattern names what is
        missing.
        """
        matching = sorted(self._root.glob(name)) if "*" in name else []
        return matching[0] if matching else self._root / name

    def read_values(self, image: LabeledImage) -> npt.NDArray[np.int32]:
        """Read the instance values as stored, ``(H, W)``."""
        return read_deep_ids(image.label_path)

    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read the instance values; groups of things become crowd segments."""
        return cityscapes_to_indexed(self.read_values(image))[0]
