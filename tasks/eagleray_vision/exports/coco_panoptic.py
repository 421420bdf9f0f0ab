"""``coco_panoptic``: a PNG of segment ids per photograph, and one JSON over all (COCO format)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eagleray.task import Item, Record
from eagleray_vision.inputs.listing import NAME
from eagleray_vision.panoptic.coco_panoptic import segments_info
from eagleray_vision.panoptic.label_image import rgb_ids_png
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

JSON_FILE = "coco_panoptic.json"


def coco_panoptic_record(item: Item, panoptic: IndexedPanoptic, space: LabelSpace) -> Record:
    """Write one map: ``coco_panoptic/<name>.png`` with id = R + 256 G + 65536 B, 0 = void.

    Args:
        item: The user's file.
        panoptic: The map at the photograph's size, crowds left out.
        space: Class list; category ids are its original ids.

    Returns:
        The file, and a row with the JSON's entries of the image: ``file_name`` of the image is the
        photograph's path, that of the annotation the PNG's below ``coco_panoptic/``.
    """
    ids, entries = segments_info(panoptic, lambda index: index, space.original_ids)
    height, width = panoptic.id_map.shape
    name = f"{item.key}.png"
    photo = item.payload[NAME]
    row = {
        "image": {"id": item.key, "file_name": photo, "height": height, "width": width},
        "annotation": {"image_id": item.key, "file_name": name, "segments_info": entries},
    }
    return Record(item.key, row, {f"coco_panoptic/{name}": rgb_ids_png(ids)})


def coco_panoptic_json(rows: Sequence[Mapping[str, Any]], space: LabelSpace) -> Mapping[str, bytes]:
    """Write the JSON over all photographs: ``images``, ``annotations`` and ``categories``.

    Args:
        rows: Rows of `coco_panoptic_record`; each is read twice.
        space: Class list.

    Returns:
        The file.
    """
    categories = [
        {
            "id": space.original_ids[index],
            "name": name,
            "isthing": int(index >= space.num_stuff),
            "color": list(space.palette[index]),
        }
        for index, name in enumerate(space.class_names)
    ]
    lists = {
        "images": (json.dumps(row["image"]) for row in rows),
        "annotations": (json.dumps(row["annotation"]) for row in rows),
        "categories": map(json.dumps, categories),
    }
    parts = [f'"{name}": [\n' + ",\n".join(entries) + "\n]" for name, entries in lists.items()]
    return {JSON_FILE: ("{" + ",\n".join(parts) + "}\n").encode()}
