"""The vectorized contrast against loops over clusters and levels, written from the equations."""

import math

import pytest
import torch

from eagleray_omniseg3d.losses import (
    Contrast,
    color_losses,
    contrastive_loss,
    depth_term,
    feature_losses,
    shared_mask_levels,
)


def slow_loss(features, ids, shared, contrast):
    kept = [int(i) for i in ids.unique() if i > 0 and (ids == i).sum() > contrast.min_pixels]
    means, temperatures = [], []
    for i in kept:
        own = features[ids == i]
        means.append(own.mean(0))
        spread = (own - own.mean(0)).norm(dim=1).sum()
        low, high = contrast.temperature_range
        temperatures.append(min(max(10 * spread / (len(own) * math.log(len(own) + 10)), low), high))
    loss = torch.zeros((), dtype=features.dtype)
    for i in kept:
        row = [int(shared[i, j]) for j in kept]
        values = sorted(set(row), reverse=True)
        values = values[:-1] if contrast.drop_last_level else [v for v in values if v]
        for f in features[ids == i]:
            e = [torch.exp(f @ u / t) for u, t in zip(means, temperatures, strict=True)]
            cost = [-torch.log(x / (sum(e) + 1e-6)) for x in e]
            floor = None
            for level, value in enumerate(values):
                members = [c for c, r in zip(cost, row, strict=True) if r == value]
                if floor is not None and contrast.use_max_rule:
                    members = [c if c > floor else floor for c in members]
                floor = max(members)
                loss = loss + contrast.level_weight**-level * sum(members) / len(members)
    return loss


def example(seed=0, pixels=60, patches=9):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(5, patches, generator=generator) < 0.5
    masks[:, 0] = False
    shared = (masks.float().T @ masks.float()).to(torch.uint8)
    ids = torch.randint(0, patches, (pixels,), generator=generator)
    features = torch.randn(pixels, 4, generator=generator)
    return features, ids, shared


@pytest.mark.parametrize("drop_last_level", [True, False])
@pytest.mark.parametrize("use_max_rule", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradient_equal_loops(seed, drop_last_level, use_max_rule):
    features, ids, shared = example(seed)
    contrast = Contrast(drop_last_level=drop_last_level, use_max_rule=use_max_rule)
    ours = features.clone().requires_grad_()
    loss = contrastive_loss(ours, ids, shared, contrast)
    loss.backward()
    theirs = features.double().requires_grad_()
    slow = slow_loss(theirs, ids, shared, contrast)
    slow.backward()
    torch.testing.assert_close(loss.double(), slow, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-5)


def test_levels_are_dense_ranks_per_row():
    shared = torch.tensor([[4, 4, 1], [2, 3, 0], [0, 0, 0]])
    assert shared_mask_levels(shared, drop_last=True).tolist() == [
        [0, 0, -1],
        [1, 0, -1],
        [-1, -1, -1],
    ]
    assert shared_mask_levels(shared, drop_last=False).tolist() == [
        [0, 0, 1],
        [1, 0, -1],
        [-1, -1, -1],
    ]


@pytest.mark.parametrize("ids", [torch.zeros(8), torch.arange(8), torch.full((8,), 3)])
def test_no_cluster_or_a_single_one_costs_nothing_but_keeps_the_graph(ids):
    features = torch.randn(8, 3, requires_grad=True)
    loss = contrastive_loss(features, ids.long(), torch.ones(9, 9, dtype=torch.uint8), Contrast())
    loss.backward()
    assert float(loss) == 0.0 and features.grad.abs().sum() == 0


def test_huge_features_stay_finite():
    features, ids, shared = example()
    loss = contrastive_loss(features * 1e3, ids, shared, Contrast())
    assert torch.isfinite(loss)


def test_image_without_patches_has_weightless_norm_term():
    features, _, shared = example()
    terms = feature_losses(
        features, torch.zeros(60, dtype=torch.long), shared, Contrast(), contrast_weight=1.0
    )
    assert float(terms["feature_norm"].weight) == 0


def test_unknown_depth_takes_no_part():
    term = depth_term(torch.tensor([2.0, 5.0]), torch.tensor([1.0, 0.0]), weight=1.0)
    assert float(term.sum) == 1.0 and float(term.weight) == 1.0


def test_opacity_entropy_is_zero_for_empty_and_full_rays():
    rgb = torch.zeros(2, 3)
    terms = color_losses(rgb, torch.tensor([0.0, 1.0]), rgb, opacity_weight=1.0)
    assert abs(float(terms["opacity"].sum)) < 1e-6
