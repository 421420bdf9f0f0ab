"""Object and part masks, decoded by pycocotools."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from eagleray_toyworld.formats.hierarchy import hierarchy_json


@pytest.fixture(scope="module")
def masks(room, room_frames):
    return json.loads(hierarchy_json(room_frames[0][1], room))["masks"]


def _decode(record):
    return coco_mask.decode(record["segmentation"]).astype(bool)


def test_masks_are_the_labels(masks, room_frames):
    frame = room_frames[0][1]
    for record in masks:
        ids = frame.object_id if record["level"] == "object" else frame.part_id
        key = "object_id" if record["level"] == "object" else "part_id"
        np.testing.assert_array_equal(_decode(record), ids == record[key])
        assert record["area"] == _decode(record).sum()
        box = coco_mask.toBbox(record["segmentation"]).astype(int).tolist()
        assert record["bbox"] == box
        x, y = record["point_coords"][0]
        assert _decode(record)[y, x]


def test_every_pixel_is_in_one_object_mask(masks):
    total = sum(_decode(r).astype(int) for r in masks if r["level"] == "object")
    assert (total == 1).all()


def test_parts_lie_in_their_object_and_fill_it(masks):
    by_id = {record["id"]: record for record in masks}
    assert [record["id"] for record in masks] == list(range(len(masks)))
    parents = {r["parent"] for r in masks if r["level"] == "part"}
    assert any(by_id[p]["name"] == "car" for p in parents)
    for parent in parents:
        parts = [_decode(r) for r in masks if r.get("parent") == parent]
        assert len(parts) > 1
        np.testing.assert_array_equal(sum(p.astype(int) for p in parts), _decode(by_id[parent]))


def test_car_has_named_parts(masks):
    car = next(r["object_id"] for r in masks if r["name"] == "car" and r["level"] == "object")
    names = {r["name"] for r in masks if r["level"] == "part" and r["object_id"] == car}
    assert {"body", "window", "wheel"} <= names
