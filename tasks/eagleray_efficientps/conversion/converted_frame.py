"""One labeled frame in the original's converted layout: stuff map, instances, panoptic truth.

The original converts Cityscapes and KITTI panoptic, whose pixels hold ``label id`` (stuff and
groups) or ``label id * 1000 + number``, to a map of class ids, a COCO detection file over the
things, and panoptic PNGs with a JSON. Its instances are simplified polygons in which holes are
filled; groups are run lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eagleray_vision.images.opencv_resizing import resize_nearest_floor
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.coco_instances import instance_annotation
from eagleray_vision.panoptic.coco_panoptic import segments_info
from eagleray_vision.panoptic.label_space import (
    CITYSCAPES,
    CITYSCAPES_CATEGORIES,
    CITYSCAPES_CATEGORY_OF_CLASS,
    VOID_CLASS,
    LabelSpace,
)
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

KITTI_SIZE_HW = (384, 1280)
"""Size that the original brings KITTI panoptic labels to (EfficientPS, section 4.1)."""

_LICENSE = 1
"""License number that every image record of the original's COCO files carries."""


class ListedFrame(Protocol):
    """What the lists of a split hold of one frame; as in `ConvertedFrame`."""

    @property
    def name(self) -> str:
        """File name without suffix."""
        ...

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def annotations(self) -> Sequence[Mapping[str, Any]]:
        """COCO annotations of the things."""
        ...


@dataclass(frozen=True)
class ConvertedFrame:
    """What the converted layout holds of one frame.

    Attributes:
        name: File name without suffix.
        stuff_map: ``(H, W)`` uint8 class ids, 255 = void; groups have their thing class.
        annotations: COCO annotations of the things in ascending order of the pixel value, without
            ``id`` and ``image_id``.
        panoptic_ids: ``(H, W)`` uint32 pixel values of the evaluated segments, 0 = void.
        segments: ``segments_info`` in ascending order of the id; category ids are label ids.
    """

    name: str
    stuff_map: npt.NDArray[np.uint8]
    annotations: Sequence[Mapping[str, Any]]
    panoptic_ids: npt.NDArray[np.uint32]
    segments: Sequence[Mapping[str, Any]]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.stuff_map.shape[0], self.stuff_map.shape[1])


def convert_frame(
    instance_ids: npt.NDArray[np.integer[Any]], name: str, space: LabelSpace = CITYSCAPES
) -> ConvertedFrame:
    """Convert the pixel values of one frame.

    Args:
        instance_ids: ``(H, W)`` values as stored.
        name: File name without suffix.
        space: Class list; its original ids are label ids.

    Raises:
        UnknownCategoryError: A label id is neither a class nor one of the ignored labels.
    """
    panoptic, values = cityscapes_to_indexed(instance_ids, space)
    ids, segments = segments_info(panoptic, lambda i: int(values[i]), space.original_ids)
    return ConvertedFrame(
        name,
        panoptic.class_map(VOID_CLASS).astype(np.uint8),
        _thing_annotations(panoptic, space),
        ids,
        segments,
    )


def convert_kitti_frame(
    ids: npt.NDArray[np.integer[Any]], name: str, space: LabelSpace = CITYSCAPES
) -> ConvertedFrame:
    """Bring the 24-bit ids of a KITTI panoptic frame to 384 x 1280 and convert them."""
    return convert_frame(resize_nearest_floor(ids, KITTI_SIZE_HW), name, space)


def _thing_annotations(panoptic: IndexedPanoptic, space: LabelSpace) -> list[dict[str, Any]]:
    annotations = []
    for index in range(1, len(panoptic.categories)):
        category = int(panoptic.categories[index])
        if category < space.num_stuff:
            continue
        entry = instance_annotation(
            panoptic.id_map == index,
            annotation_id=0,
            image_id=0,
            category_id=category,
            is_crowd=bool(panoptic.is_crowd[index]),
        )
        if entry is not None:
            annotations.append({k: v for k, v in entry.items() if k not in ("id", "image_id")})
    return annotations


def detection_json(frames: Iterable[ListedFrame], space: LabelSpace = CITYSCAPES) -> dict[str, Any]:
    """Return the COCO detection file of a split.

    One counter numbers an image and then its annotations, so ids are unique but not contiguous.

    Args:
        frames: Frames in the order of their names.
        space: Class list; category ids are class ids.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for frame in frames:
        image_id = len(images) + len(annotations)
        images.append(
            {
                "id": image_id,
                "file_name": f"{frame.name}.png",
                "width": frame.size_hw[1],
                "height": frame.size_hw[0],
                "license": _LICENSE,
                "coco_url": "",
                "flickr_url": "",
            }
        )
        for number, entry in enumerate(frame.annotations, start=image_id + 1):
            annotations.append({"id": number, "image_id": image_id, **entry})
    categories = [
        {"id": index, "name": space.class_names[index]}
        for index in range(space.num_stuff, space.num_classes)
    ]
    return {
        "info": {"version": "1.0"},
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }


def panoptic_json(
    entries: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], space: LabelSpace = CITYSCAPES
) -> dict[str, Any]:
    """Return the panoptic truth of a split.

    Args:
        entries: Per frame the entry of ``images`` and that of ``annotations``.
        space: Class list; category ids are label ids.
    """
    pairs = list(entries)
    return {
        "annotations": [annotation for _, annotation in pairs],
        "categories": panoptic_categories(space),
        "images": [image for image, _ in pairs],
    }


def panoptic_categories(space: LabelSpace) -> list[dict[str, Any]]:
    """Return the category list of a panoptic JSON; Cityscapes' classes have a supercategory."""
    groups = [""] * space.num_classes
    if space.class_names == CITYSCAPES.class_names:
        groups = [CITYSCAPES_CATEGORIES.class_names[i] for i in CITYSCAPES_CATEGORY_OF_CLASS]
    return [
        {
            "id": space.original_ids[index],
            "name": name,
            "color": list(space.palette[index]),
            "supercategory": groups[index],
            "isthing": int(index >= space.num_stuff),
        }
        for index, name in enumerate(space.class_names)
    ]
