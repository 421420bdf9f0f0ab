"""COCO-Stuff 164k (Caesar et al., CVPR 2018): 171 classes of things and stuff on COCO's images.

``images/{split}/{id}.jpg`` and ``annotations/{split}/``: ``{id}_labelTrainIds.png`` with classes 0
to 170, as mmsegmentation's conversion writes them, or ``{id}.png`` with the data set's own ids 0 to
181, of which eleven are unused; 255 is void in both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eagleray_vision.datasets.semantic import SemanticSource, classes_by_table, value_table
from eagleray_vision.images.palette import distinct_palette
from eagleray_vision.panoptic.label_space import LabelSpace

TRAIN_IDS = "_labelTrainIds"
"""What mmsegmentation adds to the name of a converted label."""
UNUSED_IDS = frozenset({11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90})
"""Ids that COCO-Stuff's maps skip."""

_NUM_IDS = 182
_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire
hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear,
zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports
ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine
glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot
dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book,
clock, vase, scissors, teddy bear, hair drier, toothbrush, banner, blanket, branch, bridge,
building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth,
clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence,
floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other,
fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal,
mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic,
platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea,
shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other,
table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other,
wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind,
window-other, wood
"""


def _coco_stuff() -> LabelSpace:
    names = tuple(name.strip() for name in _NAMES.replace("\n", " ").split(","))
    colors = tuple((int(r), int(g), int(b)) for r, g, b in distinct_palette(len(names)))
    original = tuple(one for one in range(_NUM_IDS) if one not in UNUSED_IDS)
    return LabelSpace("coco_stuff171", names, len(names), original, colors)


COCO_STUFF = _coco_stuff()
"""The 171 classes in the order of their ids, names as they are published ("wall-brick"); colors are
ours. Original ids are those of the maps."""

_RAW = value_table(COCO_STUFF.class_of_original())
_CONVERTED = value_table({index: index for index in range(COCO_STUFF.num_classes)})


class CocoStuffSource(SemanticSource):
    """Photographs with converted labels or the data set's own maps; where both are, the former.

    Args:
        root: Folder that holds ``images`` and ``annotations``.
        images: Glob pattern of the photographs relative to ``root``; ``{split}`` is replaced.
        labels: Label file relative to ``root``; ``{split}`` and ``{id}`` are replaced. A name that
            ends in ``_labelTrainIds`` holds classes, another one the data set's ids. Empty: the
            published layout.
    """

    def __init__(self, root: Path, *, images: str = "images/{split}/*", labels: str = "") -> None:
        published = (
            f"annotations/{{split}}/{{id}}{TRAIN_IDS}.png",
            "annotations/{split}/{id}.png",
        )
        super().__init__(root, COCO_STUFF, images=images, labels=(labels,) if labels else published)

    def classes_of(self, values: npt.NDArray[np.int32], path: Path) -> npt.NDArray[np.uint8]:
        """Look the ids up, by the name of the file."""
        table = _CONVERTED if path.stem.endswith(TRAIN_IDS) else _RAW
        return classes_by_table(values, table, path)
