"""WildPASS (Yang et al., CVPR 2021): 500 street panoramas of 70 degrees height, 25 cities.

``images/{split}/*`` and ``annotations/{split}/{id}_labelTrainIds.png`` or ``{id}.png``. The authors
publish labels with the ids of their 25 Mapillary classes and score eight of them; OPS reads the
eight, renumbered, and ships no converter. Both are read here: a label whose values stay below
eight is a converted one, since no street is without a road, which is id 11 of the 25. That the
eight ids are these was inferred from the authors' evaluation (docs/originals/ops.md, 11.1).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eagleray_vision.datasets.semantic import SemanticSource, classes_by_table, value_table
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace

_CLASSES = (
    ("car", 4, (0, 0, 142)),
    ("truck", 5, (0, 0, 70)),
    ("bus", 8, (0, 60, 100)),
    ("road", 11, (128, 64, 128)),
    ("sidewalk", 12, (244, 35, 232)),
    ("person", 17, (220, 20, 60)),
    ("curb", 13, (196, 196, 196)),
    ("crosswalk", 24, (200, 128, 128)),
)
_NUM_MAPILLARY = 25


def _wildpass() -> LabelSpace:
    names, ids, colors = zip(*_CLASSES, strict=True)
    others = frozenset(range(_NUM_MAPILLARY)) - set(ids)
    return LabelSpace("wildpass8", names, len(names), ids, colors, others)


WILDPASS = _wildpass()
"""The eight classes that are scored; original ids are those of the 25 Mapillary classes."""

_CONVERTED = value_table({index: index for index in range(WILDPASS.num_classes)})
_MAPILLARY = value_table(
    dict.fromkeys(WILDPASS.ignored_ids, VOID_CLASS) | WILDPASS.class_of_original()
)


class WildPassSource(SemanticSource):
    """Street panoramas, with the authors' labels or converted ones.

    Args:
        root: Folder that holds ``images`` and ``annotations``.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(
            root,
            WILDPASS,
            images="images/{split}/*",
            labels=(
                "annotations/{split}/{id}_labelTrainIds.png",
                "annotations/{split}/{id}.png",
            ),
        )

    def classes_of(self, values: npt.NDArray[np.int32], path: Path) -> npt.NDArray[np.uint8]:
        """Look the ids up in the list that they are of."""
        largest = int(np.max(values, where=values != VOID_CLASS, initial=0))
        table = _CONVERTED if largest < WILDPASS.num_classes else _MAPILLARY
        return classes_by_table(values, table, path)
