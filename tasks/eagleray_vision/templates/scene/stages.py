"""The preprocessing stage: photographs and cameras in, resized PNGs with cameras in rows out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eagleray.task import InputError, Item, Record, Resources, Rows, Stage
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.images.resizing import resize_rgb
from eagleray_vision.json_file import read_json
from eagleray_vision.panoptic.label_image import encode_png

from .cameras import View
from .settings import DataSettings
from .toy import photograph

FLIPPED = np.diag([1.0, -1.0, -1.0, 1.0])
"""From our camera axes to those of Blender (y up, looking along -z)."""


class ViewStage(Stage[View, Sequence[Record]]):
    """Reads, checks and resizes the photographs of one split.

    Args:
        data: Which photographs.
        source: The split, ``train`` or ``val``.
    """

    name = "views"
    schema: Mapping[str, str] = {
        "photo": "binary",
        "scene_from_cam": "list<float32>",
        "focal_px": "float32",
    }
    resources = Resources(loader_threads=4, seconds_per_item=0.01)

    def __init__(self, data: DataSettings, source: str) -> None:
        self._data, self.source = data, source

    def settings(self) -> DataSettings:
        """Return what the rows depend on; how many there are changes none of them."""
        return self._data.model_copy(update={"root": "", "toy_views": 1})

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the photographs of the split with their cameras, or the toy views: those of ``val``
        stand in the middle between two of ``train``.
        """
        if not self._data.root:
            number, step = self._data.toy_views, 1 if self.source == "train" else 2
            for index in range(0, number, step):
                turn = (index + (0.0 if self.source == "train" else 0.5)) / number
                yield Item(f"{self.source}-{index:04d}", repr(turn), {"turn": turn})
            return
        folder = Path(self._data.root).expanduser()
        content = read_json(folder / f"transforms_{self.source}.json", InputError)
        for frame in content["frames"]:
            path = folder / frame["file_path"]
            path = path if path.suffix else path.with_suffix(".png")
            payload = {
                "path": str(path),
                "matrix": frame["transform_matrix"],
                "angle": content["camera_angle_x"],
            }
            changed = path.stat().st_mtime_ns if path.is_file() else 0
            yield Item(path.stem, f"{payload}-{changed}", payload)

    def load(self, item: Item) -> View:
        """Read one photograph; raises InputError for what cannot be used."""
        size_px = self._data.size_px
        if not self._data.root:
            return photograph(item.key, item.payload["turn"], size_px)
        photo = resize_rgb(read_rgb(Path(item.payload["path"])), (size_px, size_px))
        scene_from_blender: Any = np.array(item.payload["matrix"], np.float64)
        if scene_from_blender.shape != (4, 4) or not np.isfinite(scene_from_blender).all():
            raise InputError(f"{item.key}: transform_matrix is no 4 x 4 matrix of numbers")
        place = (scene_from_blender @ FLIPPED)[:3].astype(np.float32)
        focal_px = size_px / 2 / math.tan(float(item.payload["angle"]) / 2)
        return View(item.key, photo, place, focal_px)

    def process(self, samples: Sequence[View]) -> Sequence[Sequence[Record]]:
        """Turn views into rows."""
        return [
            [
                Record(
                    view.key,
                    {
                        "photo": encode_png(view.photo),
                        "scene_from_cam": view.scene_from_cam.ravel().tolist(),
                        "focal_px": view.focal_px,
                    },
                )
            ]
            for view in samples
        ]
