"""One image scored: a prediction, or the truth pushed through the fusion as a ceiling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eagleray_vision.detection.boxes import boxes_from_id_map
from eagleray_vision.detection.roi_sampling import roi_sample
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.metrics.average_precision import InstanceComparison
from eagleray_vision.metrics.mean_iou import confusion_matrix
from eagleray_vision.panoptic.errors import PanopticError
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.samples.sample import PanopticSample
from eagleray_vision.scoring.diagnostics import segment_row
from eagleray_vision.scoring.instances import fused_instances, raw_instances, true_instances
from eagleray_vision.scoring.rule import ScoringRule

Fusion = Callable[[PanopticInference, tuple[int, int]], IndexedPanoptic]
"""Fuses output at its own size; the size is that of the network input, in pixels."""

CONFIDENT_LOGIT = 10.0
"""Mask logit that stands for certainty in the ceiling; its sigmoid differs from 1 by 5e-5."""

_MASK_CELLS = 28


def score_sample(
    sample: PanopticSample,
    prediction: PanopticPrediction,
    rule: ScoringRule,
    space: LabelSpace,
) -> dict[str, Any]:
    """Compare one prediction with its truth.

    Args:
        sample: Image with labels.
        prediction: What the network says about it.
        rule: How it is scored.
        space: Class list.

    Returns:
        A row of `ScoringRule.schema`.
    """
    truth = _scored_truth(sample, rule)
    is_panoptic = rule.scored.mode == "panoptic"
    semantic = (
        prediction.fused.class_map(VOID_CLASS) if is_panoptic else prediction.semantic_classes
    )
    row = _panoptic_row(truth, prediction.fused, semantic, rule, space)
    if rule.scored.coco_ap:
        row |= _instance_comparison(sample, prediction, rule, space).to_row()
    return row


def score_ceiling(
    sample: PanopticSample, rule: ScoringRule, space: LabelSpace, fuse: Fusion
) -> dict[str, Any]:
    """Fuse the truth of one image as if a network had predicted it, and score the result.

    Args:
        sample: Image with labels.
        rule: How it is scored.
        space: Class list.
        fuse: The fusion of the network.

    Returns:
        A row with the columns of panoptic quality and mean IoU.
    """
    truth = _scored_truth(sample, rule)
    fused = fuse(truth_as_output(truth, space.num_stuff), sample.network_hw)
    return _panoptic_row(truth, fused, fused.class_map(VOID_CLASS), rule, space)


def truth_as_output(truth: IndexedPanoptic, num_stuff: int) -> PanopticInference:
    """Write labels in the form of a network's output.

    Void pixels get the first class, since a network always answers; they are not scored.

    Args:
        truth: Labels.
        num_stuff: Number of stuff classes.

    Returns:
        Semantic classes, boxes, thing classes, scores of 1 and mask logits ``(n, 28, 28)`` of the n
        instances, in pixels of the labels; semantic logits are empty.
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
    return PanopticInference(
        boxes_yxyx=boxes,
        classes=things,
        scores=torch.ones(len(chosen)),
        mask_logits=masks,
        semantic_classes=torch.from_numpy(semantic),
        semantic_logits=torch.zeros(0, *semantic.shape),
    )


def _scored_truth(sample: PanopticSample, rule: ScoringRule) -> IndexedPanoptic:
    truth = sample.placed if rule.at_network_size else sample.truth
    if truth is None:
        raise PanopticError(f"{sample.key}: the image has no labels to score against")
    return truth


def _panoptic_row(
    truth: IndexedPanoptic,
    fused: IndexedPanoptic,
    semantic: npt.NDArray[np.integer[Any]],
    rule: ScoringRule,
    space: LabelSpace,
) -> dict[str, Any]:
    unit = rule.compare(truth, fused, space.num_classes)
    confusion = confusion_matrix(
        truth.class_map(VOID_CLASS), semantic, space.num_classes, VOID_CLASS
    )
    segments = segment_row(truth, fused, space.num_classes)
    return {**unit.to_row(), "confusion": confusion.ravel().tolist(), **segments}


def _instance_comparison(
    sample: PanopticSample,
    prediction: PanopticPrediction,
    rule: ScoringRule,
    space: LabelSpace,
) -> InstanceComparison:
    if sample.truth is None:
        raise PanopticError(f"{sample.key}: the image has no labels to score against")
    size_hw = sample.output_hw
    if rule.scored.mode == "panoptic":
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
    truth = true_instances(sample.truth, space.num_stuff, polygons=rule.polygons)
    return InstanceComparison(size_hw, truth, detected)
