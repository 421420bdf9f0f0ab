"""The preprocessing stage: photographs and boxes in, resized PNGs with boxes in rows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import InputError, Item, Record, Resources, Rows, Stage
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.images.resizing import resize_rgb
from eagleray_vision.inputs.listing import input_path, list_inputs
from eagleray_vision.json_file import read_json
from eagleray_vision.panoptic.label_image import encode_png

from .boxes import Things
from .settings import DataSettings
from .toy import draw


@dataclass(frozen=True, slots=True)
class Picture:
    """A photograph with its things.

    Attributes:
        key: Its name.
        photo: ``(H, W, 3)`` uint8 RGB.
        things: Boxes in its pixels, and classes.
    """

    key: str
    photo: npt.NDArray[np.uint8]
    things: Things


class BoxStage(Stage[Picture, Sequence[Record]]):
    """Reads, checks and resizes the pictures of one split.

    Args:
        data: Which pictures.
        source: The split, ``train`` or ``val``.
    """

    name = "boxes"
    schema: Mapping[str, str] = {
        "photo": "binary",
        "boxes_xyxy": "list<float32>",
        "classes": "list<int64>",
    }
    resources = Resources(loader_threads=4, seconds_per_item=0.01)

    def __init__(self, data: DataSettings, source: str) -> None:
        self._data, self.source = data, source

    def settings(self) -> DataSettings:
        """Return what the rows depend on; how many there are changes none of them."""
        return self._data.model_copy(update={"root": "", "toy_pictures": 1})

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the photographs of the split with their boxes, or the toy pictures."""
        if not self._data.root:
            for index in range(self._data.toy_pictures):
                key = f"{self.source}-{index:04d}"
                yield Item(key, key, {})
            return
        folder = Path(self._data.root).expanduser() / self.source
        boxes = read_boxes(folder / "boxes.json", self._data.classes)
        for item in list_inputs([folder / "images"]):
            mine = boxes.get(input_path(item).name, [])
            yield Item(item.key, f"{item.identity}-{mine}", {**item.payload, "boxes": mine})

    def load(self, item: Item) -> Picture:
        """Read one photograph; raises InputError for what cannot be used."""
        size_px = self._data.size_px
        if not self._data.root:
            return Picture(item.key, *draw(item.key, size_px))
        photo = read_rgb(input_path(item))
        height, width = photo.shape[:2]
        found = np.array(item.payload["boxes"], np.float64).reshape(-1, 5)
        x, y, w, h, kind = found.T
        edges = np.stack([x, y, x + w, y + h], 1)
        if (edges < 0).any() or (edges > np.array([width, height, width, height]) + 1).any():
            raise InputError(f"{item.key}: a box leaves the picture of {width} x {height} px")
        things = Things(edges.astype(np.float32), kind.astype(np.int64))
        resized = resize_rgb(photo, (size_px, size_px))
        return Picture(item.key, resized, things.scaled(size_px / width, size_px / height))

    def process(self, samples: Sequence[Picture]) -> Sequence[Sequence[Record]]:
        """Turn pictures into rows."""
        return [
            [
                Record(
                    one.key,
                    {
                        "photo": encode_png(one.photo),
                        "boxes_xyxy": one.things.boxes_xyxy.ravel().tolist(),
                        "classes": one.things.classes.tolist(),
                    },
                )
            ]
            for one in samples
        ]


def read_boxes(path: Path, classes: Sequence[str]) -> dict[str, list[list[float]]]:
    """Return left, top, width, height and class of each box by the photograph's file name.

    Args:
        path: Annotations in COCO's layout: ``images``, ``categories`` and ``annotations``.
        classes: The classes that count, by the names of the categories.

    Raises:
        InputError: The file is none of that kind.
    """
    content: Any = read_json(path, InputError)
    try:
        names = {image["id"]: image["file_name"] for image in content["images"]}
        kinds = {
            category["id"]: classes.index(category["name"])
            for category in content["categories"]
            if category["name"] in classes
        }
        boxes: dict[str, list[list[float]]] = {name: [] for name in names.values()}
        for one in content["annotations"]:
            if one["category_id"] in kinds:
                x, y, w, h = (float(value) for value in one["bbox"])
                boxes[names[one["image_id"]]].append([x, y, w, h, kinds[one["category_id"]]])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not in COCO's layout of boxes: {error!r}") from error
    return boxes
