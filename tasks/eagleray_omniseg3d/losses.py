"""Losses of the two phases as (sum, weight) pairs: color with its regularizers, then features.

Features: hierarchical contrast of rendered features (OmniSeg3D, arXiv 2311.11666, section 3.3).

The pixels of one image are clustered by patch. Every pixel is drawn to the prototypes (means) of
the patches that its own patch shares masks with, the more masks the stronger: level l, by
descending number of shared masks, weighs w^(-l), and a farther level is never penalized less than
a nearer one (max rule, as in hierarchical multi-label contrastive learning).

Differences from the original: clusters and levels are computed for all pixels at once, and the
denominator's + 1e-6 enters as a log-sum-exp, which cannot overflow. Its habit of dropping the
last level of a row even where that level is real is kept under ``drop_last_level``.

Legend of shape suffixes: B pixels with a patch, K clusters, D features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eagleray.task import LossTerm
from eagleray_kernels.distortion import distortion_loss

_OPACITY_OFFSET = 1e-10
"""Keeps the entropy of an empty ray finite (original losses.py)."""
_DENOMINATOR_OFFSET = 1e-6
_TEMPERATURE_FACTOR = 10.0
_COUNT_OFFSET = 10.0
NORM_WEIGHT = 100.0
"""Weight of the term that pulls feature norms to 1 (original losses.py)."""


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
    weights: Tensor, step_sizes: Tensor, t_starts: Tensor, packed_info: Tensor, *, weight: float
) -> LossTerm:
    """Return the distortion loss (mip-NeRF 360, equation 15), averaged over rays.

    Args:
        weights: (M,) weights of samples.
        step_sizes: (M,) lengths of their intervals.
        t_starts: (M,) their distances.
        packed_info: (N, 3) int64 rows (ray, first sample, number of samples).
        weight: Weight of the term.
    """
    return LossTerm(
        distortion_loss(weights, step_sizes, t_starts, packed_info).sum(),
        float(len(packed_info)),
        weight,
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How features are contrasted; defaults are those of the NeRF version.

    Args:
        level_weight: w; level l weighs w^(-l).
        min_pixels: Patches need more than this many pixels to become a cluster.
        temperature_range: Smallest and largest temperature of a prototype.
        use_hierarchy: False contrasts own prototypes only.
        use_max_rule: False lets a farther level be penalized less than a nearer one (ablation).
        drop_last_level: Drop the level of fewest shared masks even if it is not 0, as the
            original does.
        normalize: Divide features by their detached norm first (Gaussian version).
    """

    level_weight: float = 5.0
    min_pixels: int = 2
    temperature_range: tuple[float, float] = (0.1, 1.0)
    use_hierarchy: bool = True
    use_max_rule: bool = True
    drop_last_level: bool = True
    normalize: bool = False


GAUSSIAN_CONTRAST = Contrast(min_pixels=20, temperature_range=(0.5, 1.0), normalize=True)
"""Settings of the Gaussian-splatting version."""


def contrastive_loss(
    features: Tensor, patch_ids: Tensor, correlation: Tensor, contrast: Contrast
) -> Tensor:
    """Return the contrastive loss of pixels of one image, summed over pixels.

    Args:
        features: (n, D) rendered features.
        patch_ids: (n,) patch of each pixel; pixels with 0 take no part.
        correlation: (P, P) number of masks that hold both patches.
        contrast: How to contrast.

    Returns:
        0-d float32; 0 where fewer than two clusters are left.
    """
    labelled = patch_ids > 0
    features_BD, ids_B = features[labelled].float(), patch_ids[labelled].long()
    if contrast.normalize:
        features_BD = features_BD / features_BD.detach().norm(dim=1, keepdim=True)
    ids, cluster_B, counts = torch.unique(ids_B, return_inverse=True, return_counts=True)
    large = counts > contrast.min_pixels
    kept_B = large[cluster_B]
    number = torch.cumsum(large, 0) - 1
    features_BD, cluster_B = features_BD[kept_B], number[cluster_B[kept_B]]
    ids_K, counts_K = ids[large], counts[large]
    if len(ids_K) == 0:
        return 0.0 * features.float().sum()
    cost_BK = _pair_costs(features_BD, cluster_B, counts_K, contrast)
    if not contrast.use_hierarchy:
        return cost_BK.gather(1, cluster_B[:, None]).sum()
    shared_KK = correlation[ids_K][:, ids_K].long()
    level_KK = shared_mask_levels(shared_KK, drop_last=contrast.drop_last_level)
    return _sum_over_levels(cost_BK, level_KK[cluster_B], contrast)


def shared_mask_levels(shared_KK: Tensor, *, drop_last: bool) -> Tensor:
    """Number the distinct values of every row from 0, the largest first.

    Args:
        shared_KK: (K, K) number of masks that two clusters share.
        drop_last: Give -1 to the smallest value of every row; otherwise only to zeros.

    Returns:
        (K, K) int64 levels, -1 where a pair takes no part.

    Example:
        >>> shared_mask_levels(torch.tensor([[3, 1, 0], [1, 2, 1], [0, 1, 1]]), drop_last=True)
        tensor([[ 0,  1, -1],
                [-1,  0, -1],
                [-1,  0,  0]])
    """
    ordered, order = shared_KK.sort(dim=1, descending=True)
    steps = torch.zeros_like(ordered)
    steps[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).long()
    level = torch.empty_like(ordered).scatter_(1, order, steps.cumsum(1))
    dropped = level == level.amax(dim=1, keepdim=True) if drop_last else shared_KK == 0
    return torch.where(dropped, -1, level)


def feature_norm_loss(features: Tensor, patch_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of squared differences of feature norms from 1, and the number of pixels.

    Args:
        features: (n, D) rendered features.
        patch_ids: (n,) patch of each pixel; pixels with 0 take no part.
    """
    norms = features.float().norm(dim=1)
    labelled = (patch_ids > 0).to(norms)
    return ((norms - 1.0).square() * labelled).sum(), labelled.sum()


def _pair_costs(
    features_BD: Tensor, cluster_B: Tensor, counts_K: Tensor, contrast: Contrast
) -> Tensor:
    """Return -log of the share that each prototype takes in each pixel's similarities, (B, K)."""
    num_clusters = len(counts_K)
    sums_KD = features_BD.new_zeros(num_clusters, features_BD.shape[1])
    means_KD = sums_KD.index_add(0, cluster_B, features_BD) / counts_K[:, None]
    with torch.no_grad():
        spread_B = (features_BD - means_KD[cluster_B]).norm(dim=1)
        spread_K = spread_B.new_zeros(num_clusters).index_add(0, cluster_B, spread_B)
        temperature_K = spread_K / (counts_K * torch.log(counts_K + _COUNT_OFFSET))
        temperature_K = (_TEMPERATURE_FACTOR * temperature_K).clamp(*contrast.temperature_range)
    logits_BK = features_BD @ means_KD.T / temperature_K
    offset = logits_BK.new_full((), math.log(_DENOMINATOR_OFFSET))
    total_B = torch.logaddexp(torch.logsumexp(logits_BK, dim=1), offset)
    return total_B[:, None] - logits_BK


def _sum_over_levels(cost_BK: Tensor, level_BK: Tensor, contrast: Contrast) -> Tensor:
    loss = 0.0 * cost_BK.sum()
    floor_B: Tensor | None = None
    for level in range(int(level_BK.max()) + 1):
        rows = (level_BK == level).any(dim=1)
        inside_BK = (level_BK == level)[rows]
        cost = cost_BK[rows]
        if floor_B is not None and contrast.use_max_rule:
            cost = torch.where(cost > floor_B[rows, None], cost, floor_B[rows, None])
        mean_B = torch.where(inside_BK, cost, 0.0).sum(1) / inside_BK.sum(1)
        loss = loss + contrast.level_weight**-level * mean_B.sum()
        highest_B = torch.where(inside_BK, cost, -torch.inf).max(dim=1).values
        base_B = cost_BK.new_zeros(len(cost_BK)) if floor_B is None else floor_B
        floor_B = base_B.masked_scatter(rows, highest_B)
    return loss
