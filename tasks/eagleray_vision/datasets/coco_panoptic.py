"""COCO panoptic, and whatever else comes in its format (the original had no such converter)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from eagleray_vision.datasets.source import LabeledImage, LabelSource
from eagleray_vision.panoptic.coco_panoptic import (
    read_coco_panoptic,
    read_indexed,
    read_segments,
)
from eagleray_vision.panoptic.errors import LabelSizeError
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace, label_space_from_coco
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

_NEEDED_KEYS = ("id", "category_id", "iscrowd")


class CocoPanopticSource(LabelSource):
    """Images, one PNG of segment ids per image, and a JSON.

    Args:
        root: Folder of the data set.
        classes_split: Split whose JSON gives the class list; the smaller one, since every worker
            reads it.
        images: Folder of the photographs relative to ``root``; ``{split}`` is replaced.
        labels: Folder of the label PNGs, likewise.
        annotations: The JSON, likewise.
    """

    def __init__(
        self,
        root: Path,
        classes_split: str,
        *,
        images: str = "{split}",
        labels: str = "annotations/panoptic_{split}",
        annotations: str = "annotations/panoptic_{split}.json",
    ) -> None:
        self._root, self._classes_split = root, classes_split
        self._images, self._labels, self._annotations = images, labels, annotations

    def label_space(self) -> LabelSpace:
        """Return the classes of the JSON, stuff first."""
        return self._space

    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the annotated images in the order of the JSON."""
        content = read_coco_panoptic(self._root / self._annotations.format(split=split))
        images = self._root / self._images.format(split=split)
        labels = self._root / self._labels.format(split=split)
        for entry in content.images:
            yield LabeledImage(
                Path(entry.file_name or entry.label_file_name).stem,
                images / entry.file_name,
                labels / entry.label_file_name,
                {
                    "size_hw": list(entry.size_hw),
                    "segments": list(map(_needed, entry.segments_info)),
                },
            )

    def photo_folder(self, split: str) -> str:
        """Return the folder of the photographs."""
        return self._images.format(split=split)

    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read the PNG and check it against its list and the size that the JSON states.

        Raises:
            LabelSizeError: The PNG has another size than the JSON states.
            PanopticError: See `read_indexed`.
        """
        panoptic = read_indexed(
            image.label_path,
            read_segments(image.annotation["segments"]),
            self._space.class_of_original(),
            size_hw=None,
            void_class=VOID_CLASS,
        )
        stated = tuple(image.annotation["size_hw"])
        if all(stated) and panoptic.id_map.shape != stated:
            raise LabelSizeError(
                f"{image.label_path}: {panoptic.id_map.shape[1]} x {panoptic.id_map.shape[0]} "
                f"pixels, but the JSON states {stated[1]} x {stated[0]}"
            )
        return panoptic

    @cached_property
    def _space(self) -> LabelSpace:
        path = self._root / self._annotations.format(split=self._classes_split)
        return label_space_from_coco("coco_panoptic", read_coco_panoptic(path).categories)


def _needed(entry: Any) -> Any:
    """Leave out of a segment's entry what the labels do not depend on; a listing holds millions."""
    return (
        {key: entry[key] for key in _NEEDED_KEYS if key in entry}
        if isinstance(entry, dict)
        else entry
    )
