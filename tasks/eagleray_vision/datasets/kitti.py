"""KITTI panoptic (Mohan & Valada, IJCV 2021, section 4.1): KITTI frames with Cityscapes' classes.

``{split}/images/{id}.png`` and ``{split}/annotations/{id}.png``, a PNG of 24-bit ids
(``id = R + 256 G + 65536 B``): below 1000 the label id of stuff or of a group of things, from 1000
on ``label id * 1000 + number``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from eagleray_vision.datasets.source import (
    LabeledImage,
    ValueSource,
)
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.label_image import read_rgb_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES, LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic


class KittiPanopticSource(ValueSource):
    """Photographs and annotations of equal names; sizes differ a little from frame to frame.

    Args:
        root: Folder that holds ``training`` and ``validation``.
        images: Glob pattern of the photographs relative to ``root``; ``{split}`` is replaced.
        labels: Annotation relative to ``root``; ``{split}`` and ``{id}`` are replaced.
    """

    published_images = "{split}/images/*.png"
    published_labels = "{split}/annotations/{id}.png"

    def label_space(self) -> LabelSpace:
        """Return Cityscapes' 19 classes."""
        return CITYSCAPES

    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the photographs by path."""
        for path in self.photos(split):
            label = self._root / self._labels.format(split=split, id=path.stem)
            yield LabeledImage(path.stem, path, label)

    def read_values(self, image: LabeledImage) -> npt.NDArray[np.uint32]:
        """Read the 24-bit ids as stored, ``(H, W)``."""
        return read_rgb_ids(image.label_path)

    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read the ids; groups of things become crowd segments."""
        return cityscapes_to_indexed(self.read_values(image))[0]
