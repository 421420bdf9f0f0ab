"""COCO panoptic files, read back with plain Pillow and JSON, pycocotools and our own reader."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from eagleray_toyworld.formats.coco import (
    coco_annotation,
    coco_files,
    coco_image,
    coco_json,
    coco_json_name,
)
from eagleray_toyworld.formats.folder import DatasetFolder
from eagleray_vision.panoptic.coco_panoptic import read_coco_panoptic, read_indexed
from eagleray_vision.panoptic.label_space import CITYSCAPES

STEM = "toy_000003_000000"


@pytest.fixture(scope="module")
def root(tmp_path_factory, street_frame):
    folder = DatasetFolder(tmp_path_factory.mktemp("coco"), {"format": "coco_panoptic"})
    files, segments = coco_files(street_frame, "train", STEM)
    folder.write(files)
    size = street_frame.train_id.shape
    chunks = coco_json([coco_image(STEM, size)], [coco_annotation(STEM, segments)])
    folder.write({coco_json_name("train"): chunks})
    return folder.root


@pytest.fixture(scope="module")
def content(root):
    return json.loads((root / "annotations/panoptic_train.json").read_text())


@pytest.fixture(scope="module")
def ids(root, content):
    name = content["annotations"][0]["file_name"]
    rgb = np.asarray(Image.open(root / "annotations/panoptic_train" / name)).astype(np.int64)
    return rgb @ np.array([1, 256, 65536])


def test_picture_is_where_the_json_says(root, content, street_frame):
    entry = content["images"][0]
    image = np.asarray(Image.open(root / "train" / entry["file_name"]))
    np.testing.assert_array_equal(image, street_frame.rgb)
    assert (entry["height"], entry["width"]) == street_frame.train_id.shape
    assert content["annotations"][0]["image_id"] == entry["id"]


def test_segments_are_the_connected_truth(content, ids, street_frame):
    segments = {s["id"]: s for s in content["annotations"][0]["segments_info"]}
    assert set(np.unique(ids)) - {0} == set(segments)
    label_of = {c["id"]: c for c in content["categories"]}
    train_of = {label: k for k, label in enumerate(CITYSCAPES.original_ids)}
    for segment_id, segment in segments.items():
        mask = ids == segment_id
        train = train_of[segment["category_id"]]
        assert (street_frame.train_id[mask] == train).all()
        thing = bool(label_of[segment["category_id"]]["isthing"])
        assert thing == (
            len(np.unique(street_frame.instance_id[mask])) == 1
            and mask[street_frame.instance_id > 0].any()
        )
        assert segment["iscrowd"] == 0
    np.testing.assert_array_equal(ids == 0, street_frame.train_id == 255)


def test_area_and_box_equal_those_of_pycocotools(content, ids):
    for segment in content["annotations"][0]["segments_info"]:
        encoded = coco_mask.encode(np.asfortranarray((ids == segment["id"]).astype(np.uint8)))
        assert segment["area"] == coco_mask.area(encoded)
        assert segment["bbox"] == coco_mask.toBbox(encoded).astype(int).tolist()


def test_our_own_reader_agrees(root, street_frame):
    found = read_coco_panoptic(root / "annotations/panoptic_train.json")
    image = found.images[0]
    indexed = read_indexed(
        root / "annotations/panoptic_train" / image.label_file_name,
        image.segments,
        CITYSCAPES.class_of_original(),
        size_hw=image.size_hw,
        void_class=255,
    )
    np.testing.assert_array_equal(indexed.categories[indexed.id_map], street_frame.train_id)


def test_empty_split_is_still_a_json():
    content = json.loads(b"".join(coco_json([], [])))
    assert content["images"] == content["annotations"] == []
    assert [c["id"] for c in content["categories"]] == list(CITYSCAPES.original_ids)
