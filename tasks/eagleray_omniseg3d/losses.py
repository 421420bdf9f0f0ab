"""Losses of the two phases as (sum, weight) pairs: color with its regularizers, then features."""

from __future__ import annotations

import torch
from torch import Tensor

from eagleray.task import LossTerm
from eagleray_kernels.distortion import distortion_loss
from eagleray_omniseg3d.contrast import (
    NORM_WEIGHT,
    Contrast,
    contrastive_loss,
    feature_norm_loss,
)

_OPACITY_OFFSET = 1e-10
"""Keeps the entropy of an empty ray finite (original losses.py)."""


def color_losses(
    rgb: Tensor,
    opacity: Tensor,
    target_rgb: Tensor,
    *,
    opacity_weight: float,
) -> dict[str, LossTerm]:
    """Return the squared color error and the entropy of the opacity, which wants rays full or
    empty.

    Args:
        rgb: (N, 3) composited colors in [0, 1].
        opacity: (N,) sums of weights.
        target_rgb: (N, 3) colors in [0, 1].
        opacity_weight: Weight of the entropy.
    """
    safe = opacity + _OPACITY_OFFSET
    return {
        "rgb": LossTerm((rgb - target_rgb).square().sum(), float(rgb.numel())),
        "opacity": LossTerm(-(safe * safe.log()).sum(), float(opacity.numel()), opacity_weight),
    }


def distortion_term(
    ws: Tensor, deltas: Tensor, ts: Tensor, rays_a: Tensor, *, weight: float
) -> LossTerm:
    """Return the distortion loss (mip-NeRF 360, equation 15), averaged over rays.

    Args:
        ws: (M,) weights of samples.
        deltas: (M,) lengths of their intervals.
        ts: (M,) their distances.
        rays_a: (N, 3) int64 rows (ray, first sample, number of samples).
        weight: Weight of the term.
    """
    return LossTerm(distortion_loss(ws, deltas, ts, rays_a).sum(), float(len(rays_a)), weight)


def depth_term(depth: Tensor, target_depth: Tensor, *, weight: float) -> LossTerm:
    """Return the squared depth error over rays whose depth is known.

    Args:
        depth: (N,) composited depths along the camera's z axis, scene units.
        target_depth: (N,) measured depths; 0 = unknown.
        weight: Weight of the term.
    """
    known = target_depth > 0
    error = torch.where(known, depth - target_depth, 0.0)
    return LossTerm(error.square().sum(), known.sum().to(depth), weight)


def feature_losses(
    features: Tensor,
    patch_ids: Tensor,
    correlation: Tensor,
    contrast: Contrast,
    *,
    contrast_weight: float,
) -> dict[str, LossTerm]:
    """Return the contrastive loss, a sum over the pixels of one image, and the norm term.

    With several images (ranks, micro-batches) the sums of the images are averaged.

    Args:
        features: (N, D) rendered features.
        patch_ids: (N,) patches of pixels of one image; 0 = none.
        correlation: (P, P) of that image.
        contrast: How to contrast.
        contrast_weight: Weight of the sum over pixels; rescale it with the batch size.
    """
    pulled, count = feature_norm_loss(features, patch_ids)
    loss = contrastive_loss(features, patch_ids, correlation, contrast)
    return {
        "contrast": LossTerm(loss, 1.0, contrast_weight),
        "feature_norm": LossTerm(pulled, count, NORM_WEIGHT),
    }
