"""The rows of a split turned into metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from eagleray.task import Metrics
from eagleray_vision.metrics.average_precision import (
    AveragePrecision,
    InstanceComparison,
    compute_average_precision,
)
from eagleray_vision.metrics.mean_iou import MeanIou, compute_mean_iou
from eagleray_vision.metrics.panoptic_quality import (
    PanopticQuality,
    PanopticStatistics,
    compute_panoptic_quality,
)
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.scoring.rule import ScoringRule

_PERCENT = 100.0


def compute_metrics(
    rows: Iterable[Mapping[str, Any]], rule: ScoringRule, space: LabelSpace
) -> Metrics:
    """Turn the rows of a split into metrics, in percent.

    Args:
        rows: Rows of `score_sample` or `score_ceiling` in unit order.
        rule: How they were scored.
        space: Class list.

    Returns:
        ``pq, sq, rq, pq_dagger`` with their ``_things`` and ``_stuff`` parts, ``miou``,
        ``pixel_accuracy`` and, where AP is scored, ``box_ap``, ``mask_ap`` and their variants. What
        is undefined (no class of the group occurs) is left out.
    """
    collected = list(rows)
    quality = compute_panoptic_quality(
        (PanopticStatistics.from_row(row) for row in collected),
        space.is_thing,
        mean_over="all" if rule.absent_counts else "present",
    )
    shape = (space.num_classes, space.num_classes + 1)
    iou = compute_mean_iou(
        (np.asarray(row["confusion"], np.int64).reshape(shape) for row in collected),
        faithful=rule.absent_counts,
    )
    precision = None
    if collected and "truth_runs" in collected[0]:
        precision = compute_average_precision(
            (InstanceComparison.from_row(row) for row in collected),
            range(space.num_stuff, space.num_classes),
            faithful=rule.coco_defects,
        )
    values = dict(_values(quality, iou, precision))
    return Metrics(_defined(values), _per_class(quality, iou, precision, space))


def _values(
    quality: PanopticQuality, iou: MeanIou, precision: AveragePrecision | None
) -> Iterator[tuple[str, float | None]]:
    groups = {"": quality.overall, "_things": quality.things, "_stuff": quality.stuff}
    for suffix, group in groups.items():
        yield f"pq{suffix}", group.pq
        yield f"sq{suffix}", group.sq
        yield f"rq{suffix}", group.rq
        yield f"pq_dagger{suffix}", group.pq_dagger
    yield "miou", iou.mean
    yield "pixel_accuracy", iou.pixel_accuracy
    if precision is not None:
        for name in precision.box:
            yield f"box_{name}", precision.box[name]
            yield f"mask_{name}", precision.mask[name]


def _per_class(
    quality: PanopticQuality, iou: MeanIou, precision: AveragePrecision | None, space: LabelSpace
) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    total = quality.total
    occurs = total.true_positives + total.false_positives + total.false_negatives > 0
    for index, name in enumerate(space.class_names):
        values: dict[str, float | None] = {"iou": float(iou.per_class[index])}
        if occurs[index]:
            values["pq"] = float(quality.pq[index])
            values["sq"] = float(quality.sq[index])
            values["rq"] = float(quality.rq[index])
        if precision is not None and index >= space.num_stuff:
            values["box_ap"] = precision.box_per_class[index]
            values["mask_ap"] = precision.mask_per_class[index]
        if defined := _defined(values):
            table[name] = defined
    return table


def _defined(values: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: _PERCENT * value
        for name, value in values.items()
        if value is not None and not np.isnan(value)
    }
