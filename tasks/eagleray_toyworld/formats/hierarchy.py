"""Object and part masks of a view as COCO run lengths: exact stand-ins for a mask generator's
output.

The JSON has the keys of an automatic mask generator's records (``segmentation``, ``area``,
``bbox``,
``predicted_iou``, ``stability_score``, ``point_coords``), and says which mask is a part of which.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy import ndimage

from eagleray_toyworld.rendering.render import Frame
from eagleray_toyworld.scene.scene import Scene


def _record(mask: NDArray[np.bool_], mask_id: int) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    rows, columns = np.nonzero(mask)
    middle = len(rows) // 2
    x0, y0 = int(columns.min()), int(rows.min())
    return {
        "id": mask_id,
        "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode()},
        "area": len(rows),
        "bbox": [x0, y0, int(columns.max()) - x0 + 1, int(rows.max()) - y0 + 1],
        "predicted_iou": 1.0,
        "stability_score": 1.0,
        "point_coords": [[int(columns[middle]), int(rows[middle])]],
    }


def _masks(ids: NDArray[np.int32]) -> list[tuple[int, NDArray[np.bool_]]]:
    found = np.unique(ids)
    return [(int(k), ids == k) for k in found if k > 0]


def hierarchy(frame: Frame, scene: Scene) -> dict[str, Any]:
    """Return all object masks and part masks of a view.

    Args:
        frame: The rendered view.
        scene: The scene it shows; names classes and parts.

    Returns:
        ``{"size": [height, width], "masks": [...]}``. Every record has ``level`` (``object`` or
        ``part``), ``name``, ``object_id`` and, on parts, ``parent`` (the ``id`` of the object's
        mask) and ``part_id``. Objects that show one part only have no part mask.
    """
    objects = {item.object_id: item for item in scene.objects}
    names = {
        part_id: part.name
        for item in scene.objects
        for part, part_id in zip(item.parts, item.part_ids(), strict=True)
    }
    records: list[dict[str, Any]] = []
    boxes = ndimage.find_objects(frame.object_id)
    for object_id, mask in _masks(frame.object_id):
        parent = len(records)
        item = objects[object_id]
        common = {"object_id": object_id}
        label = {"level": "object", "name": item.street_class.name}
        records.append(_record(mask, parent) | label | common)
        window = boxes[object_id - 1]
        parts = np.unique(frame.part_id[window][mask[window]])
        for part_id in parts.tolist() if len(parts) > 1 else ():
            label = {"level": "part", "name": names[part_id]}
            link = {"parent": parent, "part_id": part_id}
            part_mask = frame.part_id == part_id
            records.append(_record(part_mask, len(records)) | label | link | common)
    return {"size": list(frame.object_id.shape), "masks": records}


def hierarchy_json(frame: Frame, scene: Scene) -> bytes:
    """Return :func:`hierarchy` as the bytes of a JSON file."""
    return json.dumps(hierarchy(frame, scene)).encode()
