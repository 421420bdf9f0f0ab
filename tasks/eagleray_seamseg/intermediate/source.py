"""The intermediate format of the original Seamless code: read it, and write its two lists.

Whoever has converted a data set for the original can train on it as it is: ``img/``, ``msk/``,
``lst/`` and ``metadata.bin`` (MessagePack).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from eagleray.task import InputError
from eagleray_seamseg.intermediate.metadata import (
    METADATA_FILE,
    SeamlessMetadata,
    read_metadata,
)
from eagleray_vision.datasets.source import LabeledImage, LabelSource
from eagleray_vision.panoptic.coco_instances import instance_annotation
from eagleray_vision.panoptic.errors import LabelSizeError, MissingLabelFileError, SegmentListError
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import (
    IndexedPanoptic,
    check_categories,
    indexed_panoptic,
)

_IMAGE_SUFFIXES = (".png", ".jpg")
"""In the order in which the original looks for them."""

_IMAGE_LICENSE = 1
"""Value of ``license`` in the original's COCO files."""


@dataclass(frozen=True)
class ConvertedImage:
    """One image of the intermediate format.

    Attributes:
        image_id: File stem.
        file_name: Path below the split's image folder, for the COCO list.
        panoptic: Its labels.
    """

    image_id: str
    file_name: str
    panoptic: IndexedPanoptic


class SeamlessSource(LabelSource):
    """A data set that was converted for the original code.

    Args:
        root: Folder with ``img``, ``msk``, ``lst`` and ``metadata.bin``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def label_space(self) -> LabelSpace:
        """Return the classes of ``metadata.bin``."""
        return self._metadata.space

    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the images of a split in the order of the metadata, then those that only the list
        names: these become rejects.
        """
        path = self._root / "lst" / f"{split}.txt"
        if not path.is_file():
            raise MissingLabelFileError(f"{path}: the list of the split does not exist")
        entries = self._metadata.images
        if entries is None:
            raise SegmentListError(
                f"{self._root / METADATA_FILE}: it was stripped of its images, so there are "
                "classes but no labels; use the file of the converted data set"
            )
        try:
            wanted = dict.fromkeys(line.strip() for line in path.read_text().splitlines())
        except ValueError as error:
            raise SegmentListError(f"{path}: the list of the split is no text ({error})") from error
        wanted.pop("", None)
        for image_id in [one for one in entries if one in wanted]:
            yield self._labeled(image_id, entries[image_id])
        for image_id in [one for one in wanted if one not in entries]:
            yield self._labeled(image_id, {})

    def photo_folder(self, split: str) -> str:
        """Return ``img``."""
        return "img"

    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read the mask; categories and crowds come from the metadata."""
        entry = image.annotation
        if not entry:
            raise SegmentListError(
                f"{image.key}: a list in {self._root / 'lst'} names it, but "
                f"{self._root / METADATA_FILE} does not describe it"
            )
        ids = read_deep_ids(image.label_path)
        try:
            panoptic = indexed_panoptic(ids, entry["cat"], entry["iscrowd"])
            size_hw = list(entry["size"])
        except InputError:
            raise
        except (TypeError, ValueError, OverflowError, KeyError, AttributeError) as error:
            raise SegmentListError(
                f"{image.key}: its entry in {self._root / METADATA_FILE} is malformed ({error}); "
                "expected are lists of numbers under size, cat and iscrowd"
            ) from error
        if list(panoptic.id_map.shape) != size_hw:
            raise LabelSizeError(
                f"{image.label_path}: shape {panoptic.id_map.shape}, metadata state {entry['size']}"
            )
        check_categories(
            panoptic.categories[1:], range(self._metadata.space.num_classes), what=image.key
        )
        return panoptic

    def _labeled(self, image_id: str, entry: Mapping[str, Any]) -> LabeledImage:
        label = self._root / "msk" / f"{image_id}.png"
        return LabeledImage(image_id, self._photo(image_id), label, entry)

    def _photo(self, image_id: str) -> Path:
        candidates = [self._root / "img" / f"{image_id}{suffix}" for suffix in _IMAGE_SUFFIXES]
        return next((path for path in candidates if path.is_file()), candidates[-1])

    @cached_property
    def _metadata(self) -> SeamlessMetadata:
        return read_metadata(self._root / METADATA_FILE)


def metadata_bytes(images: Iterable[ConvertedImage], space: LabelSpace) -> bytes:
    """Write ``metadata.bin`` of the intermediate format.

    Args:
        images: All images of all splits.
        space: Class list.

    Returns:
        MessagePack bytes.
    """
    return pack_metadata([metadata_entry(one.image_id, one.panoptic) for one in images], space)


def metadata_entry(image_id: str, panoptic: IndexedPanoptic) -> dict[str, Any]:
    """Return the entry of one image in ``metadata.bin``."""
    return {
        "id": image_id,
        "cat": panoptic.categories.tolist(),
        "size": list(panoptic.id_map.shape),
        "iscrowd": panoptic.is_crowd.astype(np.int64).tolist(),
    }


def pack_metadata(entries: Sequence[Mapping[str, Any]], space: LabelSpace) -> bytes:
    """Write ``metadata.bin`` from the entries of its images; see `metadata_bytes`."""
    meta = {
        "num_stuff": space.num_stuff,
        "num_thing": space.num_things,
        "categories": list(space.class_names),
        "palette": [list(color) for color in space.palette],
        "original_ids": list(space.original_ids),
    }
    packed: bytes = msgpack.packb({"images": list(entries), "meta": meta}, use_bin_type=True)
    return packed


def coco_detection_json(
    images: Sequence[ConvertedImage],
    space: LabelSpace,
    *,
    version: str,
    date_captured: str,
    first_annotation_id: int = 1,
) -> dict[str, Any]:
    """Write the COCO detection list of one split: things only, category ids are class ids.

    Args:
        images: Images of the split.
        space: Class list.
        version: Version of the data set.
        date_captured: Value of that key.
        first_annotation_id: 1 so that COCO evaluation counts every match; the original starts at 0.

    Returns:
        ``info``, ``images``, ``categories`` and ``annotations``.
    """
    annotations = [
        annotation
        for image in images
        for annotation in coco_annotations(image.image_id, image.panoptic, space)
    ]
    return {
        "info": {"version": version},
        "images": [
            coco_image(image.image_id, image.file_name, image.panoptic.id_map.shape, date_captured)
            for image in images
        ],
        "categories": coco_categories(space),
        "annotations": [
            {**annotation, "id": number}
            for number, annotation in enumerate(annotations, start=first_annotation_id)
        ],
    }


def coco_annotations(
    image_id: str, panoptic: IndexedPanoptic, space: LabelSpace
) -> list[dict[str, Any]]:
    """Return the annotations of one image's things, all with the id 0."""
    things = [
        index
        for index in np.flatnonzero(panoptic.areas()).tolist()
        if index > 0 and panoptic.categories[index] >= space.num_stuff
    ]
    annotations = [
        instance_annotation(
            panoptic.id_map == index,
            annotation_id=0,
            image_id=image_id,
            category_id=int(panoptic.categories[index]),
            is_crowd=bool(panoptic.is_crowd[index]),
        )
        for index in things
    ]
    return [annotation for annotation in annotations if annotation is not None]


def coco_categories(space: LabelSpace) -> list[dict[str, Any]]:
    """Return the categories of a COCO detection list: the things, by their class ids."""
    return [
        {"id": category, "name": space.class_names[category]}
        for category in range(space.num_stuff, space.num_classes)
    ]


def coco_image(
    image_id: str, file_name: str, size_hw: tuple[int, ...], date_captured: str
) -> dict[str, Any]:
    """Return the entry of one image in a COCO detection list."""
    return {
        "id": image_id,
        "file_name": file_name,
        "width": size_hw[1],
        "height": size_hw[0],
        "date_captured": date_captured,
        "license": _IMAGE_LICENSE,
        "coco_url": "",
        "flickr_url": "",
    }
