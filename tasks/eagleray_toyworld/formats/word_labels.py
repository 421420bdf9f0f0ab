"""Frames in the layouts of the data sets of open vocabularies: a class per pixel, by its word.

COCO-Stuff 164k      images/<split>2017/<stem>.png, annotations/<split>2017/<stem>_labelTrainIds.png
WildPASS             images/val/<stem>.png, annotations/val/<stem>.png (the authors' Mapillary ids)
Matterport3D         val/rgb/<stem>.png, val/semantic/<stem>.png (0 is void, classes from 1)
Stanford2D3D         <area>/rgb/<stem>.png, <area>/semantic/<stem>.png, likewise

What a data set has no class for is void. So COCO-Stuff's frames never show what a curb or a
crosswalk is, as the real ones do not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.scene.words import SURFACE_WORDS
from eagleray_vision.datasets.coco_stuff import COCO_STUFF
from eagleray_vision.datasets.indoor_panoramas import AREAS, MATTERPORT3D, STANFORD2D3D
from eagleray_vision.datasets.wildpass import WILDPASS
from eagleray_vision.panoptic.label_image import encode_png
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace

_COCO_NAMES: Mapping[str, str] = {
    "building": "building-other",
    "bush": "bush",
    "ceiling": "ceiling-other",
    "door": "door-stuff",
    "floor": "floor-other",
    "lamp": "light",
    "mirror": "mirror-stuff",
    "shelving": "shelf",
    "sidewalk": "pavement",
    "sky": "sky-other",
    "sofa": "couch",
    "wall": "wall-other",
    "window": "window-other",
}
_MATTERPORT3D_NAMES: Mapping[str, str] = dict.fromkeys(
    ("lamp", "box", "trash bin", "potted plant", "board"), "objects"
)
_STANFORD2D3D_NAMES: Mapping[str, str] = {
    "shelving": "bookcase",
    **dict.fromkeys(
        ("lamp", "box", "trash bin", "potted plant", "picture", "mirror", "counter", "bed"),
        "clutter",
    ),
}


@dataclass(frozen=True)
class WordLayout:
    """How a data set stores a frame.

    Attributes:
        space: Class list.
        image: Path of the picture; ``{split}`` and ``{stem}`` are replaced.
        label: Path of its labels.
        stores_original: Whether labels hold the data set's own ids, not class numbers.
        void: Value of pixels without a class.
        names: Class of a word where it has another name.
        is_panorama: Whether frames are panoramas.
    """

    space: LabelSpace
    image: str
    label: str
    stores_original: bool
    void: int = VOID_CLASS
    names: Mapping[str, str] = field(default_factory=dict)
    is_panorama: bool = True


WORD_LAYOUTS: Mapping[str, WordLayout] = {
    "coco_stuff": WordLayout(
        COCO_STUFF,
        "images/{split}2017/{stem}.png",
        "annotations/{split}2017/{stem}_labelTrainIds.png",
        stores_original=False,
        names=_COCO_NAMES,
        is_panorama=False,
    ),
    "wildpass": WordLayout(
        WILDPASS,
        "images/val/{stem}.png",
        "annotations/val/{stem}.png",
        stores_original=True,
        names={"rider": "person"},
    ),
    "matterport3d": WordLayout(
        MATTERPORT3D,
        "val/rgb/{stem}.png",
        "val/semantic/{stem}.png",
        stores_original=True,
        void=0,
        names=_MATTERPORT3D_NAMES,
    ),
    "stanford2d3d": WordLayout(
        STANFORD2D3D,
        "{split}/rgb/{stem}.png",
        "{split}/semantic/{stem}.png",
        stores_original=True,
        void=0,
        names=_STANFORD2D3D_NAMES,
    ),
}
"""Layouts by the name of their format."""


def word_values(layout: WordLayout, left_out: Collection[str] = ()) -> NDArray[np.uint8]:
    """Return the stored value of every word of `SURFACE_WORDS`.

    Args:
        layout: The data set.
        left_out: Words whose pixels are void, although the data set has a class for them.
    """
    space = layout.space
    stored = space.original_ids if layout.stores_original else tuple(range(space.num_classes))
    value_of_name = dict(zip(space.class_names, stored, strict=True))
    return np.array(
        [
            layout.void
            if word in left_out
            else value_of_name.get(layout.names.get(word, word), layout.void)
            for word in SURFACE_WORDS
        ],
        np.uint8,
    )


def word_files(
    layout: WordLayout,
    rgb: NDArray[np.uint8],
    words: NDArray[np.uint8],
    split: str,
    stem: str,
    left_out: Collection[str] = (),
) -> dict[str, bytes]:
    """Return a frame's two files by relative path.

    Args:
        layout: The data set.
        rgb: (height, width, 3) picture.
        words: (height, width) places in `SURFACE_WORDS`.
        split: Split, or area of Stanford2D3D.
        stem: File name without suffix.
        left_out: Words whose pixels are void.
    """
    place = {"split": split, "stem": stem}
    labels = word_values(layout, left_out)[words]
    return {
        layout.image.format(**place): encode_png(rgb),
        layout.label.format(**place): encode_png(labels),
    }


def area_of(scene_idx: int) -> str:
    """Return the area of Stanford2D3D that a room belongs to."""
    return AREAS[scene_idx % len(AREAS)]
