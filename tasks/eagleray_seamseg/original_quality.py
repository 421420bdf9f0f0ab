"""Panoptic quality by the rule of the original Seamless code (Porzi et al., CVPR 2019).

It differs from the official evaluation: crowd segments of any class, in truth and in prediction,
are void, and areas are recounted. Averages over it take all classes (`compute_panoptic_quality`
with ``mean_over="all"``), so that an absent class counts as 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.metrics.panoptic_quality import (
    IGNORED_SHARE,
    MATCH_IOU,
    PanopticStatistics,
    collect_statistics,
    no_statistics,
    pair_iou,
)
from eagleray_vision.metrics.segment_overlap import segment_overlap
from eagleray_vision.panoptic.errors import EmptySegmentError
from eagleray_vision.panoptic.panoptic_map import (
    VOID_SEGMENT_ID,
    IndexedPanoptic,
    check_categories,
)


def seamless_statistics(
    truth: IndexedPanoptic, predicted: IndexedPanoptic, num_classes: int
) -> PanopticStatistics:
    """Compare one prediction with its truth by the original Seamless rule.

    An image whose truth is all void contributes zeros. A predicted segment without pixels is no
    false positive; a truth segment without pixels is refused (the loader compacts them away: spec
    3).

    Args:
        truth: Truth; crowd segments become void.
        predicted: Prediction of the same size; crowd segments become void.
        num_classes: Classes are ``0..num_classes-1``.

    Returns:
        Statistics of this image.

    Raises:
        LabelSizeError: The two maps differ in size.
        UnknownCategoryError: A segment's class is outside ``0..num_classes-1``.
        EmptySegmentError: A truth segment has no pixels.

    Example:
        >>> from eagleray_vision.panoptic.panoptic_map import indexed_panoptic
        >>> one = indexed_panoptic(np.ones((2, 2), int), [255, 0], [0, 0])
        >>> seamless_statistics(one, one, num_classes=2).true_positives.tolist()
        [1, 0]
    """
    truth_index, predicted_index = _counted_segments(truth), _counted_segments(predicted)
    truth_class = truth.categories[truth_index]
    predicted_class = predicted.categories[predicted_index]
    check_categories(truth_class, range(num_classes), what="truth")
    check_categories(predicted_class, range(num_classes), what="prediction")
    overlap = segment_overlap(
        _without_crowds(truth), truth_index, _without_crowds(predicted), predicted_index
    )
    empty = truth_index[overlap.truth_areas == 0]
    if len(empty):
        raise EmptySegmentError(f"truth: segments {empty[:10].tolist()} have no pixels")
    if len(truth_index) == 0:
        return no_statistics(num_classes)
    iou = pair_iou(overlap, overlap.truth_areas)
    comparable = truth_class[:, None] == predicted_class[None, :]
    matched = comparable & (iou > MATCH_IOU)
    ignored = overlap.predicted_on_void > IGNORED_SHARE * overlap.predicted_areas
    wrong = ~matched.any(axis=0) & (overlap.predicted_areas > 0) & ~ignored
    return collect_statistics(
        num_classes,
        iou=iou,
        comparable=comparable,
        matched=matched,
        missed_classes=truth_class[~matched.any(axis=1)],
        wrong_classes=predicted_class[wrong],
        predicted_class=predicted_class,
    )


def _counted_segments(panoptic: IndexedPanoptic) -> npt.NDArray[np.int64]:
    index = np.flatnonzero(~panoptic.is_crowd)
    return index[index != VOID_SEGMENT_ID]


def _without_crowds(panoptic: IndexedPanoptic) -> npt.NDArray[np.integer[Any]]:
    if not panoptic.is_crowd.any():
        return panoptic.id_map
    table = np.arange(len(panoptic.categories), dtype=np.int32)
    table[panoptic.is_crowd] = VOID_SEGMENT_ID
    kept: npt.NDArray[np.integer[Any]] = table[panoptic.id_map]
    return kept
