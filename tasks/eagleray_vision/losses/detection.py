"""Losses of the RPN and of the Mask R-CNN heads."""

import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray_vision.detection.assignment import NEGATIVE
from eagleray_vision.losses.smooth_l1 import smooth_l1

MASK_IGNORE = -1
"""Mask target of a pixel that is left out."""


def _wide(x: Tensor) -> Tensor:
    """Return x in float32, or in float64 if it is that."""
    return x if x.dtype == torch.float64 else x.float()


def rpn_losses(
    logits: Tensor, codes: Tensor, match: Tensor, code_targets: Tensor, sigma: float
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the objectness and box losses of anchors.

    Args:
        logits: ``(n, a)`` objectness logits.
        codes: ``(n, a, 4)`` box codes.
        match: ``(n, a)`` assignment: at least 0 positive, ``NEGATIVE``, else left out.
        code_targets: ``(positives, 4)``, in the order of ``match >= 0``.
        sigma: Sharpness of the smooth L1 loss.

    Returns:
        (binary cross-entropy, anchors that count) and (smooth L1 over positives, the same count).
    """
    counted, positive = match >= NEGATIVE, match >= 0
    weight = counted.sum()
    chosen = _wide(logits[counted])
    objectness = F.binary_cross_entropy_with_logits(
        chosen, positive[counted].to(chosen.dtype), reduction="sum"
    )
    predicted = _wide(codes[positive])
    boxes = smooth_l1(predicted, code_targets.to(predicted.dtype), sigma).sum()
    return (objectness, weight), (boxes + 0 * _wide(codes).sum(), weight)


def roi_class_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (cross-entropy, number of RoIs).

    Args:
        logits: ``(r, classes + 1)``, background first; r may be 0.
        labels: ``(r,)`` int64.
    """
    weight = torch.tensor(labels.shape[0], device=labels.device)
    return F.cross_entropy(_wide(logits), labels, reduction="sum"), weight


def roi_box_loss(
    codes: Tensor, labels: Tensor, code_targets: Tensor, sigma: float
) -> tuple[Tensor, Tensor]:
    """Return (smooth L1 of the true class's code over positives, all RoIs).

    Args:
        codes: ``(r, classes, 4)``.
        labels: ``(r,)`` int64, 0 = background.
        code_targets: ``(positives, 4)``, in the order of ``labels > 0``.
        sigma: Sharpness of the smooth L1 loss.
    """
    positive = (labels > 0).nonzero()[:, 0]
    predicted = _wide(codes[positive, labels[positive] - 1])
    loss = smooth_l1(predicted, code_targets.to(predicted.dtype), sigma).sum()
    return loss + 0 * _wide(codes).sum(), torch.tensor(labels.shape[0], device=labels.device)


def roi_mask_loss(logits: Tensor, labels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return (binary cross-entropy of the true class's mask over positives, pixels that count).

    Args:
        logits: ``(r, classes, h, w)``.
        labels: ``(r,)`` int64, 0 = background.
        masks: ``(positives, h, w)`` integers 0, 1 or ``MASK_IGNORE``, in the order of
            ``labels > 0``.
    """
    positive = (labels > 0).nonzero()[:, 0]
    predicted = _wide(logits[positive, labels[positive] - 1])
    counted = masks != MASK_IGNORE
    loss = F.binary_cross_entropy_with_logits(
        predicted,
        (masks == 1).to(predicted.dtype),
        weight=counted.to(predicted.dtype),
        reduction="sum",
    )
    return loss + 0 * _wide(logits).sum(), counted.sum()
