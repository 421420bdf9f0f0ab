"""Average precision of instances by the Cityscapes protocol.

Cordts et al., "The Cityscapes Dataset", CVPR 2016, section 4.2; as cityscapesScripts computes it.
It differs from COCO AP: a truth instance takes every prediction above the threshold (the best is
right, the others are wrong), groups and instances below 100 pixels excuse predictions, and the
curve is integrated without interpolation. One image contributes a small table of overlaps
(`InstanceOverlap`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.panoptic.cityscapes import INSTANCES_PER_LABEL
from eagleray_vision.panoptic.errors import LabelSizeError
from eagleray_vision.panoptic.label_space import CITYSCAPES, LabelSpace

MIN_INSTANCE_PX = 100
"""Smaller truth instances are not counted, only excuse: cityscapesScripts."""

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.50, 0.55 ... 0.95."""

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Curve = tuple[list[float], list[bool], int]


@dataclass(frozen=True)
class InstanceOverlap:
    """What one image contributes to Cityscapes AP.

    Attributes:
        truth_labels: ``(g,)`` label id of every counted truth instance.
        truth_areas: ``(g,)`` pixels.
        labels: ``(p,)`` label id of every prediction.
        scores: ``(p,)`` confidence.
        areas: ``(p,)`` pixels.
        excused: ``(p,)`` pixels on void (ids of ignored labels, not instances of them), and on
            groups and small instances of the same label (a small group counts twice).
        covers_group: ``(p,)`` largest IoU with a group or small instance of the same label.
        intersections: ``(p * g,)`` shared pixels, prediction-major; 0 where the labels differ.
    """

    truth_labels: IntArray
    truth_areas: IntArray
    labels: IntArray
    scores: FloatArray
    areas: IntArray
    excused: IntArray
    covers_group: FloatArray
    intersections: IntArray

    def to_row(self) -> dict[str, list[Any]]:
        """Return the table as lists, one column each, for a Parquet row."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> InstanceOverlap:
        """Read back what `to_row` wrote; other columns are ignored."""
        kinds = dict.fromkeys(("scores", "covers_group"), np.float64)
        columns: dict[str, Any] = {
            field.name: np.asarray(row[field.name], kinds.get(field.name, np.int64))
            for field in fields(cls)
        }
        return cls(**columns)


@dataclass(frozen=True)
class CityscapesAp:
    """Result over a split, each in 0..1.

    Attributes:
        ap: Mean over classes and thresholds; NaN if no class occurs.
        ap50: Mean over classes at IoU 0.5.
        per_class: AP by label id, NaN for a class without truth.
        per_class_50: AP at IoU 0.5 by label id.
    """

    ap: float
    ap50: float
    per_class: Mapping[int, float]
    per_class_50: Mapping[int, float]


def instance_overlap(
    instance_ids: npt.NDArray[np.integer[Any]],
    masks: Sequence[npt.NDArray[np.bool_]],
    labels: Sequence[int],
    scores: Sequence[float],
    space: LabelSpace = CITYSCAPES,
) -> InstanceOverlap:
    """Compare the predicted instances of one image with its truth.

    Args:
        instance_ids: ``(H, W)`` Cityscapes instance values.
        masks: Predicted masks, each ``(H, W)``; they may overlap. Empty ones are left out, and so
            are those of labels that are no things.
        labels: Label id of each mask.
        scores: Confidence of each mask.
        space: Class list.

    Returns:
        The image's table.

    Raises:
        LabelSizeError: A mask and the truth differ in size.
    """
    things = set(space.original_ids[space.num_stuff :])
    kept = [index for index, label in enumerate(labels) if label in things and masks[index].any()]
    for index in kept:
        if masks[index].shape != instance_ids.shape:
            raise LabelSizeError(
                f"truth has shape {instance_ids.shape}, mask {index} {masks[index].shape}; "
                "resize the masks to the label's size"
            )
    values, inverse = np.unique(instance_ids, return_inverse=True)
    value_labels = np.where(values < INSTANCES_PER_LABEL, values, values // INSTANCES_PER_LABEL)
    areas = np.bincount(inverse.ravel(), minlength=len(values))
    flat = inverse.reshape(instance_ids.shape)
    shared = np.array(
        [np.bincount(flat[masks[index]], minlength=len(values)) for index in kept], dtype=np.int64
    ).reshape(len(kept), len(values))
    return _overlap_table(
        values,
        value_labels,
        areas,
        shared,
        np.array([labels[index] for index in kept], dtype=np.int64),
        np.array([scores[index] for index in kept], dtype=np.float64),
        things,
        space,
    )


def compute_cityscapes_ap(
    overlaps: Iterable[InstanceOverlap], space: LabelSpace = CITYSCAPES
) -> CityscapesAp:
    """Evaluate the predicted instances of a split.

    Args:
        overlaps: One per image.
        space: Class list.

    Returns:
        AP over all thresholds and at IoU 0.5.
    """
    collected = list(overlaps)
    label_ids = space.original_ids[space.num_stuff :]
    table = np.array(
        [
            [_average_precision(collected, label, threshold) for threshold in IOU_THRESHOLDS]
            for label in label_ids
        ]
    )
    return CityscapesAp(
        _nan_mean(table),
        _nan_mean(table[:, 0]),
        {label: _nan_mean(row) for label, row in zip(label_ids, table, strict=True)},
        dict(zip(label_ids, table[:, 0].tolist(), strict=True)),
    )


def _overlap_table(
    values: npt.NDArray[np.integer[Any]],
    value_labels: npt.NDArray[np.integer[Any]],
    areas: IntArray,
    shared: IntArray,
    labels: IntArray,
    scores: FloatArray,
    things: set[int],
    space: LabelSpace,
) -> InstanceOverlap:
    is_thing = np.isin(value_labels, list(things))
    is_group, is_small = values < INSTANCES_PER_LABEL, areas < MIN_INSTANCE_PX
    counted = np.flatnonzero(is_thing & ~is_group & ~is_small)
    lenient = is_thing & (is_group | is_small)
    # Void are the ignored ids themselves. An instance of an ignored class (a caravan, 29001) is
    # none of them: cityscapesScripts lets it excuse nothing, so a car found on it counts as wrong.
    is_void = np.isin(values, list(space.ignored_ids))
    same = labels[:, None] == value_labels[None, :]
    predicted_areas = shared.sum(axis=1)
    weight = is_thing * (is_group.astype(np.int64) + is_small)
    excused = (shared * (is_void + same * weight)).sum(axis=1)
    union = predicted_areas[:, None] + areas[None, :] - shared
    iou = np.where(same & lenient, shared / union, 0.0)
    return InstanceOverlap(
        value_labels[counted].astype(np.int64),
        areas[counted].astype(np.int64),
        labels,
        scores,
        predicted_areas,
        excused,
        iou.max(axis=1, initial=0.0),
        np.where(same, shared, 0)[:, counted].ravel(),
    )


def _average_precision(overlaps: Sequence[InstanceOverlap], label: int, threshold: float) -> float:
    scores: list[float] = []
    hits: list[bool] = []
    missed, has_truth, has_predictions = 0, False, False
    for overlap in overlaps:
        found, right, lost = _judge(overlap, label, threshold)
        scores += found
        hits += right
        missed += lost
        has_truth |= bool((overlap.truth_labels == label).any())
        has_predictions |= bool((overlap.labels == label).any())
    if not has_truth:
        return float("nan")
    if not has_predictions:
        return 0.0
    return _area_under_curve(np.array(scores), np.array(hits, dtype=bool), missed)


def _judge(overlap: InstanceOverlap, label: int, threshold: float) -> Curve:
    """Return the scores of an image's right and wrong predictions, and how many instances were
    missed.
    """
    predicted = np.flatnonzero(overlap.labels == label)
    truth = np.flatnonzero(overlap.truth_labels == label)
    shape = (len(overlap.labels), len(overlap.truth_labels))
    shared = overlap.intersections.reshape(shape)[np.ix_(predicted, truth)]
    areas, scores = overlap.areas[predicted], overlap.scores[predicted]
    iou = shared / (areas[:, None] + overlap.truth_areas[truth][None, :] - shared)
    is_match = iou > threshold
    found = is_match.any(axis=0)
    right = np.zeros(len(predicted), dtype=bool)
    if found.any():
        right[np.where(is_match, scores[:, None], -np.inf)[:, found].argmax(axis=0)] = True
    is_matched = is_match.any(axis=1)
    excused = (overlap.covers_group[predicted] > threshold) | (
        overlap.excused[predicted] / areas > threshold
    )
    entering = is_matched | ~excused
    return scores[entering].tolist(), right[entering].tolist(), int((~found).sum())


def _area_under_curve(scores: FloatArray, hits: npt.NDArray[np.bool_], missed: int) -> float:
    order = np.argsort(scores, kind="stable")
    scores, hits = scores[order], hits[order]
    _, first = np.unique(scores, return_index=True)
    right_below = np.concatenate([[0], np.cumsum(hits)])[first]
    right = hits.sum() - right_below
    answered = len(scores) - first
    precision = np.append(right / answered, 1.0)
    total = hits.sum() + missed
    recall = np.append(right / total if total else np.zeros(len(first)), 0.0)
    widened = np.concatenate([recall[:1], recall, [0.0]])
    return float(np.sum(precision * (widened[:-2] - widened[2:]) / 2))


def _nan_mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
