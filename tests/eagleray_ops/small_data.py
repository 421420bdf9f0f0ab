"""A few images in COCO-Stuff's layout, settings for them, and stages run by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eagleray.task import InputError, Stage
from eagleray_ops.settings import OpsSettings

CLASSES = (0, 2, 95, 170)
"""Train ids that the images show."""


class FileRows:
    """Rows with files, held in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, Mapping[str, Any]] = {}
        self.files: dict[tuple[str, str], bytes] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self) -> list[str]:
        return list(self.rows)

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        return self.rows[key]

    def read_file(self, key: str, name: str) -> bytes:
        return self.files[key, name]

    def shard_idx(self, key: str) -> int:
        return 0

    def summary(self) -> Mapping[str, Any]:
        return {}

    def fitted(self) -> Mapping[str, Any]:
        return {}


def run(stage: Stage, upstream: Mapping[str, FileRows]) -> tuple[FileRows, dict[str, InputError]]:
    """Run a stage inline."""
    rows, rejects = FileRows(), {}
    stage.setup("cpu", upstream, {})
    for item in stage.items(upstream):
        try:
            records = stage.process([stage.load(item)])[0]
        except InputError as error:
            rejects[item.key] = error
            continue
        for record in records:
            assert set(record.row) == set(stage.schema)
            rows.rows[record.key] = record.row
            rows.files |= {(record.key, name): data for name, data in record.files.items()}
    return rows, rejects


def write_coco(root: Path, split: str, count: int, size_hw: tuple[int, int] = (48, 72)) -> None:
    """Write images whose color says their class, as raw maps where the number is odd."""
    raw_of_class = {0: 0, 2: 2, 95: 106, 170: 181}
    for folder in ("images", "annotations"):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        blocks = rng.choice(CLASSES, (size_hw[0] // 12, size_hw[1] // 12))
        classes = np.kron(blocks, np.ones((12, 12), int)).astype(np.uint8)
        photo = np.stack([classes, 255 - classes, classes // 2], axis=-1)
        Image.fromarray(photo).save(root / f"images/{split}/{index:012d}.png")
        if index % 2:
            stored = np.vectorize(raw_of_class.get)(classes).astype(np.uint8)
            name = f"{index:012d}.png"
        else:
            stored, name = classes, f"{index:012d}_labelTrainIds.png"
        Image.fromarray(stored).save(root / f"annotations/{split}/{name}")


def small_settings(root: Path, **changed: Any) -> OpsSettings:
    """Return settings for such images; nested changes are laid over."""
    values: dict[str, Any] = {
        "data": {
            "root": str(root / "coco"),
            "wildpass_root": str(root / "wildpass"),
            "matterport3d_root": str(root / "matterport3d"),
            "stanford2d3d_root": str(root / "stanford2d3d"),
        },
        "input": {
            "short_edges_px": (32, 48, 64),
            "crop_px": 32,
            "short_edge_px": 32,
            "long_edge_px": 128,
            "pad_multiple_px": 16,
        },
        "inference": {"window_px": 32, "stride_px": 16},
    }
    for name, value in changed.items():
        both = isinstance(value, dict) and isinstance(values.get(name), dict)
        values[name] = {**values[name], **value} if both else value
    return OpsSettings.model_validate(values)
