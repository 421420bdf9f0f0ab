"""The original's converted layout, read: whoever has converted a data set trains on it as it is.

``<split>/`` holds the photographs, ``stuffthingmaps/<split>/`` a map of class ids for each,
``annotations/<split>.json`` the things in COCO's detection format, and for the validation split
``*_panoptic_<split>`` with its JSON the exact truth. A split without exact truth is put together
from maps and polygons; these are simplified and fill holes, so the maps decide which pixels are
things, and the polygons only whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from scipy import ndimage

from eagleray_efficientps.conversion.converted_frame import KITTI_SIZE_HW
from eagleray_vision.datasets.source import LabeledImage, LabelSource
from eagleray_vision.json_file import read_json
from eagleray_vision.panoptic.coco_panoptic import (
    read_coco_panoptic,
    read_indexed,
    read_segments,
)
from eagleray_vision.panoptic.contours import SIMPLIFICATION_PX
from eagleray_vision.panoptic.errors import (
    LabelSizeError,
    MissingLabelFileError,
    SegmentListError,
    UnknownCategoryError,
)
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import (
    CITYSCAPES,
    VOID_CLASS,
    LabelSpace,
    label_space_from_coco,
)
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, indexed_panoptic

_NEEDED_KEYS = ("category_id", "iscrowd", "area", "segmentation")

_NEAR_PX = SIMPLIFICATION_PX + 1
"""A pixel of a thing class that no polygon covers belongs to the nearest instance up to here: the
tolerance of the simplification, and one pixel of rasterization."""

Pixels = npt.NDArray[np.integer[Any]]


class ConvertedSource(LabelSource):
    """A data set that was converted for the original code.

    Args:
        root: Folder with ``stuffthingmaps`` and ``annotations``.
        classes_split: Split whose panoptic JSON gives the class list; without one it is that of
            Cityscapes, the only one that the original's converters know.
    """

    def __init__(self, root: Path, classes_split: str = "val") -> None:
        self._root, self._classes_split = root, classes_split

    def label_space(self) -> LabelSpace:
        """Return the classes, stuff first."""
        return self._space

    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the images of a split in the order of its JSON."""
        exact = self._panoptic_json(split)
        if exact is None:
            yield from self._from_maps(split)
            return
        for entry in read_coco_panoptic(exact).images:
            stated = {"size_hw": list(entry.size_hw), "segments": list(entry.segments_info)}
            yield LabeledImage(
                str(entry.image_id),
                self._root / split / f"{entry.image_id}.png",
                exact.with_suffix("") / entry.label_file_name,
                stated,
            )

    def photo_folder(self, split: str) -> str:
        """Return the split's own folder."""
        return split

    def sizes_belong(self, image_hw: tuple[int, int], label_hw: tuple[int, int]) -> bool:
        """Accept KITTI's labels of 384 x 1280 for photographs of any size, which the original's
        converter leaves as they are in the training split.
        """
        return image_hw == label_hw or label_hw == KITTI_SIZE_HW

    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read the exact truth, or put a map and its annotations together."""
        stated = tuple(image.annotation["size_hw"])
        if "segments" in image.annotation:
            panoptic = read_indexed(
                image.label_path,
                read_segments(image.annotation["segments"]),
                self._space.class_of_original(),
                size_hw=None,
                void_class=VOID_CLASS,
            )
        else:
            classes = read_deep_ids(image.label_path)
            panoptic = panoptic_of_map(
                classes, image.annotation["annotations"], self._space, what=image.key
            )
        if panoptic.id_map.shape != stated:
            raise LabelSizeError(
                f"{image.label_path}: shape {panoptic.id_map.shape}, the JSON states {stated}"
            )
        return panoptic

    def _from_maps(self, split: str) -> Iterator[LabeledImage]:
        path = self._root / "annotations" / f"{split}.json"
        if not path.is_file():
            raise MissingLabelFileError(
                f"{path}: not found; a converted data set has annotations/{split}.json, or a "
                f"*_panoptic_{split}.json with exact truth. Check the root and the split"
            )
        content = read_json(path, SegmentListError)
        try:
            things = [(entry["id"], entry["name"]) for entry in content["categories"]]
            by_image: dict[int, list[dict[str, Any]]] = {one["id"]: [] for one in content["images"]}
            for one in content["annotations"]:
                by_image[one["image_id"]].append({key: one[key] for key in _NEEDED_KEYS})
            listed = [
                (one["file_name"], [one["height"], one["width"]], by_image[one["id"]])
                for one in content["images"]
            ]
        except (KeyError, TypeError) as error:
            raise SegmentListError(
                f"{path}: no COCO detection file ({type(error).__name__}: {error})"
            ) from error
        self._check_things(path, things)
        for name, size_hw, things_of_image in listed:
            yield LabeledImage(
                Path(name).stem,
                self._root / split / name,
                self._root / "stuffthingmaps" / split / name,
                {"size_hw": size_hw, "annotations": things_of_image},
            )

    def _check_things(self, path: Path, found: list[tuple[int, str]]) -> None:
        space = self._space
        expected = list(enumerate(space.class_names))[space.num_stuff :]
        if found != expected:
            raise SegmentListError(
                f"{path}: its things are {found[:3]}..., expected {expected[:3]}... of the class "
                f"list {space.name}; other classes need a *_panoptic_{self._classes_split}.json "
                "beside, which names them all"
            )

    def _panoptic_json(self, split: str) -> Path | None:
        paths = sorted(self._root.glob(f"*_panoptic_{split}.json"))
        if len(paths) > 1:
            raise SegmentListError(
                f"{self._root}: {', '.join(path.name for path in paths)} all state the truth of "
                f"{split}; leave one"
            )
        return paths[0] if paths else None

    @cached_property
    def _space(self) -> LabelSpace:
        path = self._panoptic_json(self._classes_split)
        if path is None:
            return CITYSCAPES
        space = label_space_from_coco(path.stem, read_coco_panoptic(path).categories)
        return CITYSCAPES if space.class_names == CITYSCAPES.class_names else space


def panoptic_of_map(
    classes: Pixels, annotations: Sequence[Mapping[str, Any]], space: LabelSpace, *, what: str
) -> IndexedPanoptic:
    """Put a map of classes and the annotations of its things together.

    Args:
        classes: ``(H, W)`` class ids, 255 = void.
        annotations: COCO annotations; category ids are class ids.
        space: Class list.
        what: What is read, for messages.

    Returns:
        The map's classes. A pixel of a thing class is that of the smallest annotation of the class
        that covers it, else of the nearest one within 3 pixels, else of a crowd.

    Raises:
        UnknownCategoryError: The map or an annotation has a class that is not in the list.
        SegmentListError: An annotation is malformed.
    """
    present = np.flatnonzero(np.bincount(classes.ravel()))
    unknown = [k for k in present.tolist() if k >= space.num_classes and k != VOID_CLASS]
    if unknown:
        raise UnknownCategoryError(f"{what}: the map holds classes {unknown[:10]}, which are none")
    by_class: dict[int, list[Mapping[str, Any]]] = {}
    for one in annotations:
        if not space.num_stuff <= one["category_id"] < space.num_classes:
            raise UnknownCategoryError(f"{what}: category {one['category_id']} is no thing class")
        by_class.setdefault(one["category_id"], []).append(one)
    id_map = np.zeros(classes.shape, dtype=np.int32)
    kinds, crowds = [VOID_CLASS], [False]
    for kind in [k for k in present.tolist() if k != VOID_CLASS]:
        own = classes == kind
        is_thing = kind >= space.num_stuff
        try:
            owner = _owners(by_class.get(kind, ()), own) if is_thing else np.full(own.shape, -1)
        except (KeyError, TypeError, ValueError, AttributeError, cv2.error) as error:
            raise SegmentListError(f"{what}: an annotation is malformed ({error})") from error
        numbers, position = np.unique(owner[own], return_inverse=True)
        id_map[own] = len(kinds) + position
        kinds += [kind] * len(numbers)
        crowds += [is_thing and number < 0 for number in numbers.tolist()]
    return indexed_panoptic(id_map, kinds, crowds)


def _owners(
    annotations: Sequence[Mapping[str, Any]], own: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    """Return whose each pixel of one thing class is.

    Args:
        annotations: Annotations of the class.
        own: ``(H, W)``, the pixels of the class.

    Returns:
        ``(H, W)`` int32 number of the instance; -1: a group's, or far from any instance. Only the
        pixels of ``own`` are meant.
    """
    owner = np.full(own.shape, -1, dtype=np.int32)
    instances = sorted(
        (one for one in annotations if not one["iscrowd"]), key=lambda one: -float(one["area"])
    )
    for index, one in enumerate(instances):
        for polygon in one["segmentation"]:
            points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
            cv2.fillPoly(owner, [np.rint(points).astype(np.int32)], index)
    group = np.zeros(own.shape, dtype=bool)
    for one in annotations:
        if one["iscrowd"]:
            runs = coco_mask.frPyObjects(one["segmentation"], *own.shape)
            group |= coco_mask.decode(runs).astype(bool)
    owner[group] = -1
    found, missing = own & (owner >= 0), own & (owner < 0) & ~group
    if found.any() and missing.any():
        distance, (rows, columns) = ndimage.distance_transform_edt(~found, return_indices=True)
        near = missing & (distance <= _NEAR_PX)
        owner[near] = owner[rows[near], columns[near]]
    return owner
