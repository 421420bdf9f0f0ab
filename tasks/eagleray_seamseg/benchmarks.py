"""The benchmark of an experiment's data set, and the ceiling that panoptic fusion sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray.task import Benchmark, Metrics
from eagleray_seamseg.evaluation import (
    fused_instances,
    panoptic_unit,
    raw_instances,
    semantic_unit,
    true_instances,
)
from eagleray_seamseg.predict import PanopticPrediction, fusion_thresholds
from eagleray_seamseg.published import CITYSCAPES_VAL, VISTAS_VAL
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_vision.detection.boxes import boxes_from_id_map
from eagleray_vision.detection.roi_sampling import roi_sample
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
from eagleray_vision.panoptic.errors import PanopticError
from eagleray_vision.panoptic.fusion import fuse_panoptic
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.samples.sample import PanopticSample

CEILING_SUFFIX = "_fusion_ceiling"
"""Names the benchmark that pushes the truth through the fusion."""

CONFIDENT_LOGIT = 10.0
"""Mask logit that stands for certainty in the ceiling; its sigmoid differs from 1 by 5e-5."""

_MASK_CELLS = 28
_PERCENT = 100.0

_PANOPTIC_SCHEMA = {
    "sum_iou": "list<float64>",
    "true_positives": "list<int64>",
    "false_positives": "list<int64>",
    "false_negatives": "list<int64>",
    "sum_any_iou": "list<float64>",
}
_SEMANTIC_SCHEMA = {"confusion": "list<int64>"}
_INSTANCE_SCHEMA = {
    "mask_size_hw": "list<int64>",
    **{
        f"{side}_{name}": kind
        for side in ("truth", "detected")
        for name, kind in {
            "category_ids": "list<int64>",
            "boxes_xywh": "list<float64>",
            "runs": "list<string>",
            "scores": "list<float64>",
            "is_crowd": "list<bool>",
            "areas": "list<float64>",
        }.items()
    },
}


def seamless_benchmarks(settings: SeamlessSettings) -> tuple[Benchmark, ...]:
    """Return the benchmark of the settings' data set and its fusion ceiling.

    Args:
        settings: Settings of the experiment.

    Returns:
        Two benchmarks; the first one is the default. The papers' numbers stand beside data in the
        published layout only, not beside samples of it.
    """
    name = f"{settings.data.format}_{settings.data.val_split}"
    schema = {**_PANOPTIC_SCHEMA, **_SEMANTIC_SCHEMA}
    if settings.evaluation.coco_ap:
        schema |= _INSTANCE_SCHEMA
    data = settings.data
    is_published_set = not (data.images or data.labels or data.annotations or data.reduced_labels)
    is_published_set = is_published_set and data.vistas_version == "1.2"
    papers = {"vistas": VISTAS_VAL, "cityscapes": CITYSCAPES_VAL}
    published = papers.get(data.format, ()) if is_published_set else ()
    rule = _FAITHFUL_RULE if settings.faithful else _OFFICIAL_RULE
    return (
        Benchmark(name, "val", "pq", rule, schema, published=published),
        Benchmark(
            name + CEILING_SUFFIX,
            "val",
            "pq",
            "The truth in place of the network's output (semantic labels, boxes, 28 x 28 masks), "
            "fused and scored like a prediction: what a perfect network would reach. " + rule,
            {**_PANOPTIC_SCHEMA, **_SEMANTIC_SCHEMA},
        ),
    )


_FAITHFUL_RULE = (
    "Percent. As the original code: truth resized to the network input; crowd segments of any "
    "class are void; means over all classes, an absent one counting 0."
)
_OFFICIAL_RULE = (
    "Percent. Official COCO panoptic rule at the size of the labels; means over the classes "
    "that occur."
)


def score_sample(
    sample: PanopticSample,
    prediction: PanopticPrediction,
    settings: SeamlessSettings,
    space: LabelSpace,
) -> dict[str, Any]:
    """Compare one prediction with its truth.

    Args:
        sample: Image with labels.
        prediction: What the network says about it.
        settings: Settings of the experiment.
        space: Class list.

    Returns:
        The row of `seamless_benchmarks`.
    """
    truth = _scored_truth(sample, faithful=settings.faithful)
    is_panoptic = settings.evaluation.mode == "panoptic"
    semantic = (
        prediction.fused.class_map(VOID_CLASS) if is_panoptic else prediction.semantic_classes
    )
    row = _panoptic_row(truth, prediction.fused, semantic, settings, space)
    if settings.evaluation.coco_ap:
        row |= _instance_comparison(sample, prediction, settings, space).to_row()
    return row


def score_ceiling(
    sample: PanopticSample, settings: SeamlessSettings, space: LabelSpace
) -> dict[str, Any]:
    """Fuse the truth of one image as if a network had predicted it, and score the result.

    Args:
        sample: Image with labels.
        settings: Settings of the experiment.
        space: Class list.

    Returns:
        The row of the ceiling benchmark.
    """
    truth = _scored_truth(sample, faithful=settings.faithful)
    semantic, boxes, classes, scores, masks = truth_as_output(truth, space.num_stuff)
    fused = fuse_panoptic(
        semantic,
        boxes,
        classes,
        scores,
        masks,
        num_stuff=space.num_stuff,
        thresholds=fusion_thresholds(settings, sample.network_hw, truth.id_map.shape),
    )
    return _panoptic_row(truth, fused, fused.class_map(VOID_CLASS), settings, space)


def truth_as_output(
    truth: IndexedPanoptic, num_stuff: int
) -> tuple[npt.NDArray[np.int64], Tensor, Tensor, Tensor, Tensor]:
    """Write labels in the form of the network's output.

    Void pixels get the first class, since a network always answers; they are not scored.

    Args:
        truth: Labels.
        num_stuff: Number of stuff classes.

    Returns:
        Semantic classes ``(H, W)``, boxes ``(n, 4)``, thing classes ``(n,)``, scores ``(n,)`` and
        mask logits ``(n, 28, 28)`` of the n instances.
    """
    classes = truth.class_map(VOID_CLASS)
    ids = torch.from_numpy(truth.id_map.astype(np.int64))
    extents = boxes_from_id_map(ids, len(truth.categories))
    is_instance = (truth.categories >= num_stuff) & (truth.categories != VOID_CLASS)
    chosen = np.flatnonzero(is_instance & ~truth.is_crowd & (truth.areas() > 0))
    boxes = extents[chosen]
    masks = torch.zeros(len(chosen), _MASK_CELLS, _MASK_CELLS)
    for position, index in enumerate(chosen.tolist()):
        y0, x0, y1, x1 = boxes[position].long().tolist()
        own = (ids[y0:y1, x0:x1] == index).to(torch.float32)[None, None]
        whole = torch.tensor([[0.0, 0.0, y1 - y0, x1 - x0]])
        first = torch.zeros(1, dtype=torch.int64)
        share = roi_sample(own, whole, first, (_MASK_CELLS, _MASK_CELLS))
        masks[position] = (2 * share[0, 0] - 1) * CONFIDENT_LOGIT
    things = torch.from_numpy(truth.categories[chosen] - num_stuff)
    semantic = np.where(classes == VOID_CLASS, 0, classes)
    return semantic, boxes, things, torch.ones(len(chosen)), masks


def compute_metrics(
    rows: Iterable[Mapping[str, Any]], settings: SeamlessSettings, space: LabelSpace
) -> Metrics:
    """Turn the rows of a split into metrics, in percent.

    Args:
        rows: Rows of `score_sample` or `score_ceiling` in unit order.
        settings: Settings of the experiment.
        space: Class list.

    Returns:
        ``pq, sq, rq, pq_dagger`` with their ``_things`` and ``_stuff`` parts, ``miou``,
        ``pixel_accuracy`` and, where AP is scored, ``box_ap``, ``mask_ap`` and their variants. What
        is undefined (no class of the group occurs) is left out.
    """
    collected = list(rows)
    faithful = settings.faithful
    quality = compute_panoptic_quality(
        (PanopticStatistics.from_row(row) for row in collected),
        space.is_thing,
        mean_over="all" if faithful else "present",
    )
    shape = (space.num_classes, space.num_classes + 1)
    iou = compute_mean_iou(
        (np.asarray(row["confusion"], np.int64).reshape(shape) for row in collected),
        faithful=faithful,
    )
    precision = None
    if collected and "truth_runs" in collected[0]:
        precision = compute_average_precision(
            (InstanceComparison.from_row(row) for row in collected),
            range(space.num_stuff, space.num_classes),
            faithful=faithful,
        )
    values = dict(_values(quality, iou, precision))
    return Metrics(_defined(values), _per_class(quality, iou, precision, space))


def _scored_truth(sample: PanopticSample, *, faithful: bool) -> IndexedPanoptic:
    truth = sample.placed if faithful else sample.truth
    if truth is None:
        raise PanopticError(f"{sample.key}: the image has no labels to score against")
    return truth


def _panoptic_row(
    truth: IndexedPanoptic,
    fused: IndexedPanoptic,
    semantic: npt.NDArray[np.integer[Any]],
    settings: SeamlessSettings,
    space: LabelSpace,
) -> dict[str, Any]:
    unit = panoptic_unit(truth, fused, space.num_classes, faithful=settings.faithful)
    confusion = semantic_unit(truth, semantic, space.num_classes)
    return {**unit.to_row(), "confusion": confusion.ravel().tolist()}


def _instance_comparison(
    sample: PanopticSample,
    prediction: PanopticPrediction,
    settings: SeamlessSettings,
    space: LabelSpace,
) -> InstanceComparison:
    if sample.truth is None:
        raise PanopticError(f"{sample.key}: the image has no labels to score against")
    size_hw = sample.output_hw
    if settings.evaluation.mode == "panoptic":
        detected = fused_instances(prediction.fused, space.num_stuff, size_hw)
    else:
        inference = prediction.inference
        detected = raw_instances(
            inference.boxes_yxyx,
            inference.classes,
            inference.scores,
            inference.mask_logits,
            num_stuff=space.num_stuff,
            network_hw=sample.network_hw,
            size_hw=size_hw,
        )
    truth = true_instances(sample.truth, space.num_stuff, faithful=settings.faithful)
    return InstanceComparison(size_hw, truth, detected)


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
        if found := _defined(values):
            table[name] = found
    return table


def _defined(values: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: _PERCENT * value
        for name, value in values.items()
        if value is not None and not np.isnan(value)
    }
