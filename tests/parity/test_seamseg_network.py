"""The network, its targets, losses and detections against the original's numbers."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.parity.cases import cases, key_list
from tests.parity.every_key import every_key_is_read  # noqa: F401
from tests.parity.golden import Case as GoldenFile
from tests.parity.golden import close, groups
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_seamseg.model.config import (
    BodySettings,
    NetworkSettings,
    RoiSettings,
    RpnSettings,
    vistas_r50,
)
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.targets import SeamlessTargets
from eagleray_vision.detection.anchors import cell_anchors, grid_anchors
from eagleray_vision.detection.assignment import NEGATIVE
from eagleray_vision.detection.box_coding import decode_boxes, encode_boxes
from eagleray_vision.detection.boxes import (
    box_coverage,
    box_iou,
    boxes_from_id_map,
    mask_coverage,
)
from eagleray_vision.detection.detections import DetectionRule, select_detections
from eagleray_vision.detection.mask_paste import inverse_roi_box
from eagleray_vision.detection.nms import nms
from eagleray_vision.detection.proposals import ProposalRule, select_proposals
from eagleray_vision.detection.roi_sampling import (
    fpn_levels,
    roi_sample,
    roi_sample_fpn,
    valid_samples,
)
from eagleray_vision.heads.mask_rcnn import MaskRcnnHead
from eagleray_vision.heads.mini_dl import MiniDeepLabHead
from eagleray_vision.heads.rpn import RpnHead, flatten_levels
from eagleray_vision.layers.activated_norm import ActivatedBatchNorm, NormSpec
from eagleray_vision.layers.fpn import FeaturePyramid
from eagleray_vision.layers.residual import ResidualBlock
from eagleray_vision.layers.window_pool import window_average_pool
from eagleray_vision.losses.bootstrapped_ce import bootstrapped_cross_entropy, upsampled_argmax
from eagleray_vision.losses.detection import (
    roi_box_loss,
    roi_class_loss,
    roi_mask_loss,
    rpn_losses,
)
from eagleray_vision.losses.smooth_l1 import smooth_l1
from eagleray_vision.samples.region_targets import roi_targets, sample_anchors
from eagleray_vision.samples.target import PanopticTarget, ThingTruth, thing_truth


class Case(GoldenFile):
    """A golden file whose every key must be read by the tests of this module."""

    module = __name__


@pytest.mark.parametrize("path", cases("seamseg", "abn"))
def test_abn_forward_gradient_and_statistics(path: Path) -> None:
    for prefix in groups(path):
        case = Case(path, prefix)
        norm = case.load(
            ActivatedBatchNorm(
                case["param/weight"].numel(),
                activation=case.text("activation"),  # type: ignore[arg-type]
                slope=float(case["activation_param"]),
            )
        )
        x = case["x"].requires_grad_()
        close(norm.eval()(x), case["y_eval"])
        y = norm.train()(x)
        close(y, case["y_train"])
        y.backward(case["grad_y"])
        close(x.grad, case["grad_x"])
        close(norm.weight.grad, case["grad_weight"])
        close(norm.bias.grad, case["grad_bias"])
        close(norm.running_mean, case["running_mean_after"])
        close(norm.running_var, case["running_var_after"])


def forward_modes(case: Case, module: nn.Module, *inputs: Any) -> tuple[Any, Any]:
    """Return the output in inference (with and without gradient alike) and then in training."""
    case.load(module).eval()
    with_graph = module(*inputs)
    with torch.no_grad():
        folded = module(*inputs)
    for one, other in zip(
        [with_graph] if isinstance(with_graph, Tensor) else with_graph,
        [folded] if isinstance(folded, Tensor) else folded,
        strict=True,
    ):
        close(one, other)
    return folded, module.train()(*inputs)


@pytest.mark.parametrize("path", cases("seamseg", "residual_block"))
def test_residual_block(path: Path) -> None:
    for prefix in groups(path):
        case = Case(path, prefix)
        width, *channels, stride = case["cfg"].tolist()
        block = ResidualBlock(width, channels, NormSpec(), stride=stride)
        y_eval, y_train = forward_modes(case, block, case["x"])
        close(y_eval, case["y_eval"])
        close(y_train, case["y_train"])


@pytest.mark.parametrize("path", cases("seamseg", "fpn"))
def test_fpn(path: Path) -> None:
    for prefix in groups(path):
        case = Case(path, prefix)
        inputs = [case[f"x{k}"] for k in range(case.numbers("x"))]
        fpn = FeaturePyramid(
            [x.shape[1] for x in inputs],
            case["param/lateral.0.bn.weight"].numel(),
            NormSpec(),
            extra_scales=int(case["extra"]),
            interpolation=case.text("mode"),  # type: ignore[arg-type]
        )
        y_eval, y_train = forward_modes(case, fpn, inputs)
        assert len(y_eval) == case.numbers("y_eval")
        for k, (one, other) in enumerate(zip(y_eval, y_train, strict=True)):
            close(one, case[f"y_eval{k}"])
            close(other, case[f"y_train{k}"])


@pytest.mark.parametrize("path", cases("seamseg", "semantic_head"))
def test_semantic_head(path: Path) -> None:
    for prefix in groups(path):
        case = Case(path, prefix)
        state = case.state()
        num_levels = len({k.split(".")[1] for k in state if k.startswith("output.")})
        hidden, channels = state["output.0.conv1_3x3.weight"].shape[:2]
        window = tuple(case["pooling_size"].tolist())
        head = MiniDeepLabHead(
            channels,
            num_levels,
            state["conv_sem.weight"].shape[0],
            NormSpec(),
            hidden_channels=hidden,
            pooling_size=window,
        )
        # The original is given the whole pyramid, of which its head takes the finest levels.
        levels = [case[f"x{k}"] for k in range(case.numbers("x"))][:num_levels]
        y_eval, y_train = forward_modes(case, head, levels)
        close(y_eval, case["y_eval"])
        close(y_train, case["y_train"])
        close(window_average_pool(levels[0], window), case["pool_level0"])
        close(case.load(head).eval().output[1](levels[1]), case["mini_level1"])


@pytest.mark.parametrize("path", cases("seamseg", "rpn_roi_heads"))
def test_rpn_and_roi_heads(path: Path) -> None:
    case = Case(path, "rpn/")
    state = case.state()
    hidden, channels = state["conv1.weight"].shape[:2]
    rpn = RpnHead(channels, len(state["conv_obj.bias"]), NormSpec(), hidden_channels=hidden)
    (logits, codes), _ = forward_modes(case, rpn, case["x"])
    close(logits, case["obj"])
    close(codes, case["bbx"])

    case = Case(path, "roi/")
    state = case.state()
    head = MaskRcnnHead(
        case["x"].shape[1],
        len(state["roi_msk.bias"]),
        tuple(case["x"].shape[2:]),
        NormSpec(),
        hidden_channels=len(state["fc.bn1.weight"]),
        mask_channels=len(state["conv.bn1.weight"]),
    )
    in_eval, in_train = forward_modes(case, head, case["x"])
    for name, one, other in zip(("cls", "bbx", "msk"), in_eval, in_train, strict=True):
        close(one, case[f"{name}_eval"])
        close(other, case[f"{name}_train"])


ANCHOR_SHAPES = {"vistas": (2.0, (0.2, 0.5, 1.0, 2.0, 5.0)), "cityscapes": (8.0, (1.0, 0.5, 2.0))}


@pytest.mark.parametrize("path", cases("seamseg", "boxes"))
def test_boxes(path: Path) -> None:
    case = Case(path)
    tight = {"rtol": 1e-6, "atol": 1e-6}
    close(decode_boxes(case["src"], case["shift"]), case["decoded"], rtol=1e-6, atol=1e-5)
    close(encode_boxes(case["src"], case["dst"]), case["encoded"], rtol=1e-5, atol=1e-6)
    close(box_iou(case["q0"], case["q1"]), case["iou"], **tight)
    close(box_coverage(case["q0"], case["q1"]), case["bbx_overlap"], **tight)
    close(mask_coverage(case["mask_boxes"], case["mask"]), case["mask_overlap"], **tight)
    extracted = case["extracted_boxes"]
    assert torch.equal(boxes_from_id_map(case["idmap"], len(extracted)), extracted)
    inverse = inverse_roi_box(case["q0"], (28, 28), tuple(case["mask"].shape))
    close(inverse, case["inverse_roi_box"], rtol=1e-6, atol=1e-4)
    assert torch.equal(fpn_levels(case["level_boxes"], 4).float(), case["target_level"])


@pytest.mark.parametrize("path", cases("seamseg", "boxes"))
def test_anchors(path: Path) -> None:
    case = Case(path)
    with np.load(path) as file:
        stored = [match for k in file.files if (match := re.fullmatch(r"anchors_(\w+)_(\d+)", k))]
    assert stored
    for match in stored:
        (scale, ratios), stride = ANCHOR_SHAPES[match[1]], int(match[2])
        grid = tuple(case[f"{match[0]}_hw"].tolist())
        anchors = grid_anchors(cell_anchors(stride, scale, ratios), grid, stride)
        close(anchors, case[match[0]], rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("path", cases("seamseg", "nms_proposals_detections"))
def test_nms(path: Path) -> None:
    for prefix in [*groups(path), "tie/"]:
        case = Case(path, prefix)
        if "boxes" not in case:
            continue
        limit = int(case["n_max"]) if "n_max" in case else 0
        keep = nms(case["boxes"], case["scores"], float(case["threshold"]), max_kept=limit)
        assert torch.equal(keep, case["keep"])


@pytest.mark.parametrize("path", cases("seamseg", "nms_proposals_detections"))
def test_proposals(path: Path) -> None:
    case = Case(path, "prop/")
    cfg = json.loads(case.text("cfg"))
    for mode in ("train", "val"):
        rule = ProposalRule(
            cfg["nms"], cfg[f"pre_{mode}"], cfg[f"post_{mode}"], min_size=cfg["min_size"]
        )
        for image, (boxes, scores) in enumerate(zip(case["boxes"], case["scores"], strict=True)):
            found, _ = select_proposals(boxes, scores, (10**6, 10**6), rule)
            if f"{mode}{image}" in case:
                assert torch.equal(found, case[f"{mode}{image}"])
            else:
                assert bool(case[f"{mode}{image}_is_none"]) and len(found) == 0


@pytest.mark.parametrize("path", cases("seamseg", "nms_proposals_detections"))
def test_detections(path: Path) -> None:
    case = Case(path, "det")
    seen = 0
    for k in range(10):
        if f"{k}/max_predictions" not in case:
            break
        seen += 1
        rule = DetectionRule(0.05, 0.5, int(case[f"{k}/max_predictions"]))
        found = select_detections(case["/boxes"], case["/scores"][:, 1:], rule)
        close(found.boxes, case[f"{k}/bbx"], rtol=0, atol=0)
        assert torch.equal(found.classes, case[f"{k}/cls"])
        close(found.scores, case[f"{k}/obj"], rtol=0, atol=0)
    assert seen > 0


def rpn_settings(cfg: dict[str, Any]) -> RpnSettings:
    return RpnSettings(
        anchor_ratios=cfg["ratios"],
        anchor_scale=cfg["scale"],
        fpn_levels=len(cfg["strides"]),
        num_samples=None,
        pos_threshold=cfg["pos"],
        neg_threshold=cfg["neg"],
        void_threshold=cfg["void"],
        sigma=cfg["sigma"],
        nms_threshold=cfg["nms"],
        num_pre_nms_train=cfg["pre_train"],
        num_post_nms_train=cfg["post_train"],
        min_size=0,
    )


@pytest.mark.parametrize("path", cases("seamseg", "rpn_training"))
def test_rpn_training(path: Path) -> None:
    for prefix in groups(path):
        case = Case(path, prefix)
        cfg = json.loads(case.text("cfg"))
        settings = rpn_settings(cfg)
        rule = SeamlessTargets(settings, RoiSettings())
        levels = [case[f"obj{k}"].requires_grad_() for k in range(len(cfg["strides"]))]
        boxes = [case[f"bbx{k}"] for k in range(len(cfg["strides"]))]
        logits, codes = flatten_levels(levels, boxes)
        anchors = torch.cat(
            [
                grid_anchors(
                    cell_anchors(stride, cfg["scale"], cfg["ratios"]), tuple(x.shape[2:]), stride
                )
                for x, stride in zip(levels, cfg["strides"], strict=True)
            ]
        )
        sizes = case.sizes("valid_size")
        matches, targets = [], []
        for k, size in enumerate(sizes):
            truth_boxes = case[f"gt{k}"] if f"gt{k}" in case else torch.zeros(0, 4)
            count = len(truth_boxes)
            classes, ids = torch.zeros(count).long(), torch.arange(count)
            truth = ThingTruth(truth_boxes, classes, ids, case.get(f"crowd{k}"))
            match = sample_anchors(rule.assign_anchors(anchors, truth, size), settings, None)
            assert torch.equal(match, case["match"][k].long())
            positive = match >= 0
            labels = torch.where(positive, 1, torch.where(match == NEGATIVE, 0, -1))
            assert torch.equal(labels, case["obj_lbl"][k].long())
            targets.append(encode_boxes(anchors[positive], truth_boxes[match[positive]]))
            close(targets[-1].sum(0), case["bbx_lbl_sum"][k], rtol=1e-4, atol=1e-4)
            matches.append(match)
        (obj, obj_weight), (bbx, bbx_weight) = rpn_losses(
            logits, codes, torch.stack(matches), torch.cat(targets), cfg["sigma"]
        )
        close(obj / obj_weight, case["obj_loss"])
        close(bbx / bbx_weight, case["bbx_loss"])
        (obj / obj_weight + bbx / bbx_weight).backward()
        for k, level in enumerate(levels):
            close(level.grad, case[f"grad_obj{k}"], rtol=1e-4, atol=1e-8)
        rule = ProposalRule(cfg["nms"], cfg["pre_train"], cfg["post_train"])
        decoded = decode_boxes(anchors, codes)
        for k, size in enumerate(sizes):
            found, _ = select_proposals(decoded[k], logits[k].detach(), size, rule)
            close(found, case[f"proposals{k}"], rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("path", cases("seamseg", "roi_sampling"))
def test_roi_sampling(path: Path) -> None:
    case = Case(path)
    for mode in ("bilinear", "nearest"):
        for short, padding in (("border", "border"), ("zero", "zeros")):
            prefix = f"{mode}_{short}"
            x = case["x"].requires_grad_()
            size = tuple(case[f"{prefix}/y"].shape[2:])
            y = roi_sample(x, case["boxes"], case["idx"], size, interpolation=mode, padding=padding)  # type: ignore[arg-type]
            close(y, case[f"{prefix}/y"])
            y.backward(case["grad_y"])
            close(x.grad, case[f"{prefix}/grad_x"])
            inside = valid_samples(case["boxes"], tuple(x.shape[2:]), size)
            assert torch.equal(inside, case[f"{prefix}/mask"].bool())
    labels = case["labels_nearest"]
    zeros = torch.zeros(len(labels), dtype=torch.int64)
    sampled = roi_sample(
        case["labels"], case["boxes"], zeros, tuple(labels.shape[2:]), interpolation="nearest"
    )
    assert torch.equal(sampled, labels)


@pytest.mark.parametrize("path", cases("seamseg", "roi_sampling"))
def test_roi_sampling_from_a_pyramid(path: Path) -> None:
    case = Case(path, "fpn/")
    levels = [case[f"x{k}"] for k in range(case.numbers("x"))]
    image_size = tuple(case["img_size"].tolist())
    size = tuple(case["rois"].shape[2:])
    rois = roi_sample_fpn(levels, case["boxes"], case["idx"], image_size, size)
    close(rois, case["rois"])
    assert torch.equal(fpn_levels(case["boxes"], len(levels)).float(), case["level"])
    averaged = roi_sample_fpn(levels, case["boxes"], case["idx"], image_size, size, average=2)
    close(averaged, F.avg_pool2d(case["rois"], 2))


@pytest.mark.parametrize("path", cases("seamseg", "roi_training_inference"))
def test_roi_training(path: Path) -> None:
    case = Case(path)
    cfg = json.loads(case.text("cfg"))
    settings = RoiSettings(
        num_samples=cfg["num_samples"],
        pos_ratio=cfg["pos_ratio"],
        pos_threshold=cfg["pos"],
        neg_threshold_hi=cfg["neg_hi"],
        neg_threshold_lo=cfg["neg_lo"],
        void_threshold=cfg["void"],
    )
    rule = SeamlessTargets(RpnSettings(), settings)
    chosen = []
    for k in range(case.numbers("in/idmap")):
        target = PanopticTarget(
            case[f"in/idmap{k}"], case[f"in/cat{k}"], case[f"in/iscrowd{k}"].bool()
        )
        truth = thing_truth(target, cfg["num_stuff"], torch.float32)
        close(truth.boxes_yxyx, case[f"in/gt_boxes{k}"], rtol=0, atol=0)
        assert torch.equal(truth.things + cfg["num_stuff"], case[f"in/gt_cat{k}"])
        assert torch.equal(truth.ids, case[f"in/gt_ids{k}"][:, 0])
        if f"in/crowd{k}" in case:
            assert torch.equal(truth.crowd, case[f"in/crowd{k}"])
        rois = roi_targets(rule, case[f"in/proposals{k}"], truth, target.ids, None)
        close(rois.boxes, case[f"match/proposals{k}"], rtol=0, atol=0)
        assert torch.equal(rois.match, case[f"match/match{k}"])
        assert torch.equal(rois.labels, case[f"lbl/cls{k}"])
        close(rois.codes, case[f"lbl/bbx{k}"])
        masks = case[f"lbl/msk{k}"]
        assert (rois.masks != masks).float().mean() <= 0.005
        chosen.append((rois, masks))
    logits = [case[f"loss/{name}_logits"].float() for name in ("cls", "bbx", "msk")]
    cls, bbx, msk = (x.requires_grad_() for x in logits)
    labels = torch.cat([rois.labels for rois, _ in chosen])
    codes = torch.cat([rois.codes for rois, _ in chosen])
    losses = {
        "cls": roi_class_loss(cls, labels),
        "bbx": roi_box_loss(bbx, labels, codes, sigma=1.0),
        "msk": roi_mask_loss(msk, labels, torch.cat([masks for _, masks in chosen])),
    }
    for name, (total, weight) in losses.items():
        close(total / weight, case[f"loss/{name}"])
        (total / weight).backward()
    close(cls.grad, case["loss/grad_cls"], rtol=1e-4, atol=1e-7)
    close(bbx.grad, case["loss/grad_bbx"], rtol=1e-4, atol=1e-7)
    close(msk.grad.sum((2, 3)), case["loss/grad_msk_sum"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("path", cases("seamseg", "roi_training_inference"))
def test_roi_inference(path: Path) -> None:
    case = Case(path)
    cfg = json.loads(case.text("cfg"))
    settings = NetworkSettings(
        body=BodySettings(backbone="resnet18"),
        roi=RoiSettings(
            nms_threshold=cfg["nms"],
            score_threshold=cfg["score"],
            max_predictions=cfg["max_predictions"],
        ),
    )
    proposals = [case[f"in/proposals{k}"] for k in range(case.numbers("in/proposals"))]
    network = SeamlessNetwork(settings, num_stuff=cfg["num_stuff"], num_thing=cfg["num_thing"])
    found = network.detections(
        proposals, case["inf/cls_logits"], case["inf/bbx_logits"], cfg["valid_size"]
    )
    shared = case["inf/msk_logits_shared"].float()[0]
    for k, detection in enumerate(found):
        close(detection.boxes, case[f"inf/bbx{k}"], rtol=1e-5, atol=1e-4)
        assert torch.equal(detection.classes, case[f"inf/cls{k}"])
        close(detection.scores, case[f"inf/obj{k}"])
        means = shared[detection.classes].mean((1, 2))
        close(means, case[f"inf/msk{k}_mean"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("path", cases("seamseg", "semantic_loss"))
def test_semantic_loss(path: Path) -> None:
    case = Case(path)
    size = tuple(case["img_size"].tolist())
    targets = [case[f"sem{k}"] for k in range(case.numbers("sem"))]
    with np.load(path) as file:
        modes = sorted({k.split("/")[0] for k in file.files if k.startswith("ohem_")})
    for mode in modes:
        value = mode.removeprefix("ohem_")
        fraction = None if value == "none" else float(value)
        for chunk_pixels in (1, 200, 1 << 20):
            logits = case["logits"].requires_grad_()
            total, weight = bootstrapped_cross_entropy(
                logits, targets, size, fraction, chunk_pixels=chunk_pixels
            )
            close(total / weight, case[f"{mode}/loss"])
            (total / weight).backward()
            close(logits.grad, case[f"{mode}/grad"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("path", cases("seamseg", "semantic_loss"))
def test_semantic_prediction_and_smooth_l1(path: Path) -> None:
    case = Case(path)
    size = tuple(case["img_size"].tolist())
    logits = case["logits"]
    confusion = torch.zeros_like(case["confmat"])
    for k, valid in enumerate(case.sizes("valid_size")):
        found = upsampled_argmax(logits[k], size, valid, chunk_pixels=100)
        assert (found != case[f"pred{k}"]).sum() <= 3
        known = case[f"sem{k}"] != 255
        pairs = case[f"sem{k}"][known] * confusion.shape[1] + found[known]
        confusion += torch.bincount(pairs, minlength=confusion.numel()).view_as(confusion)
    assert (confusion - case["confmat"]).abs().sum() <= 6
    x = case["smooth_l1/x"]
    for sigma in (1, 3):
        close(smooth_l1(x, torch.zeros_like(x), sigma), case[f"smooth_l1/sigma{sigma}"])


def test_state_dict_has_the_original_names_and_shapes() -> None:
    network = SeamlessNetwork(vistas_r50(), num_stuff=28, num_thing=37)
    parameters = {name for name, _ in network.named_parameters()}
    with key_list("seamseg", "state_dict.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = {f"{row['module']}.{row['key']}": row for row in rows}
    found = network.state_dict()
    assert set(found) == set(expected)
    for name, row in expected.items():
        assert "x".join(map(str, found[name].shape)) == row["shape"], name
        assert (name in parameters) == (row["is_parameter"] == "1"), name
