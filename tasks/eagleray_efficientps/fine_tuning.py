"""Weights of another class list: which rows of this network's heads are classes.

The paper's best results on Cityscapes begin with a network trained on Mapillary Vistas, whose
classes have other names; `CITYSCAPES_NAMES` says which are the same.
"""

from __future__ import annotations

from dataclasses import replace

from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.weights.class_rows import ClassHead, ClassHeads

CLASS_HEADS = ClassHeads(
    (
        ClassHead("box_head.classes.", things_only=True, first_row=1),
        ClassHead("box_head.codes.", things_only=True, rows_per_class=4, first_row=4),
        ClassHead("mask_head.logits.", things_only=True, first_row=1),
        ClassHead("semantic_head.logits."),
    )
)
"""Layers with rows per class; those of the instance heads begin with the background."""

CITYSCAPES_NAMES = {
    "construction--flat--road": "road",
    "construction--flat--sidewalk": "sidewalk",
    "construction--structure--building": "building",
    "construction--barrier--wall": "wall",
    "construction--barrier--fence": "fence",
    "object--support--pole": "pole",
    "object--traffic-light": "traffic light",
    "object--traffic-sign--front": "traffic sign",
    "nature--vegetation": "vegetation",
    "nature--terrain": "terrain",
    "nature--sky": "sky",
    "human--person": "person",
    "human--rider--bicyclist": "rider",
    "object--vehicle--car": "car",
    "object--vehicle--truck": "truck",
    "object--vehicle--bus": "bus",
    "object--vehicle--on-rails": "train",
    "object--vehicle--motorcycle": "motorcycle",
    "object--vehicle--bicycle": "bicycle",
}
"""Cityscapes' name of each class of Vistas 1.2 that has one; of the kinds of riders the most
frequent."""


def common_names(source: LabelSpace, space: LabelSpace) -> LabelSpace:
    """Give classes of Vistas the names of Cityscapes where the other class list has those.

    Args:
        source: Class list of the weights.
        space: Class list of the network.
    """
    wanted = set(space.class_names)
    names = [
        CITYSCAPES_NAMES[name]
        if name not in wanted and CITYSCAPES_NAMES.get(name) in wanted
        else name
        for name in source.class_names
    ]
    return replace(source, class_names=tuple(names))
