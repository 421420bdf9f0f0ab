"""Indoor panoramas in the form that 360BEV prepared: Matterport3D and Stanford2D3D.

Labels store 0 for void and classes from 1 on; both data sets lie in folders ``rgb`` and
``semantic`` with equal names. Matterport3D: ``{split}/rgb/*``, 20 classes. Stanford2D3D (Armeni et
al., 2017): ``{area}/rgb/*`` for the areas ``area1_3_6``, ``area2_4`` and ``area5``, 13 classes; the
areas are the validation sets of the usual three folds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eagleray_vision.datasets.semantic import SemanticSource, classes_by_table, shifted_table
from eagleray_vision.panoptic.label_space import LabelSpace

Classes = tuple[tuple[str, tuple[int, int, int]], ...]

AREAS = ("area5", "area2_4", "area1_3_6")
"""Validation sets of folds 1, 2 and 3 of Stanford2D3D."""

_MATTERPORT3D: Classes = (
    ("wall", (174, 199, 232)),
    ("floor", (112, 128, 144)),
    ("chair", (152, 223, 138)),
    ("door", (197, 176, 213)),
    ("table", (255, 127, 14)),
    ("picture", (214, 39, 40)),
    ("furniture", (31, 119, 180)),
    ("objects", (188, 189, 34)),
    ("window", (255, 152, 150)),
    ("sofa", (44, 160, 44)),
    ("bed", (227, 119, 194)),
    ("sink", (132, 60, 57)),
    ("stairs", (158, 218, 229)),
    ("ceiling", (156, 158, 222)),
    ("toilet", (231, 150, 156)),
    ("mirror", (219, 219, 141)),
    ("shower", (206, 219, 156)),
    ("bathtub", (57, 59, 121)),
    ("counter", (165, 81, 148)),
    ("shelving", (196, 156, 148)),
)
_STANFORD2D3D: Classes = (
    ("beam", (216, 86, 98)),
    ("board", (217, 129, 89)),
    ("bookcase", (148, 108, 9)),
    ("ceiling", (196, 217, 81)),
    ("chair", (71, 154, 24)),
    ("clutter", (7, 54, 24)),
    ("column", (91, 114, 29)),
    ("door", (93, 199, 167)),
    ("floor", (52, 121, 177)),
    ("sofa", (52, 12, 77)),
    ("table", (154, 81, 170)),
    ("wall", (194, 86, 190)),
    ("window", (94, 86, 90)),
)


def _space(name: str, classes: Classes) -> LabelSpace:
    names, colors = zip(*classes, strict=True)
    ids = tuple(range(1, len(names) + 1))
    return LabelSpace(name, names, len(names), ids, colors, frozenset({0}))


MATTERPORT3D = _space("matterport3d20", _MATTERPORT3D)
"""The 20 classes of 360FV-Matterport; original ids begin at 1."""
STANFORD2D3D = _space("stanford2d3d13", _STANFORD2D3D)
"""The 13 classes of Stanford2D3D; original ids begin at 1."""


class IndoorPanoramaSource(SemanticSource):
    """Panoramas of rooms.

    Args:
        root: Folder that holds the splits or areas.
        space: `MATTERPORT3D` or `STANFORD2D3D`.
    """

    def __init__(self, root: Path, space: LabelSpace) -> None:
        super().__init__(root, space, images="{split}/rgb/*", labels=("{split}/semantic/{id}.png",))
        self._table = shifted_table(space.num_classes)

    def classes_of(self, values: npt.NDArray[np.int32], path: Path) -> npt.NDArray[np.uint8]:
        """Shift the classes down by one; 0 and 255 are void."""
        return classes_by_table(values, self._table, path)
