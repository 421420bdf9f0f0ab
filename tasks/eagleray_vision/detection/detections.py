"""Turn classified and refined proposals into detections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eagleray_vision.detection.nms import nms


@dataclass(frozen=True, slots=True)
class DetectionRule:
    """How detections are chosen.

    Args:
        score_threshold: Scores must be above it.
        nms_threshold: IoU at which a detection suppresses another one of its class.
        max_detections: Largest number per image.
        suppress_equal: NMS drops at an IoU of exactly the threshold.
        inclusive: Corners are inclusive pixels.
        class_order: Detections come class by class, each in descending score (Seamless); otherwise
            in the order of the proposals, classes ascending within one (EfficientPS). More than
            ``max_detections`` are always sorted by score and cut.
    """

    score_threshold: float
    nms_threshold: float
    max_detections: int
    suppress_equal: bool = True
    inclusive: bool = False
    class_order: bool = True


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections of one image: boxes ``(n, 4)``, class from 0 ``(n,)`` int64, score ``(n,)``."""

    boxes: Tensor
    classes: Tensor
    scores: Tensor


@torch.no_grad()
def select_detections(boxes: Tensor, scores: Tensor, rule: DetectionRule) -> Detections:
    """Choose detections by score and class-wise NMS.

    Args:
        boxes: ``(n, c, 4)`` boxes per class, decoded and clipped to the image.
        scores: ``(n, c)`` scores per class, background left out.
        rule: How to choose.

    Returns:
        Detections; boxes without area are dropped.
    """
    extent = boxes[..., 2:] - boxes[..., :2] + int(rule.inclusive)
    usable = (scores > rule.score_threshold) & (extent > 0).all(dim=-1)
    candidate, label = usable.nonzero(as_tuple=True)
    kept = [
        _suppress_class(boxes, scores, candidate, label, value, rule)
        for value in sorted(set(label.tolist()))
    ]
    if kept:
        chosen = torch.cat(kept)
        candidate, label = candidate[chosen], label[chosen]
    score = scores[candidate, label]
    if score.shape[0] > rule.max_detections:
        order = score.topk(rule.max_detections).indices
    elif rule.class_order:
        order = torch.arange(score.shape[0], device=score.device)
    else:
        order = (candidate * scores.shape[1] + label).argsort()
    candidate, label = candidate[order], label[order]
    return Detections(boxes[candidate, label], label, score[order])


def select_by_image(
    boxes: Tensor,
    scores: Tensor,
    counts: Sequence[int],
    rule: DetectionRule,
    clip: Callable[[Tensor, int], Tensor],
) -> list[Detections]:
    """Choose each image's detections out of the joined proposals of a batch.

    Args:
        boxes: ``(sum of counts, c, 4)`` boxes per class, decoded.
        scores: ``(sum of counts, c)`` scores per class, background left out.
        counts: Proposals of each image.
        rule: How to choose.
        clip: Clips boxes to the image of a number.
    """
    parts = zip(torch.split(boxes, list(counts)), torch.split(scores, list(counts)), strict=True)
    return [
        select_detections(clip(own_boxes, image), own_scores, rule)
        for image, (own_boxes, own_scores) in enumerate(parts)
    ]


def merge_detections(
    parts: Sequence[Detections], num_classes: int, rule: DetectionRule
) -> Detections:
    """Unite detections of the same image and suppress duplicates class by class.

    Args:
        parts: Detections of one image from several passes, in pixels of one frame.
        num_classes: Classes.
        rule: How to choose; scores were above its threshold already.

    Returns:
        What ``select_detections`` keeps of all of them: of detections of one class that overlap by
        ``rule.nms_threshold``, the one of highest score, with its own box and score.
    """
    boxes = torch.cat([part.boxes for part in parts])
    classes = torch.cat([part.classes for part in parts])
    values = torch.cat([part.scores for part in parts])
    scores = values.new_full((len(values), num_classes), -torch.inf)
    scores[torch.arange(len(values), device=values.device), classes] = values
    return select_detections(boxes[:, None].expand(-1, num_classes, 4), scores, rule)


def _suppress_class(
    boxes: Tensor,
    scores: Tensor,
    candidate: Tensor,
    label: Tensor,
    value: int,
    rule: DetectionRule,
) -> Tensor:
    """Return the positions among the candidates that NMS keeps of one class."""
    position = (label == value).nonzero()[:, 0]
    keep = nms(
        boxes[candidate[position], value],
        scores[candidate[position], value],
        rule.nms_threshold,
        suppress_equal=rule.suppress_equal,
        inclusive=rule.inclusive,
    )
    return position[keep]
