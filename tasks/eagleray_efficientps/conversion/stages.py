"""Writing a data set in the original's converted layout, as two more stages of ``prepare``.

The first one writes photographs, maps of classes and exact truth frame by frame and keeps what the
lists say of them; the second one writes the lists. Every file appears whole or not at all, so a job
that was killed goes on where it stopped; a folder that was deleted is written anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from eagleray.task import FolderWriter, Item, Record, Resources, Rows, Settings, Stage
from eagleray_efficientps.conversion.converted_frame import (
    KITTI_SIZE_HW,
    convert_frame,
    detection_json,
    panoptic_json,
)
from eagleray_efficientps.settings import DataSettings
from eagleray_vision.datasets.label_stage import check_sizes, file_stamp
from eagleray_vision.datasets.list_stage import ListStage
from eagleray_vision.datasets.source import LabeledImage, ValueSource
from eagleray_vision.images.opencv_resizing import resize_bilinear, resize_nearest_floor
from eagleray_vision.images.reading import read_bytes, read_rgb
from eagleray_vision.panoptic.label_image import encode_png, rgb_ids_png

_EXACT_SOURCE = "val"
"""The original writes exact truth for the validation split only."""


class ConversionSettings(Settings):
    """What the written files depend on, apart from the data set's."""

    folder: str = Field(description="Where they are written.")
    photos: str = Field(description="Copies or links.")
    format: str = Field(description="Layout of the data set.")
    classes: tuple[str, ...] = Field(description="Class names.")
    original_ids: tuple[int, ...] = Field(description="The data set's own ids of the classes.")


@dataclass(frozen=True)
class _Loaded:
    image: LabeledImage
    photo: npt.NDArray[np.uint8]
    values: npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class _Listed:
    name: str
    size_hw: tuple[int, int]
    annotations: Sequence[Mapping[str, Any]]


class ConvertedFrameStage(Stage[_Loaded, _Loaded]):
    """Writes the files of each frame of one split, and keeps the entries of the lists.

    KITTI panoptic is brought to 384 x 1280: labels as by the original, and photographs too, which
    the original leaves as they are in the training split.

    Args:
        labels: The data set.
        data: Where it is, and where its files are written to.
        source: ``train`` or ``val``, the written split's name.
        split: Name of the split as the data set calls it.
    """

    name = "converted_frames"
    version = 1
    schema: Mapping[str, str] = {
        "height": "int64",
        "width": "int64",
        "annotations": "string",
        "image": "string",
        "panoptic": "string",
    }
    resources = Resources(seconds_per_item=0.5, loader_threads=2)

    def __init__(self, labels: ValueSource, data: DataSettings, source: str, split: str) -> None:
        self._labels, self._data, self.source, self._split = labels, data, source, split
        self._folder = converted_folder(data)
        self._space = labels.label_space()

    def settings(self) -> ConversionSettings:
        """Return folder, format and class list."""
        return conversion_settings(self._data, self._labels)

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the frames of the split.

        Raises:
            SettingsError: The folder holds a data set of another origin.
        """
        owner = claim(self._folder)
        for image in self._labels.labeled_images(self._split):
            stamps = f"{file_stamp(image.image_path)}/{file_stamp(image.label_path)}"
            paths = {"image": str(image.image_path), "label": str(image.label_path)}
            yield Item(image.key, f"{owner}/{self.source}/{stamps}", paths)

    def load(self, item: Item) -> _Loaded:
        """Read one photograph and its label.

        Raises:
            InputError: A file is missing or damaged, or sizes differ.
        """
        photo, label = Path(item.payload["image"]), Path(item.payload["label"])
        image = LabeledImage(item.key, photo, label)
        values, pixels = self._labels.read_values(image), read_rgb(photo)
        sizes = [(one.shape[0], one.shape[1]) for one in (pixels, values)]
        check_sizes(image, sizes[0], sizes[1], reduced=False)
        return _Loaded(image, pixels, values)

    def process(self, samples: Sequence[_Loaded]) -> Sequence[_Loaded]:
        """Leave everything to the writer's threads."""
        return samples

    def encode(self, processed: _Loaded) -> Sequence[Record]:
        """Write the files of one frame."""
        return [self._written(processed)]

    def _written(self, sample: _Loaded) -> Record:
        name, values, photo = sample.image.key, sample.values, sample.photo
        if self._data.format == "kitti":
            values, photo = (
                resize_nearest_floor(values, KITTI_SIZE_HW),
                resize_bilinear(photo, KITTI_SIZE_HW),
            )
        frame = convert_frame(values, name, self._space)
        self._write_photo(sample, photo)
        maps = f"stuffthingmaps/{self.source}/{name}.png"
        self._folder.write(maps, encode_png(frame.stuff_map))
        image, annotation = panoptic_entries(self._data.format, name, frame.size_hw)
        if self.source == _EXACT_SOURCE:
            png = rgb_ids_png(frame.panoptic_ids)
            self._folder.write(f"{exact_name(self._data)}/{annotation['file_name']}", png)
        annotation["segments_info"] = list(frame.segments)
        row = {
            "height": frame.size_hw[0],
            "width": frame.size_hw[1],
            "annotations": json.dumps(frame.annotations),
            "image": json.dumps(image),
            "panoptic": json.dumps(annotation),
        }
        return Record(name, row)

    def _write_photo(self, sample: _Loaded, photo: npt.NDArray[np.uint8]) -> None:
        """Put a photograph into the split's folder: a PNG of the same size as it is."""
        path, name = sample.image.image_path, f"{self.source}/{sample.image.key}.png"
        if photo is not sample.photo or path.suffix.lower() != ".png":
            self._folder.write(name, encode_png(photo))
        elif self._data.convert.photos == "link":
            self._folder.link(name, path)
        else:
            self._folder.write(name, read_bytes(path))


class ConvertedIndexStage(ListStage):
    """Writes the lists of one split: COCO's of the things and, for ``val``, the exact truth's.

    Args:
        frames: The stage that has written the frames.
        labels: The data set.
        data: Where its files are written to.
    """

    name = "converted_index"
    schema: Mapping[str, str] = {"images": "int64", "annotations": "int64"}

    def __init__(
        self, frames: ConvertedFrameStage, labels: ValueSource, data: DataSettings
    ) -> None:
        super().__init__(frames.label)
        self._labels, self._data = labels, data
        self._folder, self.source = converted_folder(data), frames.source

    def settings(self) -> ConversionSettings:
        """Return folder, format and class list."""
        return conversion_settings(self._data, self._labels)

    def identity(self) -> str:
        """Return the folder's own name, and the split."""
        return f"{claim(self._folder)}/{self.source}"

    def write(self, rows: Rows) -> Mapping[str, Any]:
        """Write the lists, that of the things last: it says that the split is whole."""
        space = self._labels.label_space()
        chosen = [(key, rows[key]) for key in sorted(rows.keys())]
        content = detection_json(
            (
                _Listed(key, (row["height"], row["width"]), json.loads(row["annotations"]))
                for key, row in chosen
            ),
            space,
        )
        files: dict[str, bytes] = {}
        if self.source == _EXACT_SOURCE:
            pairs = [(json.loads(row["image"]), json.loads(row["panoptic"])) for _, row in chosen]
            exact = json.dumps(panoptic_json(pairs, space), sort_keys=True, indent=4)
            files[f"{exact_name(self._data)}.json"] = exact.encode()
        self._folder.commit(files, index_name(self.source), json.dumps(content).encode())
        return {"images": len(chosen), "annotations": len(content["annotations"])}


def conversion_stages(data: DataSettings, labels: ValueSource) -> tuple[Stage, ...]:
    """Return the stages that write both splits of a data set in the original's layout."""
    found: list[Stage] = []
    for source, split in {"train": data.train_split, "val": data.val_split}.items():
        frames = ConvertedFrameStage(labels, data, source, split)
        found += [frames, ConvertedIndexStage(frames, labels, data)]
    return tuple(found)


def conversion_settings(data: DataSettings, labels: ValueSource) -> ConversionSettings:
    """Return what the written files depend on."""
    space = labels.label_space()
    return ConversionSettings(
        folder=str(Path(data.convert.folder).absolute()),
        photos=data.convert.photos,
        format=data.format,
        classes=space.class_names,
        original_ids=space.original_ids,
    )


def converted_folder(data: DataSettings) -> FolderWriter:
    """Return the writer of the folder that the settings name."""
    return FolderWriter(Path(data.convert.folder))


def claim(folder: FolderWriter) -> str:
    """Return the folder's own name, which it is given at the first call.

    Raises:
        SettingsError: A data set is there that was not written here.
    """
    foreign = [index_name(source) for source in ("train", "val")]
    return folder.claim(foreign, hint="name an empty folder in data.convert.folder")


def index_name(source: str) -> str:
    """Return the relative path of a split's COCO list."""
    return f"annotations/{source}.json"


def exact_name(data: DataSettings) -> str:
    """Return the folder of the exact truth, and the stem of its JSON."""
    return f"{data.format}_panoptic_{_EXACT_SOURCE}"


def panoptic_entries(
    format: str, name: str, size_hw: tuple[int, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a frame's entries of ``images`` and ``annotations``, the latter without segments.

    Cityscapes' own converter names label files ``*_gtFine_panoptic.png`` and, by a replaced suffix,
    photographs ``*_gtFine_leftImg8bit.png``.
    """
    long = format != "kitti"
    image = {
        "id": name,
        "file_name": f"{name}_gtFine_leftImg8bit.png" if long else f"{name}.png",
        "height": size_hw[0],
        "width": size_hw[1],
    }
    label = f"{name}_gtFine_panoptic.png" if long else f"{name}.png"
    return image, {"image_id": name, "file_name": label}
