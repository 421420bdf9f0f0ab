"""Frames in the on-disk format of the India Driving Dataset, level 3.

    leftImg8bit/<split>/<drive>/<number>_leftImg8bit.png            pictures
    gtFine/<split>/<drive>/<number>_gtFine_instancelevel3Ids.png    level-3 ids, or id * 1000 + k

The classes are those of ``eagleray_vision.datasets.idd``, whose names are quoted from memory; a
class of the street that IDD lacks goes to its fallback class.
"""

from __future__ import annotations

from eagleray_toyworld.formats.panoptic import instance_values, recoded
from eagleray_toyworld.rendering.render import Frame
from eagleray_toyworld.scene.classes import STREET_CLASSES
from eagleray_vision.datasets.idd import IDD_IGNORED_ID, IDD_LEVEL3
from eagleray_vision.panoptic.cityscapes import INSTANCES_PER_LABEL
from eagleray_vision.panoptic.label_image import deep_ids_png, encode_png

_OTHER_NAMES = {"terrain": "non-drivable fallback", "train": "vehicle fallback"}

_ID_OF_NAME = dict(zip(IDD_LEVEL3.class_names, IDD_LEVEL3.original_ids, strict=True))

IDD_ID_OF_LABEL = {
    entry.label_id: _ID_OF_NAME[_OTHER_NAMES.get(entry.name, entry.name)]
    for entry in STREET_CLASSES
}
"""Level-3 id of each class of the street, by Cityscapes' label id."""


def idd_files(
    frame: Frame, split: str, drive: str, number: str, *, min_thing_px: int = 0
) -> dict[str, bytes]:
    """Return a frame's two files by relative path.

    Args:
        frame: A rendered street frame.
        split: ``train`` or ``val``.
        drive: Folder of the frame.
        number: First part of the file names.
        min_thing_px: Things of fewer visible pixels become unlabeled.
    """
    values = recoded(
        instance_values(frame, min_thing_px=min_thing_px),
        IDD_ID_OF_LABEL,
        per_label=INSTANCES_PER_LABEL,
        void=IDD_IGNORED_ID,
        stuff_alone=True,
    )
    name = f"{split}/{drive}/{number}"
    return {
        f"leftImg8bit/{name}_leftImg8bit.png": encode_png(frame.rgb),
        f"gtFine/{name}_gtFine_instancelevel3Ids.png": deep_ids_png(values),
    }
