"""The one preprocessing step: labels of any supported data set become panoptic records."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from eagleray.task import Item, Record, Resources, Rows, Settings, Stage
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.datasets.source import LabeledImage, LabelSource
from eagleray_vision.images.reading import open_image, read_rgb
from eagleray_vision.panoptic.errors import LabelSizeError
from eagleray_vision.panoptic.label_image import deep_ids_png
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

STAGE_NAME = "panoptic_labels"
PHOTO_FILE = "photos/{key}.png"
"""File of a record that keeps its own picture; its ``image_path`` is empty."""
PORTRAITS = "portraits"
"""Key of the summary that lists the images which are not wider than high."""


class LabelStageSettings(Settings):
    """What the records depend on, apart from the files."""

    format: str = Field(description="Layout of the data set.")
    classes: tuple[str, ...] = Field(description="Class names, stuff first.")
    original_ids: tuple[int, ...] = Field(description="The data set's own ids of the classes.")
    num_stuff: int = Field(description="Number of stuff classes.")
    ignored_ids: tuple[int, ...] = Field(description="Ids that become void.")
    reduced_labels: bool = Field(description="Whether labels may be smaller than photographs.")
    check_images: bool = Field(description="Whether photographs are decoded.")
    faithful: bool = Field(description="Whether defects of the original converters are kept.")


@dataclass(frozen=True)
class _Loaded:
    key: str
    image_path: str
    image_hw: tuple[int, int]
    panoptic: IndexedPanoptic


class PanopticLabelStage(Stage):
    """Reads and checks the labels of one split; photographs stay where they are.

    Args:
        labels: The data set.
        data: Where it is, and what is checked.
        source: ``train`` or ``val``.
        split: Name of the split as the data set calls it.
        faithful: Whether ``labels`` keeps the defects of the original converters; a part of the
            stage's identity.
    """

    name = STAGE_NAME
    version = 1
    schema: Mapping[str, str] = {
        "image_path": "string",
        "height": "int64",
        "width": "int64",
        "id_map": "binary",
        "categories": "list<int64>",
        "is_crowd": "list<bool>",
    }
    resources = Resources(seconds_per_item=0.2, loader_threads=2)

    def __init__(
        self,
        labels: LabelSource,
        data: DatasetSettings,
        source: str,
        split: str,
        *,
        faithful: bool,
    ) -> None:
        self._labels, self._data, self._faithful = labels, data, faithful
        self.source, self._split = source, split

    def settings(self) -> LabelStageSettings:
        """Return the class list and the checks; the folder is no part of it."""
        space = self._labels.label_space()
        return LabelStageSettings(
            format=self._data.format,
            classes=space.class_names,
            original_ids=space.original_ids,
            num_stuff=space.num_stuff,
            ignored_ids=tuple(sorted(space.ignored_ids)),
            reduced_labels=self._data.reduced_labels,
            check_images=self._data.check_images,
            faithful=self._faithful,
        )

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the labeled images; an image or label that is missing becomes a reject."""
        root = Path(self._data.root)
        for image in self._labels.labeled_images(self._split):
            annotation = json.dumps(image.annotation, sort_keys=True)
            identity = (
                f"{file_stamp(image.image_path)}/{file_stamp(image.label_path)}/"
                f"{zlib.crc32(annotation.encode()):08x}"
            )
            payload = {
                "image_path": _relative(image.image_path, root),
                "label_path": _relative(image.label_path, root),
                "annotation": image.annotation,
            }
            yield Item(image.key, identity, payload)

    def load(self, item: Item) -> _Loaded:
        """Read and check one label and its photograph.

        Raises:
            InputError: A file is missing or damaged, sizes differ, or the label contradicts itself.
        """
        root = Path(self._data.root)
        photo = root / item.payload["image_path"]
        label = LabeledImage(
            item.key, photo, root / item.payload["label_path"], item.payload["annotation"]
        )
        if self._data.check_images:
            height, width = read_rgb(photo).shape[:2]
        else:
            width, height = open_image(photo).size
        panoptic = self._labels.read_label(label)
        label_hw = (panoptic.id_map.shape[0], panoptic.id_map.shape[1])
        if not self._labels.sizes_belong((height, width), label_hw):
            check_sizes(label, (height, width), label_hw, reduced=self._data.reduced_labels)
        return _Loaded(item.key, item.payload["image_path"], (height, width), panoptic)

    def process(self, samples: Sequence[_Loaded]) -> Sequence[Sequence[Record]]:
        """Write one record per image."""
        return [[_record(sample)] for sample in samples]

    def finish(self, rows: Rows) -> Mapping[str, Any]:
        """Name the images that are not wider than high, and count the segments of every class."""
        space = self._labels.label_space()
        counts = np.zeros(space.num_classes, dtype=np.int64)
        portraits = []
        for key in rows.keys():  # noqa: SIM118 (Rows is no mapping)
            row = rows[key]
            np.add.at(counts, np.asarray(row["categories"][1:], dtype=np.int64), 1)
            if row["height"] >= row["width"]:
                portraits.append(key)
        segments = dict(zip(space.class_names, counts.tolist(), strict=True))
        return {PORTRAITS: portraits, "segments": segments}


def _record(sample: _Loaded) -> Record:
    panoptic = sample.panoptic
    return Record(
        sample.key,
        {
            "image_path": sample.image_path,
            "height": sample.image_hw[0],
            "width": sample.image_hw[1],
            "id_map": deep_ids_png(panoptic.id_map),
            "categories": panoptic.categories.tolist(),
            "is_crowd": panoptic.is_crowd.tolist(),
        },
    )


def check_sizes(
    label: LabeledImage, image_hw: tuple[int, int], label_hw: tuple[int, int], *, reduced: bool
) -> None:
    """Refuse a label whose size is not that of its photograph.

    Args:
        label: Both files.
        image_hw: Height and width of the photograph in pixels.
        label_hw: Height and width of the label.
        reduced: Whether the label may be smaller by a whole factor.

    Raises:
        LabelSizeError: They differ otherwise.
    """
    if image_hw == label_hw:
        return
    factor = image_hw[0] // label_hw[0]
    if reduced and (label_hw[0] * factor, label_hw[1] * factor) == image_hw:
        return
    hint = (
        "the label must be smaller by one whole factor"
        if reduced
        else "both need one size (data.reduced_labels accepts labels smaller by a whole factor)"
    )
    raise LabelSizeError(
        f"{label.key}: the photograph {label.image_path.name} is {image_hw[1]} x {image_hw[0]} "
        f"pixels, its label {label.label_path.name} {label_hw[1]} x {label_hw[0]}; {hint}"
    )


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def file_stamp(path: Path) -> str:
    """Return what tells a file from another one of its name: size and time of change."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # also a name that no file can have
        return "missing"
    return f"{status.st_size}-{status.st_mtime_ns}"
