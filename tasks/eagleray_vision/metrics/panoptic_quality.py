"""Panoptic quality: PQ, SQ, RQ and PQ-dagger, per class and averaged.

PQ: Kirillov et al., "Panoptic Segmentation", CVPR 2019, eq. 1 and 2. PQ-dagger: Porzi et al.,
"Seamless Scene Segmentation", CVPR 2019, section 5. For a class with matched pairs TP,

    PQ = sum of IoU over TP / (|TP| + |FP| / 2 + |FN| / 2),  SQ = sum of IoU / |TP|,
    RQ = |TP| / (|TP| + |FP| / 2 + |FN| / 2).

PQ-dagger takes, for stuff classes, the mean IoU over images that contain the class, without the 0.5
threshold. Statistics of one image are small arrays (`PanopticStatistics`) that add up. The rule
here is that of the official COCO evaluation; a system may bring its original's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eagleray_vision.metrics.errors import NoClassError
from eagleray_vision.metrics.segment_overlap import (
    SegmentOverlap,
    check_listed,
    segment_overlap,
)
from eagleray_vision.panoptic.panoptic_map import Segments, check_categories

MATCH_IOU = 0.5
"""A pair matches above this IoU (strictly), which makes the matching unique: Kirillov et al.,
section 4.1."""

IGNORED_SHARE = 0.5
"""A prediction with more than this share on void or crowd is no false positive: ibid., section
4.1."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PanopticStatistics:
    """What one image contributes to panoptic quality, per class.

    Attributes:
        sum_iou: ``(C,)`` float64 sum of IoU over matched pairs.
        true_positives: ``(C,)`` int64.
        false_positives: ``(C,)`` int64.
        false_negatives: ``(C,)`` int64.
        sum_any_iou: ``(C,)`` float64 sum of IoU over all overlapping pairs of the class
            (PQ-dagger).
    """

    sum_iou: FloatArray
    true_positives: IntArray
    false_positives: IntArray
    false_negatives: IntArray
    sum_any_iou: FloatArray

    def to_row(self) -> dict[str, list[float] | list[int]]:
        """Return the statistics as lists, one column each, for a Parquet row."""
        return {
            "sum_iou": self.sum_iou.tolist(),
            "true_positives": self.true_positives.tolist(),
            "false_positives": self.false_positives.tolist(),
            "false_negatives": self.false_negatives.tolist(),
            "sum_any_iou": self.sum_any_iou.tolist(),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> PanopticStatistics:
        """Read back what `to_row` wrote; other columns are ignored."""
        return cls(
            np.asarray(row["sum_iou"], np.float64),
            np.asarray(row["true_positives"], np.int64),
            np.asarray(row["false_positives"], np.int64),
            np.asarray(row["false_negatives"], np.int64),
            np.asarray(row["sum_any_iou"], np.float64),
        )


@dataclass(frozen=True)
class GroupQuality:
    """Means over a group of classes; None where the group has no class that counts.

    Attributes:
        pq: Panoptic quality in 0..1.
        sq: Segmentation quality in 0..1.
        rq: Recognition quality in 0..1.
        pq_dagger: PQ with the IoU of stuff classes unthresholded, in 0..1.
        num_classes: Number of classes in the mean.
    """

    pq: float | None
    sq: float | None
    rq: float | None
    pq_dagger: float | None
    num_classes: int


@dataclass(frozen=True)
class PanopticQuality:
    """Panoptic quality of a whole split.

    Attributes:
        overall: Mean over all classes.
        things: Mean over thing classes.
        stuff: Mean over stuff classes.
        pq: ``(C,)`` float64 PQ per class; 0 for a class that never occurs.
        sq: ``(C,)`` float64.
        rq: ``(C,)`` float64.
        pq_dagger: ``(C,)`` float64.
        total: Summed statistics.
    """

    overall: GroupQuality
    things: GroupQuality
    stuff: GroupQuality
    pq: FloatArray
    sq: FloatArray
    rq: FloatArray
    pq_dagger: FloatArray
    total: PanopticStatistics


def panoptic_statistics(
    truth_ids: npt.NDArray[np.integer[Any]],
    truth: Segments,
    predicted_ids: npt.NDArray[np.integer[Any]],
    predicted: Segments,
    category_ids: Sequence[int],
) -> PanopticStatistics:
    """Compare one prediction with its truth by the rule of the official COCO panoptic evaluation.

    Areas of truth segments are those of the list, areas of predictions are recounted. Pixels on
    truth id 0 leave the union, those on crowd segments stay in it. Per class only the last crowd
    segment of the list excuses false positives. Truth ids that the list does not name are neither
    void nor segments.

    Args:
        truth_ids: ``(H, W)`` segment ids of the truth, 0 = void.
        truth: Its segment list.
        predicted_ids: ``(H, W)`` segment ids of the prediction, 0 = void.
        predicted: Its segment list.
        category_ids: The class list; statistics follow its order.

    Returns:
        Statistics of this image, arrays of length ``len(category_ids)``.

    Raises:
        LabelSizeError: The two maps differ in size.
        UnlistedSegmentError: The prediction holds an id that its list does not name.
        EmptySegmentError: The prediction lists a segment without pixels.
        UnknownCategoryError: A segment's category is not in the class list.

    Example:
        >>> ids = np.array([[1, 1], [2, 2]])
        >>> one = np.array([2, 2])
        >>> segments = Segments(np.array([1, 2]), np.array([7, 8]), np.zeros(2, bool), one)
        >>> panoptic_statistics(ids, segments, ids, segments, [7, 8]).sum_iou.tolist()
        [1.0, 1.0]
    """
    check_categories(truth.category_ids, category_ids, what="truth")
    check_categories(predicted.category_ids, category_ids, what="prediction")
    overlap = segment_overlap(truth_ids, truth.ids, predicted_ids, predicted.ids)
    if overlap.predicted_unlisted or not overlap.predicted_areas.all():
        check_listed(predicted_ids, predicted.ids, overlap.predicted_areas, what="prediction")
    truth_class = class_indices(truth.category_ids, category_ids)
    predicted_class = class_indices(predicted.category_ids, category_ids)

    iou = pair_iou(overlap, truth.areas)
    comparable = (truth_class[:, None] == predicted_class[None, :]) & ~truth.is_crowd[:, None]
    matched = comparable & (iou > MATCH_IOU)
    missed = ~truth.is_crowd & ~matched.any(axis=1)
    excused = _excused_pixels(overlap, truth, truth_class, predicted_class)
    wrong = ~matched.any(axis=0) & (excused / overlap.predicted_areas <= IGNORED_SHARE)
    return collect_statistics(
        len(category_ids),
        iou=iou,
        comparable=comparable,
        matched=matched,
        missed_classes=truth_class[missed],
        wrong_classes=predicted_class[wrong],
        predicted_class=predicted_class,
    )


def compute_panoptic_quality(
    statistics: Iterable[PanopticStatistics],
    is_thing: Sequence[bool] | npt.NDArray[np.bool_],
    *,
    mean_over: Literal["present", "all"] = "present",
) -> PanopticQuality:
    """Turn the statistics of a split into panoptic quality.

    Counts are integers and IoU sums are rounded once (`math.fsum`), so the result does not depend
    on how the images were spread over workers.

    Args:
        statistics: One per image.
        is_thing: ``(C,)`` whether each class is a thing.
        mean_over: ``"present"`` leaves classes out that neither occur nor are predicted (official);
            ``"all"`` counts them as 0 (original Seamless code).

    Returns:
        Quality per class and averaged.

    Raises:
        NoClassError: No class occurs at all, so that there is nothing to average.
    """
    things = np.asarray(is_thing, dtype=bool)
    total = sum_statistics(statistics, len(things))
    positives, negatives = total.true_positives, total.false_negatives
    weight = positives + 0.5 * total.false_positives + 0.5 * negatives
    present = weight > 0 if mean_over == "present" else np.ones(len(things), dtype=bool)
    if not (weight > 0).any():
        raise NoClassError(
            f"panoptic quality over {len(things)} classes: no class occurs in truth or prediction; "
            "check that labels and class list belong together and that any image was evaluated"
        )
    pq, rq = _ratio(total.sum_iou, weight), _ratio(positives, weight)
    sq = _ratio(total.sum_iou, positives)
    dagger = np.where(things, pq, _ratio(total.sum_any_iou, positives + negatives))
    in_group = {"overall": present, "things": present & things, "stuff": present & ~things}
    groups = {name: _group(chosen, pq, sq, rq, dagger) for name, chosen in in_group.items()}
    return PanopticQuality(**groups, pq=pq, sq=sq, rq=rq, pq_dagger=dagger, total=total)


def no_statistics(num_classes: int) -> PanopticStatistics:
    """Return the statistics of an image that contributes nothing: zeros for every class."""
    return sum_statistics([], num_classes)


def sum_statistics(
    statistics: Iterable[PanopticStatistics], num_classes: int
) -> PanopticStatistics:
    """Add the statistics of many images; exact whatever their order.

    Args:
        statistics: One per image.
        num_classes: Number of classes (for an empty split).

    Returns:
        Their sum.
    """
    parts = list(statistics)

    def counts(name: str) -> IntArray:
        rows = [getattr(part, name) for part in parts]
        return np.sum(rows, axis=0, dtype=np.int64) if rows else np.zeros(num_classes, np.int64)

    def sums(name: str) -> FloatArray:
        rows = [getattr(part, name).tolist() for part in parts]
        columns = zip(*rows, strict=True) if rows else [()] * num_classes
        return np.array([math.fsum(column) for column in columns], dtype=np.float64)

    return PanopticStatistics(
        sums("sum_iou"),
        counts("true_positives"),
        counts("false_positives"),
        counts("false_negatives"),
        sums("sum_any_iou"),
    )


def collect_statistics(
    num_classes: int,
    *,
    iou: FloatArray,
    comparable: npt.NDArray[np.bool_],
    matched: npt.NDArray[np.bool_],
    missed_classes: IntArray,
    wrong_classes: IntArray,
    predicted_class: IntArray,
) -> PanopticStatistics:
    """Sum pairwise decisions into per-class statistics.

    Args:
        num_classes: C.
        iou: ``(n_truth, n_predicted)`` IoU of every pair.
        comparable: ``(n_truth, n_predicted)`` pairs of one class that may match.
        matched: ``(n_truth, n_predicted)`` pairs that do match.
        missed_classes: Class index of every false negative.
        wrong_classes: Class index of every false positive.
        predicted_class: ``(n_predicted,)`` class index of every prediction.

    Returns:
        Statistics of one image.
    """
    match_classes = predicted_class[np.nonzero(matched)[1]]
    any_classes = predicted_class[np.nonzero(comparable)[1]]
    return PanopticStatistics(
        _class_sums(match_classes, iou[matched], num_classes),
        np.bincount(match_classes, minlength=num_classes).astype(np.int64),
        np.bincount(wrong_classes, minlength=num_classes).astype(np.int64),
        np.bincount(missed_classes, minlength=num_classes).astype(np.int64),
        _class_sums(any_classes, iou[comparable], num_classes),
    )


def class_indices(category_ids: IntArray, known: Sequence[int]) -> IntArray:
    """Return the position of each category in the class list (which must hold them all)."""
    position = {category: index for index, category in enumerate(known)}
    return np.array([position[int(category)] for category in category_ids], dtype=np.int64)


def pair_iou(overlap: SegmentOverlap, truth_areas: IntArray) -> FloatArray:
    """Return the IoU of every pair, predicted pixels on void truth taken out of the union.

    Args:
        overlap: Pixel counts of the image.
        truth_areas: ``(n_truth,)`` pixels of each truth segment.

    Returns:
        ``(n_truth, n_predicted)`` float64.
    """
    counted = overlap.predicted_areas - overlap.predicted_on_void
    return _ratio(overlap.counts, counted[None, :] + truth_areas[:, None] - overlap.counts)


def _excused_pixels(
    overlap: SegmentOverlap, truth: Segments, truth_class: IntArray, predicted_class: IntArray
) -> IntArray:
    excused = overlap.predicted_on_void.copy()
    last_crowd = {int(truth_class[row]): row for row in np.flatnonzero(truth.is_crowd)}
    for column, category in enumerate(predicted_class):
        if int(category) in last_crowd:
            excused[column] += overlap.counts[last_crowd[int(category)], column]
    return excused


def _ratio(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> FloatArray:
    out = np.zeros(np.broadcast(numerator, denominator).shape, dtype=np.float64)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def _class_sums(classes: IntArray, values: FloatArray, num_classes: int) -> FloatArray:
    sums = np.zeros(num_classes, dtype=np.float64)
    np.add.at(sums, classes, values)
    return sums


def _group(
    chosen: npt.NDArray[np.bool_],
    pq: FloatArray,
    sq: FloatArray,
    rq: FloatArray,
    dagger: FloatArray,
) -> GroupQuality:
    if not chosen.any():
        return GroupQuality(None, None, None, None, 0)
    return GroupQuality(
        pq=float(pq[chosen].mean()),
        sq=float(sq[chosen].mean()),
        rq=float(rq[chosen].mean()),
        pq_dagger=float(dagger[chosen].mean()),
        num_classes=int(chosen.sum()),
    )
