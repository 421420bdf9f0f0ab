"""Panoptic results in the format of the Cityscapes server.

One PNG of segment ids per image, ``{image}_panoptic.png``, and one JSON over all. Stuff has its
label id as segment id, an instance ``label id * 1000 + index`` of its segment in the map.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.panoptic.cityscapes import INSTANCES_PER_LABEL
from eagleray_vision.panoptic.coco_panoptic import segments_info
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

FILE_SUFFIX = "_panoptic.png"


def results_annotation(
    panoptic: IndexedPanoptic, image_id: str, space: LabelSpace
) -> tuple[npt.NDArray[np.uint32], dict[str, Any]]:
    """Write one map.

    Args:
        panoptic: The map at the photograph's size; crowd segments are written like others.
        image_id: ``{city}_{sequence}_{frame}``.
        space: Class list; its original ids are label ids.

    Returns:
        ``(H, W)`` uint32 ids for the PNG, and the entry of the JSON's ``annotations``; segments by
        ascending index.
    """

    def segment_id(index: int) -> int:
        category = int(panoptic.categories[index])
        label = int(space.original_ids[category])
        return label if category < space.num_stuff else label * INSTANCES_PER_LABEL + index

    ids, entries = segments_info(panoptic, segment_id, space.original_ids)
    return ids, {
        "image_id": image_id,
        "file_name": f"{image_id}{FILE_SUFFIX}",
        "segments_info": entries,
    }


def results_image(image_id: str, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return the entry of the JSON's ``images``."""
    return {
        "file_name": f"{image_id}.png",
        "height": size_hw[0],
        "id": image_id,
        "width": size_hw[1],
    }


def results_json(
    annotations: Iterable[Mapping[str, Any]], images: Iterable[Mapping[str, Any]]
) -> bytes:
    """Write the JSON over all images, its category list empty as in the original's files."""
    content = {"annotations": list(annotations), "categories": {}, "images": list(images)}
    return json.dumps(content).encode()
