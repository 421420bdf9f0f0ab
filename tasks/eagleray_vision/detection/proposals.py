"""Turn RPN outputs into proposals."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from eagleray_vision.detection.boxes import clip_boxes
from eagleray_vision.detection.nms import nms


@dataclass(frozen=True, slots=True)
class ProposalRule:
    """How proposals are chosen from decoded boxes.

    Args:
        nms_threshold: IoU at which a proposal suppresses another.
        num_pre_nms: Highest scores that enter NMS; 0 = all.
        num_post_nms: Proposals kept; 0 = all.
        min_size: Smallest side in pixels; 0 = no limit.
        per_level: Choose and suppress within each level, which all of the above then limit, and
            join the levels by score (EfficientPS), instead of over all levels together (Seamless).
        max_total: With ``per_level``, proposals kept over all levels; 0 = all.
        suppress_equal: NMS drops at an IoU of exactly the threshold.
        inclusive: Corners are inclusive pixels.
    """

    nms_threshold: float
    num_pre_nms: int
    num_post_nms: int
    min_size: float = 0.0
    per_level: bool = False
    max_total: int = 0
    suppress_equal: bool = True
    inclusive: bool = False


@torch.no_grad()
def select_proposals(
    boxes: Tensor,
    scores: Tensor,
    image_size: tuple[int, int],
    rule: ProposalRule,
    *,
    level_sizes: tuple[int, ...] = (),
    axes: Literal["yxyx", "xyxy"] = "yxyx",
) -> tuple[Tensor, Tensor]:
    """Choose the proposals of one image; no gradient flows through them.

    Args:
        boxes: ``(n, 4)`` decoded boxes in pixels.
        scores: ``(n,)`` objectness, logits or probabilities.
        image_size: Valid (unpadded) height and width in pixels, to which boxes are clipped.
        rule: How to choose.
        level_sizes: Boxes per level, in order; needed for ``rule.per_level``.
        axes: Order of the coordinates.

    Returns:
        Boxes ``(k, 4)`` and their scores ``(k,)`` in descending score; k may be 0.

    Raises:
        ValueError: If ``rule.per_level`` is set and ``level_sizes`` do not add up to n.
    """
    limits = image_size if axes == "yxyx" else (image_size[1], image_size[0])
    boxes = clip_boxes(boxes, limits, inclusive=rule.inclusive)
    if not rule.per_level:
        return _suppress(boxes, scores, rule)
    if sum(level_sizes) != boxes.shape[0]:
        raise ValueError(
            f"level_sizes {level_sizes} add up to {sum(level_sizes)}, but there are "
            f"{boxes.shape[0]} boxes"
        )
    parts = [
        _suppress(level_boxes, level_scores, rule)
        for level_boxes, level_scores in zip(
            torch.split(boxes, list(level_sizes)),
            torch.split(scores, list(level_sizes)),
            strict=True,
        )
    ]
    boxes, scores = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    order = scores.argsort(descending=True, stable=True)
    if rule.max_total > 0:
        order = order[: rule.max_total]
    return boxes[order], scores[order]


def _suppress(boxes: Tensor, scores: Tensor, rule: ProposalRule) -> tuple[Tensor, Tensor]:
    if rule.min_size > 0:
        extent = boxes[:, 2:] - boxes[:, :2] + int(rule.inclusive)
        large = (extent >= rule.min_size).all(dim=1).nonzero()[:, 0]
        boxes, scores = boxes[large], scores[large]
    if 0 < rule.num_pre_nms < scores.shape[0]:
        top = scores.topk(rule.num_pre_nms).indices
        boxes, scores = boxes[top], scores[top]
    keep = nms(
        boxes,
        scores,
        rule.nms_threshold,
        max_kept=rule.num_post_nms,
        suppress_equal=rule.suppress_equal,
        inclusive=rule.inclusive,
    )
    return boxes[keep], scores[keep]
