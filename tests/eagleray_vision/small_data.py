"""Tiny data sets in the published layouts, and rows of a stage held in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eagleray.task import InputError, Stage
from eagleray_vision.panoptic.label_image import deep_ids_png, rgb_ids_png

SIZE_HW = (64, 96)
ROAD, SKY, PERSON, CAR = 7, 23, 24, 26
"""Cityscapes label ids."""


class MemoryRows:
    """Rows as the engine hands them to a task."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._rows, self._summary = dict(rows), {}

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> Sequence[str]:
        return list(self._rows)

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        return self._rows[key]

    def read_file(self, key: str, name: str) -> bytes:
        raise KeyError((key, name))

    def shard_idx(self, key: str) -> int:
        return 0

    def summary(self) -> Mapping[str, Any]:
        return self._summary

    def fitted(self) -> Mapping[str, Any]:
        return {}


def run_stage(stage: Stage) -> tuple[MemoryRows, dict[str, InputError]]:
    """Run a stage as the engine does and return its rows and its rejects."""
    rows, rejects = {}, {}
    for item in stage.items({}):
        json.dumps(dict(item.payload))
        try:
            sample = stage.load(item)
        except InputError as error:
            rejects[item.key] = error
            continue
        for record in stage.process([sample])[0]:
            assert set(record.row) == set(stage.schema)
            rows[record.key] = record.row
    found = MemoryRows(rows)
    found._summary = json.loads(json.dumps(dict(stage.finish(found))))
    return found, rejects


def photo(size_hw: tuple[int, int] = SIZE_HW, seed: int = 0) -> np.ndarray:
    """Draw colored noise in large patches, so that resizing keeps something of it."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (size_hw[0] // 8 + 1, size_hw[1] // 8 + 1, 3), dtype=np.uint8)
    return small.repeat(8, 0).repeat(8, 1)[: size_hw[0], : size_hw[1]]


def instance_ids(size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Draw a street: sky, road, two cars, a person and a group of persons."""
    ids = np.full(size_hw, SKY)
    ids[size_hw[0] // 2 :] = ROAD
    ids[30:50, 10:40] = CAR * 1000
    ids[28:46, 50:80] = CAR * 1000 + 1
    ids[20:52, 84:92] = PERSON * 1000
    ids[20:30, 2:8] = PERSON
    ids[-6:] = 0
    return ids


def write_frame(
    root: Path,
    key: str,
    *,
    split: str = "train",
    image: np.ndarray | bytes | None = None,
    label: np.ndarray | bytes | None = None,
) -> None:
    """Write one Cityscapes frame; bytes are written as they are, ``b""`` writes an empty file."""
    city = key.split("_")[0]
    image_path = root / "leftImg8bit" / split / city / f"{key}_leftImg8bit.png"
    label_path = root / "gtFine" / split / city / f"{key}_gtFine_instanceIds.png"
    for path in (image_path, label_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        image_path.write_bytes(image)
    else:
        Image.fromarray(photo() if image is None else image).save(image_path)
    if isinstance(label, bytes):
        label_path.write_bytes(label)
    else:
        label_path.write_bytes(deep_ids_png(instance_ids() if label is None else label))


def small_cityscapes(root: Path) -> Path:
    """Write two training frames (one upright) and one validation frame."""
    write_frame(root, "aachen_000000_000019")
    upright = np.ascontiguousarray(instance_ids().T)
    write_frame(root, "bonn_000001_000019", image=photo((96, 64), 1), label=upright)
    write_frame(root, "ulm_000000_000019", split="val", image=photo(seed=2))
    return root


def small_coco(root: Path) -> Path:
    """Write two images in the COCO panoptic layout; one has no thing."""
    ids = np.ones((40, 60), np.int64)
    ids[10:30, 10:30] = 70000
    maps = {"000001": ids, "000002": np.ones((40, 60), np.int64)}
    images, annotations = [], []
    (root / "val").mkdir(parents=True)
    (root / "annotations" / "panoptic_val").mkdir(parents=True)
    for key, id_map in maps.items():
        Image.fromarray(photo((40, 60))).save(root / "val" / f"{key}.jpg")
        (root / "annotations" / "panoptic_val" / f"{key}.png").write_bytes(rgb_ids_png(id_map))
        images.append({"id": int(key), "file_name": f"{key}.jpg", "height": 40, "width": 60})
        segments = [
            {"id": int(one), "category_id": 1 if one == 70000 else 184, "area": 1}
            for one in np.unique(id_map)
        ]
        annotations.append(
            {"image_id": int(key), "file_name": f"{key}.png", "segments_info": segments}
        )
    categories = [
        {"id": 1, "name": "person", "isthing": 1},
        {"id": 184, "name": "tree-merged", "isthing": 0},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "panoptic_val.json").write_text(json.dumps(content))
    return root
