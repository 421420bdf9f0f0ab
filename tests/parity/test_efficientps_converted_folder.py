"""Whole folders that the stages write against what the original's converters wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.eagleray_efficientps.converted_folder import convert
from tests.eagleray_vision.small_data import photo, write_frame
from tests.parity.cases import cases

from eagleray_vision.panoptic.label_image import (
    read_deep_ids,
    read_rgb_ids,
    rgb_ids_png,
    rgb_of_ids,
)

KITTI_SPLITS = {"train": "training", "val": "validation"}


def comparable(path: Path, entries: str, *more: str) -> Any:
    """Return a JSON without dates, its lists of objects in one order, without keys in ``more``."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            left = {"date_captured", *more}
            return {k: plain(v) for k, v in value.items() if k not in left}
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return sorted((plain(one) for one in value), key=lambda one: json.dumps(one))
        return int(value) if isinstance(value, bool) else value

    written = json.loads(path.read_text())
    return plain(written), plain(json.loads(entries))


@pytest.mark.parametrize(
    "path", cases("efficientps", "cityscapes_conversion"), ids=lambda p: p.stem
)
def test_a_written_cityscapes_is_the_original_s_folder(path: Path, tmp_path: Path) -> None:
    data, out = np.load(path), tmp_path / "out"
    for key in data.files:
        if key.startswith("instanceIds."):
            _, split, _, name = key.split(".")
            label = data[key]
            write_frame(tmp_path / "in", name, split=split, image=photo(label.shape), label=label)
    assert convert(tmp_path / "in", tmp_path / "storage", out).rejected == 0
    for key in data.files:
        kind, _, rest = key.partition(".")
        if kind == "stuffthingmap":
            split, name = rest.split(".")
            found = read_deep_ids(out / "stuffthingmaps" / split / f"{name}.png")
            assert np.array_equal(found, data[key])
            assert (out / split / f"{name}.png").is_file()
        elif kind == "panoptic_png" and rest.startswith("val."):
            ids = read_rgb_ids(out / "cityscapes_panoptic_val" / f"{rest.partition('.')[2]}.png")
            assert np.array_equal(rgb_of_ids(ids), data[key])
    for split in ("train", "val"):
        written, expected = comparable(
            out / "annotations" / f"{split}.json", str(data[f"coco_json_{split}"])
        )
        assert written == expected
    written, expected = comparable(
        out / "cityscapes_panoptic_val.json", str(data["panoptic_json_val"])
    )
    assert written == expected


@pytest.mark.parametrize("path", cases("efficientps", "kitti_conversion"), ids=lambda p: p.stem)
def test_a_written_kitti_is_the_original_s_folder(path: Path, tmp_path: Path) -> None:
    data, root, out = np.load(path), tmp_path / "in", tmp_path / "out"
    for split in KITTI_SPLITS.values():
        ids = data[f"annotation_ids.{split}"]
        for folder in ("images", "annotations"):
            (root / split / folder).mkdir(parents=True)
        Image.fromarray(photo(ids.shape)).save(root / split / "images" / "000000.png")
        (root / split / "annotations" / "000000.png").write_bytes(rgb_ids_png(ids))
    names = {"train_split": "training", "val_split": "validation", "format": "kitti"}
    assert convert(root, tmp_path / "storage", out, **names).rejected == 0
    for split in KITTI_SPLITS:
        maps = read_deep_ids(out / "stuffthingmaps" / split / "000000.png")
        assert np.array_equal(maps, data[f"stuffthingmap.{split}"])
        # the original numbers annotations in the order of a set
        written, expected = comparable(
            out / "annotations" / f"{split}.json", str(data[f"coco_json.{split}"]), "id"
        )
        assert written == expected
        with Image.open(out / split / "000000.png") as image:
            assert image.size == (1280, 384)
    ids = read_rgb_ids(out / "kitti_panoptic_val" / "000000.png")
    assert np.array_equal(rgb_of_ids(ids), data["panoptic_png.val"])
    written, expected = comparable(out / "kitti_panoptic_val.json", str(data["panoptic_json.val"]))
    assert written == expected
