"""Writing labels in the original's intermediate format, as two more stages of ``prepare``.

The label stages have read and checked any data set before; these two write what they found. The
photographs and masks go straight to the folder (whole files); the rows remember the lists' entries,
so that a job that was killed goes on where it stopped. A folder that was deleted is written anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from eagleray.task import Item, Record, Resources, Rows, Settings, Stage
from eagleray_seamseg.intermediate.folder import SeamlessFolder
from eagleray_seamseg.intermediate.source import coco_annotations, coco_image, metadata_entry
from eagleray_seamseg.settings import ConvertSettings
from eagleray_vision.datasets.label_stage import PHOTO_FILE
from eagleray_vision.datasets.list_stage import ListStage
from eagleray_vision.panoptic.errors import LabelSizeError, SegmentListError
from eagleray_vision.panoptic.label_image import encode_png, read_deep_ids
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, indexed_panoptic

_NO_DATE = ""
"""``date_captured`` of the lists: data sets do not say, and the day of the conversion would make
every run differ."""


@dataclass(frozen=True)
class ConvertedSplit:
    """One split that is converted.

    Attributes:
        name: Its name, that of its lists.
        label: Label of the stage that has read it.
        photo_folder: Its folder of photographs relative to the data's root; COCO lists name
            photographs below it.
    """

    name: str
    label: str
    photo_folder: str


class ConversionSettings(Settings):
    """What the written files depend on, apart from the labels."""

    folder: str = Field(description="Where they are written.")
    photos: str = Field(description="Copies or links.")
    splits: tuple[tuple[str, str], ...] = Field(description="Name and label of each split.")
    num_stuff: int = Field(description="Number of stuff classes.")
    classes: tuple[str, ...] = Field(description="Class names.")
    first_annotation_id: int = Field(description="Number of the first COCO annotation.")
    version: str = Field(description="Version that the COCO lists state.")


@dataclass(frozen=True)
class _Loaded:
    key: str
    splits: tuple[str, ...]
    file_name: str
    photo: Path | bytes
    panoptic: IndexedPanoptic


class SeamlessImageStage(Stage):
    """Writes photographs and masks, and keeps the entries of the lists.

    Args:
        root: Folder of the labeled data, to which ``image_path`` of the label rows is relative.
        convert: Where to write, and how.
        splits: What to write.
        space: Class list.
        settings: What the written files depend on.
    """

    name = "seamless_images"
    version = 1
    schema: Mapping[str, str] = {
        "splits": "list<string>",
        "entry": "string",
        "image": "string",
        "annotations": "string",
    }
    resources = Resources(seconds_per_item=0.5, loader_threads=2)

    def __init__(
        self,
        root: Path,
        convert: ConvertSettings,
        splits: Sequence[ConvertedSplit],
        space: LabelSpace,
        settings: ConversionSettings,
    ) -> None:
        self._root, self._convert, self._splits = root, convert, tuple(splits)
        self._space, self._settings = space, settings
        self._folder = SeamlessFolder(Path(convert.folder).absolute())
        self.upstream = tuple(dict.fromkeys(split.label for split in splits))

    def settings(self) -> ConversionSettings:
        """Return folder, splits and class list."""
        return self._settings

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the images of all splits, those of several splits once.

        Raises:
            SegmentListError: Two photographs have one id.
            SettingsError: The folder holds a data set of another origin.
        """
        owner = self._folder.claim()
        images: dict[str, tuple[ConvertedSplit, list[str]]] = {}
        for split in self._splits:
            rows = upstream[split.label]
            for key in rows.keys():  # noqa: SIM118 (Rows is no mapping)
                first, names = images.setdefault(key, (split, []))
                names.append(split.name)
                if first.label != split.label:
                    self._check_same(key, upstream[first.label][key], rows[key], first, split)
        for key, (split, names) in images.items():
            payload = {"label": split.label, "splits": names, "photo_folder": split.photo_folder}
            yield Item(key, owner, payload)

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Keep the labels' rows."""
        self._rows = upstream

    def load(self, item: Item) -> _Loaded:
        """Read the label's row, and where its photograph is.

        Raises:
            LabelSizeError: Label and photograph differ in size, which the format cannot express.
        """
        rows = self._rows[item.payload["label"]]
        row = rows[item.key]
        panoptic = indexed_panoptic(
            read_deep_ids(row["id_map"]), row["categories"], row["is_crowd"]
        )
        if panoptic.id_map.shape != (row["height"], row["width"]):
            raise LabelSizeError(
                f"{item.key}: the photograph is {row['width']} x {row['height']} pixels, its label "
                f"{panoptic.id_map.shape[1]} x {panoptic.id_map.shape[0]}; the intermediate format "
                "has one size for both, so reduced labels cannot be converted"
            )
        photo: Path | bytes
        if row["image_path"]:
            photo = self._root / row["image_path"]
            name = _below(row["image_path"], item.payload["photo_folder"])
        else:
            photo = rows.read_file(item.key, PHOTO_FILE.format(key=item.key))
            name = f"{item.key}.png"
        return _Loaded(item.key, tuple(item.payload["splits"]), name, photo, panoptic)

    def process(self, samples: Sequence[_Loaded]) -> Sequence[Sequence[Record]]:
        """Write the files of each image."""
        return [[self._written(sample)] for sample in samples]

    def _written(self, sample: _Loaded) -> Record:
        key, panoptic = sample.key, sample.panoptic
        self._folder.write_mask(key, encode_png(panoptic.id_map.astype("uint16")))
        self._folder.write_photo(key, sample.photo, self._convert.photos)
        image = coco_image(key, sample.file_name, panoptic.id_map.shape, _NO_DATE)
        row = {
            "splits": list(sample.splits),
            "entry": json.dumps(metadata_entry(key, panoptic)),
            "image": json.dumps(image),
            "annotations": json.dumps(coco_annotations(key, panoptic, self._space)),
        }
        return Record(key, row)

    @staticmethod
    def _check_same(
        key: str,
        row: Mapping[str, Any],
        other: Mapping[str, Any],
        first: ConvertedSplit,
        second: ConvertedSplit,
    ) -> None:
        if row["image_path"] != other["image_path"] or not row["image_path"]:
            raise SegmentListError(
                f"two photographs have the id {key!r}: {row['image_path'] or 'generated'} of split "
                f"{first.name} and {other['image_path'] or 'generated'} of split {second.name}; "
                "the intermediate format needs ids that are unique over all splits"
            )


class SeamlessIndexStage(ListStage):
    """Writes the lists over all images: ``metadata.bin``, ``lst`` and ``coco``.

    Args:
        images: The stage that has written the images.
        convert: Where to write.
        space: Class list.
        settings: What the written files depend on.
    """

    name = "seamless_index"
    schema: Mapping[str, str] = {"images": "int64", "annotations": "int64"}

    def __init__(
        self,
        images: SeamlessImageStage,
        convert: ConvertSettings,
        space: LabelSpace,
        settings: ConversionSettings,
    ) -> None:
        super().__init__(images.label)
        self._folder = SeamlessFolder(Path(convert.folder).absolute())
        self._space, self._settings = space, settings

    def settings(self) -> ConversionSettings:
        """Return folder, splits and class list."""
        return self._settings

    def identity(self) -> str:
        """Return the folder's own name."""
        return self._folder.claim()

    def write(self, rows: Rows) -> Mapping[str, Any]:
        """Write the lists of every split, and the metadata last."""
        self._folder.remove_temporaries()
        keys, num_annotations = list(rows.keys()), 0
        for split in dict.fromkeys(name for name, _ in self._settings.splits):
            chosen = [key for key in keys if split in rows[key]["splits"]]
            self._folder.write_list(split, chosen)
            num_annotations += self._folder.write_coco(
                split,
                (json.loads(rows[key]["image"]) for key in chosen),
                (one for key in chosen for one in json.loads(rows[key]["annotations"])),
                self._space,
                version=self._settings.version,
                first_annotation_id=self._settings.first_annotation_id,
            )
        self._folder.write_metadata((json.loads(rows[key]["entry"]) for key in keys), self._space)
        return {"images": len(keys), "annotations": num_annotations}


def conversion_stages(
    root: Path,
    convert: ConvertSettings,
    splits: Sequence[ConvertedSplit],
    space: LabelSpace,
    *,
    version: str,
    faithful: bool,
) -> tuple[Stage, ...]:
    """Return the stages that write a data set in the original's format.

    Args:
        root: Folder of the labeled data.
        convert: Where to write, and how.
        splits: Splits and the stages that have read them.
        space: Class list.
        version: Version of the data set.
        faithful: Number COCO annotations from 0 as the original, instead of 1.
    """
    settings = ConversionSettings(
        folder=str(Path(convert.folder).absolute()),
        photos=convert.photos,
        splits=tuple((split.name, split.label) for split in splits),
        num_stuff=space.num_stuff,
        classes=space.class_names,
        first_annotation_id=0 if faithful else 1,
        version=version,
    )
    images = SeamlessImageStage(root, convert, splits, space, settings)
    return (images, SeamlessIndexStage(images, convert, space, settings))


def _below(path: str, folder: str) -> str:
    """Return a path relative to a folder, or its name where it is not below."""
    whole = PurePosixPath(path)
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else whole.name
