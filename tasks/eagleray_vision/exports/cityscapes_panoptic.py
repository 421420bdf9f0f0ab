"""``cityscapes_panoptic``: a PNG of ids per frame and one JSON, as the Cityscapes server takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from eagleray.task import InputError, Item, Record
from eagleray_vision.panoptic.cityscapes import INSTANCES_PER_LABEL
from eagleray_vision.panoptic.cityscapes_results import (
    FILE_SUFFIX,
    results_annotation,
    results_image,
    results_json,
)
from eagleray_vision.panoptic.label_image import rgb_ids_png
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

FOLDER = "cityscapes_panoptic"
JSON_FILE = "cityscapes_panoptic.json"

_FRAME = re.compile(r"(?:^|/)(?P<frame>[^/_]+_\d{6}_\d{6})(?:_leftImg8bit)?$")
"""``{city}_{sequence}_{frame}``, with what Cityscapes adds to photographs."""


def frame_name(key: str) -> str:
    """Return the name that the server knows a frame by; another file keeps its key.

    Example:
        >>> frame_name("berlin/berlin_000000_000019_leftImg8bit"), frame_name("a/photo")
        ('berlin_000000_000019', 'a/photo')
    """
    match = _FRAME.search(key)
    return match["frame"] if match else key


def cityscapes_panoptic_record(item: Item, panoptic: IndexedPanoptic, space: LabelSpace) -> Record:
    """Write one map: ``cityscapes_panoptic/<frame>_panoptic.png``.

    Args:
        item: The user's file.
        panoptic: The map at the photograph's size, crowds left out.
        space: Class list; its original ids are label ids.

    Returns:
        The file, and a row with the JSON's entries of the image.

    Raises:
        InputError: There are more segments than the ids can tell apart.
    """
    if len(panoptic.categories) > INSTANCES_PER_LABEL:
        raise InputError(
            f"{item.key}: {len(panoptic.categories) - 1} segments, but label id * "
            f"{INSTANCES_PER_LABEL} + number tells {INSTANCES_PER_LABEL - 1} apart; export "
            "coco_panoptic instead"
        )
    name = frame_name(item.key)
    ids, annotation = results_annotation(panoptic, name, space)
    height, width = panoptic.id_map.shape
    row = {"image": results_image(name, (height, width)), "annotation": annotation}
    return Record(item.key, row, {f"{FOLDER}/{name}{FILE_SUFFIX}": rgb_ids_png(ids)})


def cityscapes_panoptic_json(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
    """Write the JSON over all frames.

    Args:
        rows: Rows of `cityscapes_panoptic_record`.
    """
    content = results_json((row["annotation"] for row in rows), (row["image"] for row in rows))
    return {JSON_FILE: content}
