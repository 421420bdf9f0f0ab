"""The preprocessing stage: photographs and labels in, resized PNGs in rows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eagleray.task import InputError, Item, Record, Resources, Rows, Stage
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.images.resizing import resize_nearest, resize_rgb
from eagleray_vision.inputs.listing import input_path, list_inputs
from eagleray_vision.panoptic.label_image import encode_png, read_deep_ids

from .settings import DataSettings
from .toy import draw

VOID = 255
"""Label of pixels that nobody has labeled."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A photograph with its labels.

    Attributes:
        key: Its name.
        photo: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` uint8 classes.
    """

    key: str
    photo: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


class PictureStage(Stage[Picture, Sequence[Record]]):
    """Reads, checks and resizes the pictures of one split.

    Args:
        data: Which pictures.
        source: The split, ``train`` or ``val``.
    """

    name = "pictures"
    schema: Mapping[str, str] = {"photo": "binary", "labels": "binary"}
    resources = Resources(loader_threads=4, seconds_per_item=0.01)

    def __init__(self, data: DataSettings, source: str) -> None:
        self._data, self.source = data, source

    def settings(self) -> DataSettings:
        """Return what the rows depend on; how many there are changes none of them."""
        return self._data.model_copy(update={"root": "", "toy_pictures": 1})

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the photographs of the split, or the toy pictures."""
        if not self._data.root:
            for index in range(self._data.toy_pictures):
                key = f"{self.source}-{index:04d}"
                yield Item(key, key, {})
            return
        folder = Path(self._data.root).expanduser() / self.source
        for item in list_inputs([folder / "images"]):
            labels = folder / "labels" / f"{item.key}.png"
            changed = labels.stat().st_mtime_ns if labels.is_file() else 0
            payload = {**item.payload, "labels": str(labels)}
            yield Item(item.key, f"{item.identity}-{changed}", payload)

    def load(self, item: Item) -> Picture:
        """Read one photograph with its labels; raises InputError for what cannot be used."""
        if not self._data.root:
            return Picture(item.key, *draw(item.key, self._data.size_px))
        photo = read_rgb(input_path(item))
        labels = read_deep_ids(Path(item.payload["labels"]))
        if labels.shape != photo.shape[:2]:
            raise InputError(
                f"{item.key}: the photograph is {photo.shape[:2]}, its labels are {labels.shape} "
                "(height, width); both need one size"
            )
        unknown = np.setdiff1d(labels, [*range(len(self._data.classes)), VOID])
        if len(unknown):
            raise InputError(
                f"{item.key}: label {unknown[0]} is no class; settings.data.classes names "
                f"{len(self._data.classes)}, and {VOID} is unlabeled"
            )
        size = (self._data.size_px, self._data.size_px)
        return Picture(
            item.key, resize_rgb(photo, size), resize_nearest(labels.astype(np.uint8), size)
        )

    def process(self, samples: Sequence[Picture]) -> Sequence[Sequence[Record]]:
        """Turn pictures into rows."""
        return [
            [Record(one.key, {"photo": encode_png(one.photo), "labels": encode_png(one.labels)})]
            for one in samples
        ]
