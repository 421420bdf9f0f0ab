"""India Driving Dataset (Varma et al., WACV 2019), level 3: 17 stuff classes and 9 things.

``leftImg8bit/{split}/{drive}/{id}_leftImg8bit.png`` and, as the data set's own tool writes them,
``gtFine/{split}/{drive}/{id}_gtFine_instancelevel3Ids.png`` with 16-bit values: below 1000 the
level-3 id of stuff or of a group, from 1000 on ``level-3 id * 1000 + number``; 255 is ignored.
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
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

_LEVEL3 = (
    ("road", (128, 64, 128)),
    ("drivable fallback", (81, 0, 81)),
    ("sidewalk", (244, 35, 232)),
    ("non-drivable fallback", (152, 251, 152)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
    ("autorickshaw", (255, 204, 54)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("vehicle fallback", (136, 143, 153)),
    ("curb", (220, 190, 40)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("guard rail", (180, 165, 180)),
    ("billboard", (174, 64, 67)),
    ("traffic sign", (220, 220, 0)),
    ("traffic light", (250, 170, 30)),
    ("pole", (153, 153, 153)),
    ("obs-str-bar-fallback", (169, 187, 214)),
    ("building", (70, 70, 70)),
    ("bridge", (150, 100, 100)),
    ("vegetation", (107, 142, 35)),
    ("sky", (70, 130, 180)),
)
"""Names and colors by level-3 id: quoted from memory, and no file of the data set was there to
check them. So are the folders above. That level 3 has 17 stuff classes and 9 things with the ids 4
to 12, and the name ``*_instancelevel3Ids.png``, are not."""

_THING_IDS = range(4, 13)
IDD_IGNORED_ID = 255
"""Value of pixels without a class."""

_PHOTO_MARK = "_leftImg8bit"


def _level3() -> LabelSpace:
    stuff = [index for index in range(len(_LEVEL3)) if index not in _THING_IDS]
    order = (*stuff, *_THING_IDS)
    return LabelSpace(
        "idd_level3",
        tuple(_LEVEL3[index][0] for index in order),
        len(stuff),
        order,
        tuple(_LEVEL3[index][1] for index in order),
        frozenset({IDD_IGNORED_ID}),
    )


IDD_LEVEL3 = _level3()
"""The 26 classes of level 3, stuff first; original ids are level-3 ids."""


class IddSource(ValueSource):
    """Photographs by drive, instance values beside.

    Args:
        root: Folder that holds ``leftImg8bit`` and ``gtFine``.
        images: Glob pattern of the photographs relative to ``root``; ``{split}`` is replaced.
        labels: Label file relative to ``root``; ``{split}``, ``{drive}`` and ``{id}`` are replaced.
    """

    published_images = "leftImg8bit/{split}/*/*_leftImg8bit.*"
    published_labels = "gtFine/{split}/{drive}/{id}_gtFine_instancelevel3Ids.png"

    def label_space(self) -> LabelSpace:
        """Return the classes of level 3."""
        return IDD_LEVEL3

    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the photographs by path; keys are ``drive_id``, since ids repeat between drives."""
        for path in self.photos(split):
            drive, name = path.parent.name, path.stem.removesuffix(_PHOTO_MARK)
            label = self._labels.format(split=split, drive=drive, id=name)
            yield LabeledImage(f"{drive}_{name}", path, self._root / label)

    def read_values(self, image: LabeledImage) -> npt.NDArray[np.int32]:
        """Read the instance values as stored, ``(H, W)``."""
        return read_deep_ids(image.label_path)

    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read the instance values; groups of things become crowd segments."""
        return cityscapes_to_indexed(self.read_values(image), IDD_LEVEL3)[0]
