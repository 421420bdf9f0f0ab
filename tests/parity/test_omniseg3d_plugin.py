"""The plugin OmniSeg3D against golden data of the original; the kernels have a file of their
own."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.parity.cases import cases

from eagleray_omniseg3d.contrast import GAUSSIAN_CONTRAST, Contrast, contrastive_loss
from eagleray_omniseg3d.hierarchy import build_hierarchy
from eagleray_omniseg3d.losses import (
    color_losses,
    depth_term,
    distortion_term,
    feature_losses,
)


def ids(path):
    return path.stem


@pytest.mark.parametrize("path", cases("omniseg3d", "hier"), ids=ids)
def test_hierarchy(path):
    case = np.load(path)
    hierarchy = build_hierarchy(case["masks"])
    assert hierarchy.indices.dtype == np.int16 and hierarchy.correlation.dtype == np.uint8
    np.testing.assert_array_equal(hierarchy.indices, case["indices"])
    np.testing.assert_array_equal(hierarchy.correlation, case["correlation"])


def total(terms):
    parts = [t.factor * t.sum / t.weight for t in terms.values() if float(t.weight) > 0]
    return torch.stack(parts).sum()


def assert_close(found, expected, relative):
    expected = torch.as_tensor(expected)
    scale = max(float(expected.abs().max()), 1e-30)
    torch.testing.assert_close(
        found.to(expected.dtype), expected, rtol=relative, atol=relative * scale
    )


@pytest.mark.parametrize("path", cases("omniseg3d", "contrast"), ids=ids)
def test_hierarchical_contrast(path):
    case = np.load(path)
    contrast = Contrast(
        level_weight=float(case["level_weight"]),
        min_pixels=int(case["min_pixnum"]),
        use_hierarchy=bool(case["use_hierarchy"]),
    )
    ids_, table = torch.from_numpy(case["patch_ids"]), torch.from_numpy(case["correlation"])
    weight = float(case["lambda_sam"])

    features = torch.from_numpy(case["features"]).requires_grad_()
    terms = feature_losses(features, ids_, table, contrast, contrast_weight=weight)
    loss = total(terms)
    (grad,) = torch.autograd.grad(loss, features)
    assert_close(loss, case["loss_total"], 1e-4)
    assert_close(grad, case["grad_total"], 1e-4)

    loss = weight * contrastive_loss(features, ids_, table, contrast)
    (grad,) = torch.autograd.grad(loss, features)
    assert_close(loss, case["loss_contrastive_only"], 1e-4)
    assert_close(grad, case["grad_contrastive_only"], 1e-4)

    ids_present, counts = np.unique(case["patch_ids"], return_counts=True)
    is_cluster = (counts > case["min_pixnum"]) & (ids_present > 0)
    assert is_cluster.sum() == case["n_clusters"]


@pytest.mark.parametrize("path", cases("omniseg3d", "contrast_gs"), ids=ids)
def test_contrast_of_the_gaussian_version(path):
    case = np.load(path)
    contrast = dataclasses.replace(
        GAUSSIAN_CONTRAST,
        level_weight=float(case["level_weight"]),
        min_pixels=int(case["min_pixnum"]),
    )
    features = torch.from_numpy(case["features"]).requires_grad_()
    ids_, table = torch.from_numpy(case["patch_ids"]), torch.from_numpy(case["correlation"])
    loss = float(case["lambda_sam"]) * contrastive_loss(features, ids_, table, contrast)
    loss.backward()
    assert_close(loss, case["loss"], 1e-4)
    assert_close(features.grad, case["grad"], 1e-4)


@pytest.mark.parametrize("path", cases("omniseg3d", "stage1_losses"), ids=ids)
def test_losses_of_the_color_phase(path):
    case = {k: torch.from_numpy(v) for k, v in np.load(path).items()}
    inputs = {k: case[k].requires_grad_() for k in ("ws", "rgb", "opacity", "depth")}
    terms = color_losses(case["rgb"], case["opacity"], case["target_rgb"], opacity_weight=1e-3)
    terms["distortion"] = distortion_term(
        case["ws"], case["deltas"], case["ts"], case["rays_a"], weight=1e-3
    )
    terms["depth"] = depth_term(case["depth"], case["target_depth"][:, 0], weight=1.0)
    for name in ("rgb", "opacity", "distortion", "depth"):
        assert_close(total({name: terms[name]}), case[f"loss_{name}"], 1e-5)
    loss = total(terms)
    loss.backward()
    assert_close(loss, case["loss_total"], 1e-5)
    for name, tensor in inputs.items():
        assert_close(tensor.grad, case[f"grad_{name}"], 1e-5)
