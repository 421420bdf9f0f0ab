"""The COCO panoptic format: one PNG of segment ids per image and one JSON over all.

Kirillov et al., "Panoptic Segmentation", CVPR 2019; COCO format page. The JSON holds ``images``,
``annotations`` (one per image, with ``segments_info``) and ``categories``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from eagleray_vision.json_file import read_json, whole_number
from eagleray_vision.panoptic.errors import (
    EmptySegmentError,
    LabelSizeError,
    MissingLabelFileError,
    SegmentListError,
    UnknownCategoryError,
    UnlistedSegmentError,
)
from eagleray_vision.panoptic.label_image import read_rgb_ids
from eagleray_vision.panoptic.panoptic_map import (
    VOID_SEGMENT_ID,
    IndexedPanoptic,
    Segments,
    indexed_panoptic,
)


@dataclass(frozen=True)
class CocoPanopticImage:
    """One annotated image of a COCO panoptic JSON.

    Attributes:
        image_id: Id in the JSON.
        file_name: Photograph, relative to the image folder.
        size_hw: Height and width in pixels, as the JSON states them.
        label_file_name: PNG of segment ids, relative to the label folder.
        segments_info: Entries of its segment list as written; `read_segments` checks them.
    """

    image_id: int | str
    file_name: str
    size_hw: tuple[int, int]
    label_file_name: str
    segments_info: tuple[Mapping[str, Any], ...]

    @property
    def segments(self) -> Segments:
        """The segment list; raises SegmentListError if it is malformed."""
        return read_segments(self.segments_info)


@dataclass(frozen=True)
class CocoPanopticFile:
    """A COCO panoptic JSON.

    Attributes:
        categories: Entries as written (``id``, ``name``, ``isthing``, ...).
        images: Annotated images in the order of the annotations.
    """

    categories: tuple[Mapping[str, Any], ...]
    images: tuple[CocoPanopticImage, ...]


def read_coco_panoptic(
    path: Path, categories: Sequence[Mapping[str, Any]] | None = None
) -> CocoPanopticFile:
    """Read a COCO panoptic JSON; no PNG is opened.

    Args:
        path: The JSON file.
        categories: Class list to use where the file has none (predictions).

    Returns:
        Its content, checked.

    Raises:
        MissingLabelFileError: The file does not exist.
        SegmentListError: The file is no JSON, a key is missing, an id occurs twice, or an
            annotation names an image that is not listed. Segment lists are checked when they are
            asked for.
    """
    if not path.exists():
        raise MissingLabelFileError(f"{path}: the panoptic JSON does not exist")
    content = read_json(path, SegmentListError)
    try:
        _refuse_doubles([image["id"] for image in content.get("images", ())], "images", path)
        _refuse_doubles([one["image_id"] for one in content["annotations"]], "annotations", path)
        listed = {image["id"]: image for image in content.get("images", ())}
        images = tuple(_read_annotation(entry, listed, path) for entry in content["annotations"])
        return CocoPanopticFile(tuple(content.get("categories") or categories or ()), images)
    except SegmentListError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SegmentListError(
            f"{path}: not a COCO panoptic JSON ({type(error).__name__}: {error}); expected are "
            "images, annotations with segments_info, and categories"
        ) from error


def read_segments(segments_info: Sequence[Mapping[str, Any]]) -> Segments:
    """Turn ``segments_info`` into a `Segments` list.

    Args:
        segments_info: Entries with ``id``, ``category_id`` and, optionally, ``iscrowd`` and
            ``area``.

    Returns:
        The list; a missing area is 0 (predictions need none, it is recounted).

    Raises:
        SegmentListError: An entry lacks a key or has a value of another type, or an id is doubled
            or outside 1..2^24-1.
    """
    try:
        ids = [whole_number(entry["id"], "id") for entry in segments_info]
        categories = [whole_number(entry["category_id"], "category_id") for entry in segments_info]
        crowds = [whole_number(+entry.get("iscrowd", 0), "iscrowd") for entry in segments_info]
        areas = [int(entry.get("area", 0)) for entry in segments_info]
        lists = [np.array(one, dtype=np.int64) for one in (ids, categories, crowds, areas)]
    except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
        raise SegmentListError(
            f"segments_info is malformed ({type(error).__name__}: {error}); every entry needs id "
            "and "
            "category_id, both whole numbers"
        ) from error
    return Segments(lists[0], lists[1], lists[2].astype(np.bool_), lists[3])


def read_indexed(
    label: str | Path | bytes,
    segments: Segments,
    class_of_category: Mapping[int, int],
    *,
    size_hw: tuple[int, int] | None,
    void_class: int,
) -> IndexedPanoptic:
    """Read one label PNG in indexed form, checking it against its segment list and image.

    Args:
        label: PNG of segment ids, path or bytes.
        segments: Its list.
        class_of_category: Class index by category id.
        size_hw: Height and width of the photograph; None to skip the check.
        void_class: Category of segment 0.

    Returns:
        Segments in list order, numbered from 1.

    Raises:
        MissingLabelFileError: The PNG does not exist.
        LabelSizeError: PNG and photograph differ in size.
        UnknownCategoryError: A category has no class.
        UnlistedSegmentError: Pixels carry an id that the list lacks.
        EmptySegmentError: A listed segment has no pixels.
    """
    what = "label" if isinstance(label, bytes) else str(label)
    ids = read_rgb_ids(label)
    if size_hw is not None and ids.shape != tuple(size_hw):
        raise LabelSizeError(
            f"{what}: the label is {ids.shape[1]} x {ids.shape[0]} pixels, its image "
            f"{size_hw[1]} x {size_hw[0]}; both must have one size"
        )
    unknown = sorted({int(one) for one in segments.category_ids} - set(class_of_category))
    if unknown:
        raise UnknownCategoryError(
            f"{what}: categories {unknown[:10]} are not in the class list of "
            f"{len(class_of_category)} categories"
        )
    id_map = compact_ids(ids, segments.ids, what=what)
    classes = [class_of_category[int(category)] for category in segments.category_ids]
    return indexed_panoptic(id_map, [void_class, *classes], [0, *segments.is_crowd.tolist()])


def compact_ids(
    ids: npt.NDArray[np.integer[Any]], listed: npt.NDArray[np.int64], *, what: str
) -> npt.NDArray[np.int32]:
    """Renumber segment ids to 1..n in list order.

    Args:
        ids: ``(H, W)`` segment ids, 0 = void.
        listed: ``(n,)`` ids.
        what: What is read, for messages.

    Returns:
        ``(H, W)`` int32, 0 = void.

    Raises:
        UnlistedSegmentError: Pixels carry an id that the list lacks.
        EmptySegmentError: A listed segment has no pixels.
    """
    unlisted_mark = len(listed) + 1
    high = max(int(ids.max(initial=0)), int(listed.max(initial=0)))
    table = np.full(high + 1, unlisted_mark, dtype=np.int32)
    table[VOID_SEGMENT_ID] = 0
    table[listed] = np.arange(1, len(listed) + 1, dtype=np.int32)
    compact = np.take(table, ids)
    counts = np.bincount(compact.ravel(), minlength=unlisted_mark + 1)
    if counts[unlisted_mark]:
        unlisted = np.unique(ids[compact == unlisted_mark])
        raise UnlistedSegmentError(
            f"{what}: {int(counts[unlisted_mark])} pixels carry ids {unlisted[:10].tolist()} "
            "which the segment list does not name"
        )
    empty = listed[counts[1:unlisted_mark] == 0]
    if len(empty):
        raise EmptySegmentError(
            f"{what}: the list names segments {empty[:10].tolist()} which have no pixels"
        )
    return compact


def segments_info(
    panoptic: IndexedPanoptic,
    segment_id: Callable[[int], int],
    category_ids: Sequence[int],
) -> tuple[npt.NDArray[np.uint32], list[dict[str, Any]]]:
    """Write a map in COCO form; segments without pixels are left out.

    Args:
        panoptic: The map; its categories are positions in ``category_ids``.
        segment_id: Gives the id to write for each index 1..n.
        category_ids: The data set's id of each class.

    Returns:
        ``(H, W)`` uint32 ids, and one entry {id, category_id, area, bbox [x, y, w, h], iscrowd} per
        segment.
    """
    areas = panoptic.areas()
    table = np.zeros(len(areas), dtype=np.uint32)
    entries = []
    for index, extent in enumerate(ndimage.find_objects(panoptic.id_map), start=1):
        if extent is None:
            continue
        rows, columns = extent
        table[index] = segment_id(index)
        entries.append(
            {
                "id": int(table[index]),
                "category_id": int(category_ids[int(panoptic.categories[index])]),
                "area": int(areas[index]),
                "bbox": [
                    columns.start,
                    rows.start,
                    columns.stop - columns.start,
                    rows.stop - rows.start,
                ],
                "iscrowd": int(panoptic.is_crowd[index]),
            }
        )
    return table[panoptic.id_map], entries


def _refuse_doubles(ids: Sequence[Any], what: str, path: Path) -> None:
    twice = [one for one, count in Counter(ids).items() if count > 1]
    if twice:
        raise SegmentListError(
            f"{path}: {len(twice)} image ids occur more than once in {what} (such as "
            f"{twice[0]!r:.60}); each image has one entry and one annotation"
        )


def _file_name(value: Any) -> str:
    """Return a name that a file can have; raises ValueError."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"file_name must be the name of a file, found {value!r:.60}")
    value.encode()
    return value


def _read_annotation(
    entry: Mapping[str, Any], images: Mapping[Any, Mapping[str, Any]], path: Path
) -> CocoPanopticImage:
    image_id = entry["image_id"]
    if images and image_id not in images:
        raise SegmentListError(
            f"{path}: an annotation names image {image_id!r}, which the images do not list"
        )
    image = images.get(image_id, {})
    return CocoPanopticImage(
        image_id,
        _file_name(image.get("file_name", "")),
        (
            whole_number(image.get("height", 0), "height"),
            whole_number(image.get("width", 0), "width"),
        ),
        _file_name(entry["file_name"]),
        tuple(entry["segments_info"]),
    )
