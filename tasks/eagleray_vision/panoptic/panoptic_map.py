"""Panoptic label records: a map of segment ids and what each id means.

Two forms are in use. *COCO form*: arbitrary 24-bit ids and a list of segments (`Segments`).
*Indexed form* (that of the original Seamless code): contiguous ids ``0..n`` that index lists of
category, crowd flag and score, entry 0 being void (`IndexedPanoptic`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.images.resizing import resize_nearest
from eagleray_vision.panoptic.errors import (
    LabelSizeError,
    SegmentListError,
    UnknownCategoryError,
    UnlistedSegmentError,
)

VOID_SEGMENT_ID = 0
"""Segment id of unlabeled pixels (COCO panoptic format)."""

NUM_SEGMENT_IDS = 256**3
"""Number of segment ids that three 8-bit channels can hold."""


@dataclass(frozen=True)
class Segments:
    """Segment list of one image in COCO form.

    Attributes:
        ids: ``(n,)`` int64 segment ids, 1..2^24-1, each once.
        category_ids: ``(n,)`` int64 category of each segment.
        is_crowd: ``(n,)`` bool; crowd segments are neither found nor missed.
        areas: ``(n,)`` int64 pixels, as written in the list (not recounted).

    Raises:
        SegmentListError: Lengths differ, an id occurs twice or is outside 1..2^24-1.
    """

    ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    is_crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check the list once, so that no reader has to."""
        lengths = {len(self.ids), len(self.category_ids), len(self.is_crowd), len(self.areas)}
        if len(lengths) != 1:
            raise SegmentListError(f"segment attributes have different lengths {sorted(lengths)}")
        if len(self.ids) == 0:
            return
        if self.ids.min() <= VOID_SEGMENT_ID or self.ids.max() >= NUM_SEGMENT_IDS:
            raise SegmentListError(
                f"segment ids must lie in 1..{NUM_SEGMENT_IDS - 1} (0 is void), "
                f"found {self.ids.min()}..{self.ids.max()}"
            )
        unique_ids, counts = np.unique(self.ids, return_counts=True)
        if len(unique_ids) != len(self.ids):
            raise SegmentListError(
                f"segment ids {unique_ids[counts > 1][:10].tolist()} occur more than once in the "
                "list"
            )

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.ids)


@dataclass(frozen=True)
class IndexedPanoptic:
    """Panoptic map of one image in indexed form.

    Attributes:
        id_map: ``(H, W)`` int32 segment index per pixel, 0 = void.
        categories: ``(n + 1,)`` int64 class of each segment; entry 0 is the void class.
        is_crowd: ``(n + 1,)`` bool.
        scores: ``(n + 1,)`` float32 confidence; 1 for truth and for stuff, 0 for entry 0.

    Raises:
        LabelSizeError: The map is not two-dimensional.
        SegmentListError: The lists differ in length or lack the void entry.
        UnlistedSegmentError: The map holds an id beyond the lists.
    """

    id_map: npt.NDArray[np.int32]
    categories: npt.NDArray[np.int64]
    is_crowd: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check that map and lists belong together."""
        if self.id_map.ndim != 2:
            raise LabelSizeError(f"an id map has shape (H, W), found {self.id_map.shape}")
        lengths = {len(self.categories), len(self.is_crowd), len(self.scores)}
        if len(lengths) != 1 or 0 in lengths:
            raise SegmentListError(
                f"categories, is_crowd and scores need one length of at least 1 (the void entry), "
                f"found {len(self.categories)}, {len(self.is_crowd)}, {len(self.scores)}"
            )
        if self.id_map.size == 0:
            return
        low, high = int(self.id_map.min()), int(self.id_map.max())
        if low < 0 or high >= len(self.categories):
            raise UnlistedSegmentError(
                f"id map holds ids {low}..{high}, but the lists name 0..{len(self.categories) - 1}"
            )

    def areas(self) -> npt.NDArray[np.int64]:
        """Count the pixels of every segment, entry 0 being void; ``(n + 1,)`` int64."""
        counts = np.bincount(self.id_map.ravel(), minlength=len(self.categories))
        return counts.astype(np.int64)

    def segments(self) -> Segments:
        """Return the segments that have pixels, in COCO form with recounted areas."""
        areas = self.areas()
        keep = np.flatnonzero(areas > 0)
        keep = keep[keep != VOID_SEGMENT_ID]
        return Segments(keep, self.categories[keep], self.is_crowd[keep], areas[keep])

    def class_map(self, void_class: int) -> npt.NDArray[np.int64]:
        """Return the class of every pixel, crowd segments included.

        Args:
            void_class: Value for pixels of segment 0.

        Returns:
            ``(H, W)`` int64.
        """
        table = self.categories.copy()
        table[VOID_SEGMENT_ID] = void_class
        classes: npt.NDArray[np.int64] = table[self.id_map]
        return classes


def indexed_panoptic(
    id_map: npt.NDArray[np.integer[Any]],
    categories: Sequence[int] | npt.NDArray[np.integer[Any]],
    is_crowd: Sequence[int] | npt.NDArray[np.generic],
    scores: Sequence[float] | npt.NDArray[np.floating[Any]] | None = None,
) -> IndexedPanoptic:
    """Build an `IndexedPanoptic` out of anything array-like.

    Args:
        id_map: ``(H, W)`` segment index per pixel.
        categories: Class of each segment, entry 0 = void.
        is_crowd: 0/1 per segment. Entry 0 is ignored (writers disagree about it).
        scores: Confidence per segment; 1 for all but entry 0 where left out.

    Returns:
        The checked record.
    """
    classes = np.asarray(categories, dtype=np.int64)
    crowd = np.asarray(is_crowd).astype(bool)
    if scores is None:
        scores = np.ones(len(classes), np.float32)
        scores[:1] = 0
    if len(crowd):
        crowd[VOID_SEGMENT_ID] = False
    return IndexedPanoptic(
        np.asarray(id_map, dtype=np.int32), classes, crowd, np.asarray(scores, np.float32)
    )


def without_crowds(panoptic: IndexedPanoptic) -> IndexedPanoptic:
    """Turn crowd segments into void pixels; their list entries stay, without pixels."""
    table = np.where(panoptic.is_crowd, 0, np.arange(len(panoptic.categories))).astype(np.int32)
    return IndexedPanoptic(
        table[panoptic.id_map], panoptic.categories, panoptic.is_crowd, panoptic.scores
    )


def resize_panoptic(panoptic: IndexedPanoptic, size_hw: tuple[int, int]) -> IndexedPanoptic:
    """Resize a panoptic map by nearest neighbor; its lists stay as they are."""
    return IndexedPanoptic(
        resize_nearest(panoptic.id_map, size_hw),
        panoptic.categories,
        panoptic.is_crowd,
        panoptic.scores,
    )


def check_categories(
    category_ids: npt.NDArray[np.integer[Any]], allowed: Sequence[int], *, what: str
) -> None:
    """Refuse segments of categories that the class list does not name.

    Args:
        category_ids: ``(n,)`` categories of the segments.
        allowed: Category ids of the class list.
        what: What is checked, for the message ("truth of image 7").

    Raises:
        UnknownCategoryError: At least one category is not allowed.
    """
    unknown = sorted({int(one) for one in category_ids} - set(allowed))
    if unknown:
        raise UnknownCategoryError(
            f"{what}: categories {unknown[:10]} are not among the {len(allowed)} known ones "
            f"({min(allowed, default=0)}..{max(allowed, default=0)}); "
            "use the class list that the labels were made with"
        )
