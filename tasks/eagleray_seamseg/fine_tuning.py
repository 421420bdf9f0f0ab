"""Weights of another class list: which rows of this network's heads are classes."""

from __future__ import annotations

from eagleray_seamseg.intermediate.metadata import METADATA_FILE, read_metadata
from eagleray_vision.datasets.class_list import read_class_list
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.weights.class_rows import ClassHead, ClassHeads

CLASS_HEADS = ClassHeads(
    (
        ClassHead("roi_head.roi_cls.", things_only=True, first_row=1),
        ClassHead("roi_head.roi_bbx.", things_only=True, rows_per_class=4),
        ClassHead("roi_head.roi_msk.", things_only=True),
        ClassHead("sem_head.conv_sem."),
    )
)
"""Layers with rows per class: class logits begin with the background, a box code is dy, dx, dh,
dw."""


def class_list(source: str) -> LabelSpace:
    """Read the class list of a checkpoint, ``metadata.bin`` of the original's format included.

    Raises:
        SettingsError: The file is missing or no class list.
    """
    return read_class_list(source, {METADATA_FILE: lambda path: read_metadata(path).space})
