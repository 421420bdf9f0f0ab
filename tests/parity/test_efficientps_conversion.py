"""The original's converted layout of Cityscapes and KITTI panoptic against its own converters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.parity.cases import cases

from eagleray_efficientps.conversion.converted_frame import (
    ConvertedFrame,
    convert_frame,
    convert_kitti_frame,
    detection_json,
    panoptic_categories,
)
from eagleray_vision.panoptic.label_image import rgb_of_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES

KITTI_SPLITS = {"train": "training", "val": "validation"}


def without_dates(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in image.items() if k != "date_captured"} for image in images]


def in_any_order(entries: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(entry, sort_keys=True) for entry in entries)


@pytest.mark.parametrize(
    "path", cases("efficientps", "cityscapes_conversion"), ids=lambda p: p.stem
)
def test_cityscapes_detection_file_is_the_original_one(path: Path) -> None:
    data = np.load(path)
    for split in sorted({k.split(".")[1] for k in data.files if k.startswith("instanceIds.")}):
        sources = {k.split(".")[-1]: k for k in data.files if k.startswith(f"instanceIds.{split}.")}
        frames = [convert_frame(data[sources[name]], name) for name in sorted(sources)]
        for frame in frames:
            assert np.array_equal(frame.stuff_map, data[f"stuffthingmap.{split}.{frame.name}"])
        found, expected = detection_json(frames), json.loads(str(data[f"coco_json_{split}"]))
        assert {**found, "images": 0} == {**expected, "images": 0}
        assert found["images"] == without_dates(expected["images"])
        assert json.loads(str(data[f"panoptic_json_{split}"]))["categories"] == [
            {k: entry[k] for k in ("id", "name", "color", "supercategory", "isthing")}
            for entry in panoptic_categories(CITYSCAPES)
        ]


@pytest.mark.parametrize("path", cases("efficientps", "kitti_conversion"), ids=lambda p: p.stem)
def test_kitti_is_converted_alike_but_for_the_order_of_segments(path: Path) -> None:
    data = np.load(path)
    for split in [k.split(".")[1] for k in data.files if k.startswith("stuffthingmap.")]:
        frame = convert_kitti_frame(
            data[f"annotation_ids.{KITTI_SPLITS[split]}"], "000000", CITYSCAPES
        )
        assert np.array_equal(frame.stuff_map, data[f"stuffthingmap.{split}"])
        found, expected = detection_json([frame]), json.loads(str(data[f"coco_json.{split}"]))
        assert {k: found[k] for k in ("info", "categories")} == {
            k: expected[k] for k in ("info", "categories")
        }
        assert found["images"] == without_dates(expected["images"])
        numbers = [[one["id"] for one in file["annotations"]] for file in (found, expected)]
        assert numbers[0] == numbers[1]
        entries = [
            [{k: v for k, v in one.items() if k != "id"} for one in file["annotations"]]
            for file in (found, expected)
        ]
        assert in_any_order(entries[0]) == in_any_order(entries[1])
        if f"panoptic_json.{split}" in data.files:
            check_kitti_panoptic(frame, json.loads(str(data[f"panoptic_json.{split}"])))
            assert np.array_equal(rgb_of_ids(frame.panoptic_ids), data[f"panoptic_png.{split}"])


def check_kitti_panoptic(frame: ConvertedFrame, expected: dict[str, Any]) -> None:
    (annotation,) = expected["annotations"]
    by_id = {segment["id"]: segment for segment in annotation["segments_info"]}
    assert {segment["id"]: segment for segment in frame.segments} == by_id
    assert in_any_order(panoptic_categories(CITYSCAPES)) == in_any_order(expected["categories"])
