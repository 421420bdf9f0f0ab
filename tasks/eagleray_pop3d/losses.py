"""What training asks of voxels and of points (docs/originals/pop3d.md, section 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import LossTerm, Settings
from eagleray_pop3d.voxels import IGNORED_LABEL
from eagleray_vision.losses.lovasz import lovasz_softmax

Weight = Annotated[float, Field(ge=0)]


class LossSettings(Settings):
    """Weights and forms of the losses."""

    lovasz_over: Literal["sample", "batch"] = Field(
        "sample",
        description="Whose voxels are sorted together: those of a sample, so that the loss does "
        "not depend on how samples are spread over workers and micro-batches, or those of a "
        "worker's batch. Equal at one sample per worker, which is all that the original can do.",
    )
    class_weights: tuple[Weight, Weight] | None = Field(
        None, description="Weights of free and occupied in the cross-entropy; none: 1 (paper)."
    )
    feature: Literal["mse", "cosine", "cosine_guided_mse"] = Field(
        "mse",
        description="Distance of language features: mean squared error (paper), 1 - cosine, or "
        "the squared error weighted by 1 - cosine (after LangOcc's comparison).",
    )
    feature_weight: Weight = Field(1.0, description="Factor lambda of the feature loss.")


def occupancy_losses(logits: Tensor, labels: Tensor, settings: LossSettings) -> dict[str, LossTerm]:
    """Return Lovasz-softmax and cross-entropy, each a mean over samples.

    Args:
        logits: ``(B, 2, W, H, Z)`` free and occupied.
        labels: ``(B, W, H, Z)`` integers, 0, 1 or 255 (counts nowhere).
        settings: Forms and weights.
    """
    logits, labels = logits.float(), labels.long()
    probabilities = logits.softmax(dim=1)
    parts = 1 if settings.lovasz_over == "batch" else len(logits)
    lovasz = [
        lovasz_softmax(p, y, IGNORED_LABEL)
        for p, y in zip(probabilities.chunk(parts), labels.chunk(parts), strict=True)
    ]
    weights = settings.class_weights
    cross_entropy = [
        _mean_cross_entropy(one, truth, None if weights is None else one.new_tensor(weights))
        for one, truth in zip(logits, labels, strict=True)
    ]
    return {
        "lovasz": LossTerm(torch.stack(lovasz).sum(), parts),
        "cross_entropy": LossTerm(torch.stack(cross_entropy).sum(), len(cross_entropy)),
    }


def feature_loss(
    features: Sequence[Tensor], targets: Sequence[Tensor], settings: LossSettings
) -> LossTerm:
    """Return the distance of points' features from their targets, a mean over samples.

    Args:
        features: Per sample ``(m_b, D)``.
        targets: Per sample ``(m_b, D)``.
        settings: Distance and factor.
    """
    distances = [
        _distance(ours.float(), wanted.float(), settings.feature) if len(ours) else ours.sum() * 0
        for ours, wanted in zip(features, targets, strict=True)
    ]
    counted = sum(len(ours) > 0 for ours in features)
    return LossTerm(torch.stack(distances).sum(), counted, settings.feature_weight)


def _mean_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    if not (labels != IGNORED_LABEL).any():
        return logits.sum() * 0
    return F.cross_entropy(logits[None], labels[None], weight=weight, ignore_index=IGNORED_LABEL)


def _distance(features: Tensor, targets: Tensor, kind: str) -> Tensor:
    if kind == "mse":
        return F.mse_loss(features, targets)
    apart = 1 - F.cosine_similarity(features, targets, dim=-1)
    if kind == "cosine":
        return apart.mean()
    return (apart[:, None] * (features - targets).square()).mean()
