"""Labels, losses, metrics and schedule of POP-3D against the original's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.cases import cases
from tests.parity.every_key import every_key_is_read  # noqa: F401
from tests.parity.golden import close
from tests.parity.pop3d_case import Pop3dCase

from eagleray.train.optimizer import learning_rate
from eagleray_pop3d.asking import average_precisions, best_class
from eagleray_pop3d.augmentation import grid_mask
from eagleray_pop3d.images import pad_images, rescale_view
from eagleray_pop3d.losses import LossSettings, feature_loss, occupancy_losses
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.model.network import normalize_images
from eagleray_pop3d.occupancy_iou import count_labels, occupancy_iou
from eagleray_pop3d.prompts import CLASS_OF_WORD, RAW_CLASS_OF_WORD
from eagleray_pop3d.recipes import SCHEDULE
from eagleray_pop3d.voxels import (
    evaluation_labels,
    majority_labels,
    occupancy_labels,
    voxel_coordinates,
)
from eagleray_vision.driving.lidarseg import evaluated_classes
from eagleray_vision.losses.lovasz import lovasz_softmax


class TargetCase(Pop3dCase):
    module = __name__


@pytest.mark.parametrize("path", cases("pop3d", "voxel_labels"), ids=lambda p: p.stem)
def test_voxel_labels(path: Path) -> None:
    case = TargetCase(path)
    w, h, z = case.ints("grid_size")
    grid = GridSettings(size_hwz=(h, w, z))
    xyz, classes = case["xyz"].numpy(), case["cls16"].numpy()
    np.testing.assert_array_equal(evaluated_classes(case["raw_lidarseg"].numpy()), classes)
    np.testing.assert_allclose(voxel_coordinates(xyz, grid), case["grid_float"], rtol=1e-12)
    for name, ours in {
        "train_occupancy": occupancy_labels(xyz, grid),
        "cls_voxels": majority_labels(xyz, classes, grid),
        "eval_labels": evaluation_labels(xyz, classes, grid),
    }.items():
        np.testing.assert_array_equal(ours, case[name].numpy(), err_msg=name)


@pytest.mark.parametrize("path", cases("pop3d", "lovasz_multiclass"), ids=lambda p: p.stem)
def test_lovasz(path: Path) -> None:
    case = TargetCase(path)
    close(lovasz_softmax(case["probs"], case["labels"]), case["loss"])


@pytest.mark.parametrize("path", cases("pop3d", "loss"), ids=lambda p: p.stem)
@pytest.mark.parametrize("over", ["sample", "batch"])
def test_losses(path: Path, over: str) -> None:
    case = TargetCase(path)
    logits = case["vox_logits"].requires_grad_()
    features = case["pred_feats"].requires_grad_()
    weights = [float(w) for w in case["class_weights"]]
    settings = LossSettings(lovasz_over=over, class_weights=weights or None)
    terms = occupancy_losses(logits, case["labels"], settings)
    terms["mse"] = feature_loss(list(features), list(case["target_feats"]), settings)
    losses = {name: term.factor * term.sum / term.weight for name, term in terms.items()}
    close(losses["lovasz"], case["lovasz"])
    close(losses["cross_entropy"], case["ce"])
    close(losses["mse"], case["mse"])
    total = sum(losses.values())
    close(total, case["total"])
    total.backward()
    close(logits.grad, case["grad_vox_logits"])
    close(features.grad, case["grad_pred_feats"])


@pytest.mark.parametrize("path", cases("pop3d", "miou"), ids=lambda p: p.stem)
def test_occupancy_iou(path: Path) -> None:
    case = TargetCase(path)
    assert case.ints("class_ids") == tuple(range(1, 18)) and int(case["ignore"]) == 255
    frames = range(case.numbers("pred"))
    counts = [count_labels(case[f"gt{k}"].numpy(), case[f"pred{k}"].numpy()) for k in frames]
    result = occupancy_iou(counts)
    np.testing.assert_allclose(100 * result.per_class, case["iou_percent"], rtol=1e-6)
    np.testing.assert_allclose(100 * result.mean_17, case["miou_percent"], rtol=1e-6)
    total = np.sum(counts, axis=0)
    np.testing.assert_array_equal(total.sum(axis=1), case["seen"])
    np.testing.assert_array_equal(total.sum(axis=0), case["positive"])
    np.testing.assert_array_equal(np.diag(total), case["correct"])


@pytest.mark.parametrize("path", cases("pop3d", "zeroshot_assign"), ids=lambda p: p.stem)
def test_best_class(path: Path) -> None:
    case = TargetCase(path)
    assert case.ints("prompt_raw_class") == RAW_CLASS_OF_WORD
    assert case.ints("prompt_cls16") == CLASS_OF_WORD
    features, text = case["features"], case["text"]
    for name, normalize in (("pred", False), ("pred_cosine", True)):
        ours = best_class(features, text, CLASS_OF_WORD, normalize=normalize)
        assert torch.equal(ours, case[name])


@pytest.mark.parametrize("path", cases("pop3d", "retrieval_ap"), ids=lambda p: p.stem)
def test_average_precision(path: Path) -> None:
    case = TargetCase(path)
    ours = average_precisions(
        case["targets"].numpy(), case["scores"].numpy(), case["matching_points"].numpy()
    )
    np.testing.assert_allclose(ours, [float(case["ap"]), float(case["ap_visible"])], rtol=1e-9)
    zeroshot = TargetCase(cases("pop3d", "zeroshot_assign")[0])
    scores = zeroshot["features"] @ zeroshot["text"][0]
    close(scores[None], case["query_feature_scores"])


@pytest.mark.parametrize("path", cases("pop3d", "image_pipeline"), ids=lambda p: p.stem)
def test_images(path: Path) -> None:
    case = TargetCase(path)
    bgr = case["images"]
    padded, sizes = pad_images(list(bgr.flip(-1).numpy()))
    ours = normalize_images(torch.from_numpy(padded)[None], torch.from_numpy(sizes)[None])[0]
    close(ours.permute(0, 2, 3, 1), case["out_images"])
    assert [tuple(shape) for shape in case["img_shape"].tolist()] == [
        (*ours.shape[-2:], 3) for _ in ours
    ]
    matrix = np.arange(16.0).reshape(4, 4)
    for image, wanted in zip(bgr, case["scaled05"], strict=True):
        scaled, scaled_matrix = rescale_view(image.numpy(), matrix, 0.5)
        close(torch.from_numpy(scaled), wanted, rtol=0, atol=1e-3)
        np.testing.assert_array_equal(scaled_matrix, case["scaled05_lidar2img"])
    for drawn, kept in zip(case["gridmask_d_sth_stw"], case["gridmask"], strict=True):
        period, row_phase, column_phase = drawn.tolist()
        mask = grid_mask(tuple(kept.shape), period, row_phase, column_phase)
        np.testing.assert_array_equal(mask, kept.numpy().astype(bool))


@pytest.mark.parametrize("path", cases("pop3d", "lr_schedule"), ids=lambda p: p.stem)
def test_learning_rates(path: Path) -> None:
    case = TargetCase(path)
    schedule = SCHEDULE.model_copy(update={"warmup_steps": int(case["warmup"])})
    bases = (float(case["lr_main"]), float(case["lr_backbone"]))
    total = int(case["t_total"])
    for iteration, wanted in zip(case.ints("iterations"), case["lr"], strict=True):
        ours = [learning_rate(schedule, base, iteration, total) for base in bases]
        np.testing.assert_allclose(ours, wanted, rtol=1e-9, err_msg=str(iteration))
