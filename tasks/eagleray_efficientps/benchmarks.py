"""The benchmark of an experiment's data set, its fusion ceiling, and the rule of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eagleray.task import Benchmark, Metrics
from eagleray_efficientps.predict import fuse_full
from eagleray_efficientps.published import MULTI_SCALE, SINGLE_SCALE
from eagleray_efficientps.settings import EfficientPsSettings
from eagleray_vision.detection.boxes import scaled_boxes
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.metrics.cityscapes_ap import (
    InstanceOverlap,
    compute_cityscapes_ap,
    instance_overlap,
)
from eagleray_vision.panoptic.cityscapes import INSTANCES_PER_LABEL
from eagleray_vision.panoptic.errors import PanopticError
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.samples.sample import PanopticSample
from eagleray_vision.scoring.benchmarks import panoptic_benchmarks
from eagleray_vision.scoring.image import CONFIDENT_LOGIT
from eagleray_vision.scoring.instances import pasted_mask
from eagleray_vision.scoring.rule import ScoringRule
from eagleray_vision.scoring.split import compute_metrics

MULTI_SCALES = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Scales of the evaluation with several views, as the paper names them."""

_AP_PREFIX = "cityscapes_"
_AP_SCHEMA = {
    "cityscapes_truth_labels": "list<int64>",
    "cityscapes_truth_areas": "list<int64>",
    "cityscapes_labels": "list<int64>",
    "cityscapes_scores": "list<float64>",
    "cityscapes_areas": "list<int64>",
    "cityscapes_excused": "list<int64>",
    "cityscapes_covers_group": "list<float64>",
    "cityscapes_intersections": "list<int64>",
}
"""Columns of Cityscapes AP."""

_VOID_LABEL = INSTANCES_PER_LABEL - 1
"""Stands for void pixels where classes are numbered from 1."""
_PERCENT = 100.0

_FAITHFUL_PROTOCOL = (
    "Percent. Official COCO panoptic rule at the size of the network input, as the released code; "
    "means over the classes that occur."
)
_OFFICIAL_PROTOCOL = (
    "Percent. Official COCO panoptic rule at the size of the labels; means over the classes that "
    "occur; mean IoU of the semantic head."
)


def scoring_rule(settings: EfficientPsSettings) -> ScoringRule:
    """Return the rule of panoptic quality, mean IoU and COCO AP."""
    return ScoringRule(settings.evaluation, at_network_size=settings.faithful)


def efficientps_benchmarks(settings: EfficientPsSettings) -> tuple[Benchmark, ...]:
    """Return the benchmark of the settings' data set, its fusion ceiling, and the benchmark as the
    paper evaluates with several views; where ``test_time`` states views, the first one has them.
    """
    schema = scoring_rule(settings).schema()
    if settings.evaluation.cityscapes_ap:
        schema |= _AP_SCHEMA
    protocol = _FAITHFUL_PROTOCOL if settings.faithful else _OFFICIAL_PROTOCOL
    several = panoptic_benchmarks(settings.data, protocol, schema, MULTI_SCALE)
    if settings.test_time.is_on:
        return several
    single = panoptic_benchmarks(settings.data, protocol, schema, SINGLE_SCALE)
    views = replace(
        several[0],
        name=f"{several[0].name}_multi_scale",
        protocol=f"{protocol} Six scales from 0.75 to 2, each mirrored too.",
        use={"test_time": {"scales": MULTI_SCALES, "flip": True}},
    )
    return (*single, views)


def fuse_truth(
    truth: PanopticInference, settings: EfficientPsSettings, space: LabelSpace
) -> IndexedPanoptic:
    """Fuse the truth of one image as if a network had predicted it, at its own size."""
    classes = truth.semantic_classes
    size = (classes.shape[0], classes.shape[1])
    logits = torch.full((space.num_classes, *size), -CONFIDENT_LOGIT)
    logits.scatter_(0, classes[None], CONFIDENT_LOGIT)
    certain = replace(truth, semantic_logits=logits)
    return fuse_full(certain, logits, truth.boxes_yxyx, settings, space.num_stuff)


def cityscapes_ap_row(
    sample: PanopticSample, prediction: PanopticPrediction, space: LabelSpace
) -> dict[str, Any]:
    """Return the columns of Cityscapes AP for one image with labels."""
    overlap = _overlap(sample, prediction, space)
    return {f"{_AP_PREFIX}{name}": values for name, values in overlap.to_row().items()}


def _overlap(
    sample: PanopticSample, prediction: PanopticPrediction, space: LabelSpace
) -> InstanceOverlap:
    """Compare the detections of one image with its truth, at the size of the truth."""
    if sample.truth is None:
        raise PanopticError(f"{sample.key}: the image has no labels to score against")
    found, size_hw = prediction.inference, sample.output_hw
    boxes = scaled_boxes(found.boxes_yxyx, sample.network_hw, size_hw)
    return instance_overlap(
        _numbered(sample.truth, space),
        [
            pasted_mask(mask, box, size_hw)
            for mask, box in zip(found.mask_logits, boxes, strict=True)
        ],
        (found.classes + space.num_stuff + 1).tolist(),
        found.scores.tolist(),
        _numbered_space(space),
    )


def _numbered_space(space: LabelSpace) -> LabelSpace:
    """Return the class list with label ids from 1 on, whatever ids the data set has."""
    ids = tuple(range(1, space.num_classes + 1))
    return replace(space, original_ids=ids, ignored_ids=frozenset({_VOID_LABEL}))


def _numbered(truth: IndexedPanoptic, space: LabelSpace) -> npt.NDArray[np.int64]:
    """Encode labels as Cityscapes does: ``label`` for stuff and groups, ``label * 1000 + k``."""
    table = np.full(len(truth.categories), _VOID_LABEL, dtype=np.int64)
    for index in range(1, len(truth.categories)):
        label = int(truth.categories[index]) + 1
        is_instance = label > space.num_stuff and not truth.is_crowd[index]
        table[index] = label * INSTANCES_PER_LABEL + index if is_instance else label
    values: npt.NDArray[np.int64] = table[truth.id_map]
    return values


def compute_split(
    rows: Iterable[Mapping[str, Any]], settings: EfficientPsSettings, space: LabelSpace
) -> Metrics:
    """Turn the rows of a split into metrics, in percent.

    Args:
        rows: Rows of the benchmark, or of the ceiling, in unit order.
        settings: Settings of the experiment.
        space: Class list.

    Returns:
        What `compute_metrics` returns and, where it is scored, ``cityscapes_ap`` and
        ``cityscapes_ap50``.
    """
    collected = list(rows)
    metrics = compute_metrics(collected, scoring_rule(settings), space)
    if not collected or f"{_AP_PREFIX}labels" not in collected[0]:
        return metrics
    overlaps = [
        InstanceOverlap.from_row({name.removeprefix(_AP_PREFIX): row[name] for name in _AP_SCHEMA})
        for row in collected
    ]
    found = compute_cityscapes_ap(overlaps, _numbered_space(space))
    values = {"cityscapes_ap": found.ap, "cityscapes_ap50": found.ap50}
    per_class = {name: dict(own) for name, own in metrics.per_class.items()}
    for label, value in found.per_class.items():
        if not np.isnan(value):
            per_class.setdefault(space.class_names[label - 1], {})["cityscapes_ap"] = (
                _PERCENT * value
            )
    defined = {name: _PERCENT * v for name, v in values.items() if not np.isnan(v)}
    return Metrics({**metrics.values, **defined}, per_class)
