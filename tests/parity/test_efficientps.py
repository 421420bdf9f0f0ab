"""Layers, heads, losses, targets and detections of EfficientPS against the original's numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.cases import cases
from tests.parity.efficientps_case import EfficientPsCase, near
from tests.parity.golden import close
from torch.nn import functional as F

from eagleray_efficientps.losses import worst_pixels
from eagleray_efficientps.model.config import NetworkSettings, RoiSettings, RpnSettings
from eagleray_efficientps.model.efficientnet import EfficientNet
from eagleray_efficientps.model.instance_head import BoxHead, MaskHead
from eagleray_efficientps.model.network import (
    EfficientPsNetwork,
    decode_proposals,
    edge_based,
)
from eagleray_efficientps.model.pyramid import TwoWayPyramid
from eagleray_efficientps.model.semantic_head import SemanticHead
from eagleray_efficientps.targets import EfficientPsTargets, mask_targets, num_counted
from eagleray_vision.detection.anchors import grid_anchors, inclusive_cell_anchors
from eagleray_vision.detection.assignment import assign_by_iou, best_overlaps
from eagleray_vision.detection.box_coding import decode_boxes, encode_boxes
from eagleray_vision.detection.boxes import clip_boxes
from eagleray_vision.detection.detections import DetectionRule, select_detections
from eagleray_vision.detection.mask_paste import inverse_roi_box, paste_mask_in_box
from eagleray_vision.detection.nms import nms
from eagleray_vision.detection.proposals import ProposalRule, select_proposals
from eagleray_vision.detection.roi_sampling import fpn_levels, roi_align
from eagleray_vision.heads.rpn import RpnHead, RpnOutput, flatten_levels
from eagleray_vision.layers.activated_norm import ActivatedBatchNorm, NormSpec
from eagleray_vision.losses.bootstrapped_ce import pixel_losses
from eagleray_vision.losses.detection import (
    roi_box_loss,
    roi_class_loss,
    roi_mask_loss,
    rpn_losses,
)
from eagleray_vision.samples.region_targets import anchor_targets
from eagleray_vision.samples.target import ThingTruth

YXYX = [1, 0, 3, 2]
LEVELS = ("P4", "P8", "P16", "P32")


@pytest.mark.parametrize("path", cases("efficientps", "iabn"), ids=lambda p: p.stem)
def test_activated_norm(path: Path) -> None:
    case = EfficientPsCase(path)
    meta = case.meta
    norm = case.load(
        ActivatedBatchNorm(
            case["in.x"].shape[1],
            activation=meta["activation"],
            slope=meta["slope"],
            eps=meta["eps"],
            momentum=meta["momentum"],
        )
    )
    x = case["in.x"].requires_grad_()
    close(norm.eval()(x), case["out.y_eval"])
    y = norm.train()(x)
    close(y, case["out.y_train"])
    y.backward(case["in.dy"])
    close(x.grad, case["out.grad_x"])
    close(norm.weight.grad, case["out.grad_weight"])
    close(norm.bias.grad, case["out.grad_bias"])
    close(norm.running_mean, case["out.running_mean_after"])
    close(norm.running_var, case["out.running_var_after"])


@pytest.mark.parametrize("path", cases("efficientps", "effnet"), ids=lambda p: p.stem)
def test_backbone(path: Path) -> None:
    case = EfficientPsCase(path)
    meta = case.meta
    network = EfficientNet(meta["width"], meta["depth"], NormSpec(kind="batch", eps=meta["eps"]))
    for stage, blocks in zip(network.stages, meta["stages"], strict=True):
        assert [
            {
                "k": b.depthwise.conv.kernel_size[0],
                "out": b.project.conv.out_channels,
                "s": b.depthwise.conv.stride[0],
                "type": "ds" if b.expand is None else "mb",
            }
            for b in stage
        ] == blocks
    assert sum(p.numel() for p in network.parameters()) == meta["params"]
    case.load(network, "backbone.", "backbone.").eval()
    with torch.no_grad():
        for level, found in zip(("C2", "C3", "C4", "C5"), network(case["in.x"]), strict=True):
            near(found, case[f"out.{level}"])


@pytest.mark.parametrize("path", cases("efficientps", "fpn"), ids=lambda p: p.stem)
def test_pyramid(path: Path) -> None:
    case = EfficientPsCase(path)
    meta = case.meta
    pyramid = TwoWayPyramid(
        meta["in_channels"], meta["out_channels"], NormSpec(kind="batch", eps=meta["eps"])
    )
    case.load(pyramid, "neck.", "pyramid.").eval()
    with torch.no_grad():
        outputs = pyramid([case[f"in.{level}"] for level in ("C2", "C3", "C4", "C5")])
    for level, found in zip(LEVELS, outputs, strict=True):
        near(found, case[f"out.{level}"])


@pytest.mark.parametrize("path", cases("efficientps", "semhead"), ids=lambda p: p.stem)
def test_semantic_head(path: Path) -> None:
    case = EfficientPsCase(path)
    meta = case.meta
    head = SemanticHead(
        meta["in_channels"],
        meta["conv_channels"],
        meta["num_classes"],
        NormSpec(kind="batch", eps=meta["eps"]),
    )
    case.load(head, "semantic_head.", "semantic_head.").eval()
    levels = [case[f"in.{level}"] for level in LEVELS]
    with torch.no_grad():
        _, _, d16, d32 = head.level_features(levels)
        near(d32, case["out.dpc32"])
        near(d16, case["out.dpc16"])
        near(head.fine[0](levels[1]), case["out.lsfe8"])
        logits = head(levels)
        size = [4 * side for side in logits.shape[2:]]
        near(F.interpolate(logits, size, mode="bilinear"), case["out.logits"])


@pytest.mark.parametrize("path", cases("efficientps", "semloss"), ids=lambda p: p.stem)
def test_semantic_loss_and_gradient(path: Path) -> None:
    case = EfficientPsCase(path)
    logits = case["in.logits"].requires_grad_()
    labels = case["in.labels"].long()
    assert case.meta["ignore"] == 255
    losses = [
        pixel_losses(image, label, tuple(label.shape)).flatten()
        for image, label in zip(logits, labels, strict=True)
    ]
    total, count = worst_pixels(torch.cat(losses), case.meta["topk_fraction"])
    loss = total / count
    close(loss, case["out.loss"])
    loss.backward()
    close(logits.grad, case["out.grad_logits"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("path", cases("efficientps", "maskhead"), ids=lambda p: p.stem)
def test_mask_head(path: Path) -> None:
    case = EfficientPsCase(path)
    x, labels = case["in.x"], case["in.labels"]
    num_things = case.meta["num_classes_incl_bg"] - 1
    head = MaskHead(x.shape[1], num_things, NormSpec(kind="batch", eps=case.meta["eps"]))
    case.load(head, "mask_head.", "mask_head.").eval()
    with torch.no_grad():
        logits = head(x)
        near(logits, case["out.logits"])
        of_class = logits[torch.arange(len(labels)), labels]
        near(head.masks_of_classes(x, labels - 1), of_class)
        total, count = roi_mask_loss(logits[:, 1:], labels, case["in.targets"].to(torch.int8))
    close(total / count, case["out.loss"][0])


def rpn_output(case: EfficientPsCase, settings: RpnSettings) -> RpnOutput:
    """Run the head of a case, comparing its outputs and anchors."""
    inputs = {int(level[1:]): case[f"in.{level}"] for level in LEVELS}
    channels = next(iter(inputs.values())).shape[1]
    head = RpnHead(channels, len(settings.anchor_ratios), None, hidden_channels=channels)
    case.load(head, "rpn_head.", "rpn_head.").eval()
    logits, codes, anchors = [], [], []
    with torch.no_grad():
        for stride, x in inputs.items():
            objectness, deltas = head(x)
            close(objectness, case[f"out.objectness_{stride}"])
            close(deltas, case[f"out.deltas_{stride}"])
            cell = inclusive_cell_anchors(stride, settings.anchor_scale, settings.anchor_ratios)
            grid = grid_anchors(cell, tuple(x.shape[2:]), stride)[:, YXYX]
            assert torch.equal(grid, case[f"out.anchors_{stride}"])
            logits.append(objectness)
            codes.append(deltas)
            anchors.append(grid)
    flat = flatten_levels(logits, codes)
    return RpnOutput(*flat, torch.cat(anchors), tuple(len(a) for a in anchors))


@pytest.mark.parametrize("path", cases("efficientps", "rpn"), ids=lambda p: p.stem)
def test_rpn_outputs_anchors_proposals_and_losses(path: Path) -> None:
    case = EfficientPsCase(path)
    meta, settings = case.meta, RpnSettings(num_samples=None)
    output = rpn_output(case, settings)
    rule = ProposalRule(
        meta["nms_thr"],
        meta["nms_pre"],
        meta["nms_post"],
        per_level=True,
        max_total=meta["max_num"],
        suppress_equal=True,  # the compiled CPU kernel's rule
        inclusive=True,
    )
    size = tuple(meta["img_shape"])
    boxes, scores = select_proposals(
        decode_proposals(output, 0),
        output.logits[0].sigmoid(),
        size,
        rule,
        level_sizes=output.level_sizes,
        axes="xyxy",
    )
    expected = case["out.proposals"]
    close(scores, expected[:, 4], rtol=1e-5, atol=1e-6)
    close(boxes, expected[:, :4], rtol=1e-5, atol=1e-3)

    edges = edge_based(case["in.gt_boxes"])[:, YXYX]
    things = torch.zeros(len(edges)).long()
    truth = ThingTruth(edges, things, torch.arange(len(edges)) + 1, crowd=None)
    rule = EfficientPsTargets(settings, RoiSettings())
    sampled = anchor_targets(rule, output.anchors, [truth], [size], [None])
    counted = num_counted(sampled.match)
    first = code = 0
    for level, length in enumerate(output.level_sizes):
        here = slice(first, first + length)
        match = sampled.match[:, here]
        positives = int((match >= 0).sum())
        (objectness, _), (box, _) = rpn_losses(
            output.logits[:, here],
            output.codes[:, here],
            match,
            sampled.codes[code : code + positives],
            settings.beta**-0.5,
        )
        close(objectness / counted, case["out.loss_cls"][level])
        close(box / counted, case["out.loss_box"][level])
        first, code = first + length, code + positives


@pytest.mark.parametrize("path", cases("efficientps", "box_codec"), ids=lambda p: p.stem)
def test_box_codes_and_pyramid_levels(path: Path) -> None:
    case = EfficientPsCase(path)
    boxes, stds = case["in.boxes"], torch.tensor(case.meta["stds"])
    close(encode_boxes(boxes, case["in.gt"], inclusive=True) / stds, case["out.encoded"])
    deltas = case["in.deltas36"].view(len(boxes), -1, 4) * stds
    decoded = decode_boxes(boxes[:, None], deltas, inclusive=True, clamp_both_sides=True)
    height, width = case.meta["clip_hw"]
    clipped = clip_boxes(decoded, (width, height), inclusive=True)
    close(clipped.flatten(1), case["out.decoded36"], rtol=1e-4, atol=1e-3)
    levels = fpn_levels(
        case["in.rois"][:, 1:],
        len(LEVELS),
        canonical_scale=RoiSettings().finest_scale_px,
        canonical_level=0,
        inclusive=True,
    )
    assert torch.equal(levels, case["out.roi_level"])


@pytest.mark.parametrize("path", cases("efficientps", "nms"), ids=lambda p: p.stem)
def test_suppression(path: Path) -> None:
    case = EfficientPsCase(path)
    boxes, scores = case["in.dets"][:, :4], case["in.dets"][:, 4]
    for name in case.names("out.keep_iou"):
        kept = nms(boxes, scores, int(name) / 100, inclusive=True)
        assert torch.equal(kept.sort().values, case[f"out.keep_iou{name}"])
    meta = case.meta
    rule = DetectionRule(
        meta["score_thr"], meta["iou_thr"], meta["max_num"], inclusive=True, class_order=False
    )
    scores = case["in.multi_scores"][:, 1:]
    multi = case["in.multi_boxes"].view(len(scores), -1, 4)[:, 1:]
    found = select_detections(multi, scores, rule)
    assert torch.equal(found.classes, case["out.multi_labels"])
    close(torch.cat([found.boxes, found.scores[:, None]], dim=1), case["out.multi_dets"])


@pytest.mark.parametrize("path", cases("efficientps", "box_head"), ids=lambda p: p.stem)
def test_box_head_detections_and_losses(path: Path) -> None:
    case = EfficientPsCase(path)
    meta, x, labels = case.meta, case["in.x"], case["in.labels"]
    weight = case["param.fc_cls.weight"]
    head = BoxHead(x.shape[1], weight.shape[0] - 1, x.shape[2], hidden_channels=weight.shape[1])
    case.load(head, "bbox_head.", "box_head.")
    with torch.no_grad():
        logits, codes = head(x)
        close(logits, case["out.cls"])
        close(codes.flatten(1), case["out.deltas"])
        total, count = roi_class_loss(logits, labels)
        close(total / count, case["out.loss_cls"])
        positive = case["in.box_targets"][labels > 0]
        total, count = roi_box_loss(codes[:, 1:], labels, positive, RoiSettings().beta ** -0.5)
        close(total / count, case["out.loss_box"])
    for suffix, changed in (("", {}), ("_scaled", meta["scaled"])):
        settings = RoiSettings(
            score_threshold=meta["score_thr"],
            nms_threshold=meta["iou_thr"],
            max_detections=changed.get("max_per_img", meta["max_per_img"]),
        )
        found = detections(case, settings, logits, codes, tuple(meta["img_shape"]))
        boxes = found.boxes / changed.get("scale_factor", 1.0)
        joined = torch.cat([boxes, found.scores[:, None]], dim=1)
        close(joined, case[f"out.det{suffix}"], rtol=1e-4, atol=1e-3)
        assert torch.equal(found.classes, case[f"out.det{suffix}_labels"])


def detections(case, settings, logits, codes, size):
    """Choose detections with the network's own code, whose size does not matter here."""
    network = EfficientPsNetwork.__new__(EfficientPsNetwork)
    torch.nn.Module.__init__(network)
    network.settings = NetworkSettings(roi=settings)
    return network.detections([case["in.rois"][:, 1:]], logits, codes, [size])[0]


@pytest.mark.parametrize("path", cases("efficientps", "assigner"), ids=lambda p: p.stem)
def test_assignment(path: Path) -> None:
    case = EfficientPsCase(path)
    boxes, truth = case["in.boxes"], case["in.gt"]
    for head in ("rpn", "rcnn"):
        positive, negative, least = case.meta[head]
        match = assign_by_iou(
            boxes,
            truth,
            pos_threshold=positive,
            neg_threshold=negative,
            force_best="ties",
            force_min_iou=least,
            inclusive=True,
        )
        assert torch.equal((match + 1).long(), case[f"out.{head}_gt_index"])
        close(best_overlaps(boxes, truth, inclusive=True).iou, case[f"out.{head}_max_iou"])
        labels = torch.where(match >= 0, case["in.gt_labels"][match.clamp(min=0)], 0)
        assert torch.equal(labels, case[f"out.{head}_labels"])


@pytest.mark.parametrize("path", cases("efficientps", "mask_target"), ids=lambda p: p.stem)
def test_mask_targets(path: Path) -> None:
    case = EfficientPsCase(path)
    for proposal, index, expected in zip(
        case["in.proposals"], case["in.gt_index"].tolist(), case["out.targets"], strict=True
    ):
        ids = case["in.gt_masks"][index].long()
        found = mask_targets(proposal[None], torch.tensor([1]), ids, case.meta["mask_size"])
        assert torch.equal(found[0], expected.to(torch.int8))


@pytest.mark.parametrize("path", cases("efficientps", "roi_align_legacy"), ids=lambda p: p.stem)
def test_roi_align(path: Path) -> None:
    case = EfficientPsCase(path)
    meta, rois = case.meta, case["in.rois"]
    side = meta["out_size"]
    found = roi_align(
        case["in.feature"],
        edge_based(rois[:, 1:])[:, YXYX],
        rois[:, 0].long(),
        (side, side),
        stride=1 / meta["spatial_scale"],
        samples=meta["sampling"],
    )
    close(found, case["out.pooled"])


@pytest.mark.parametrize("path", cases("efficientps", "mask_paste"), ids=lambda p: p.stem)
def test_mask_paste(path: Path) -> None:
    case = EfficientPsCase(path)
    masks, boxes, size = case["in.masks"], case["in.boxes"], tuple(case.meta["size"])
    inverse = inverse_roi_box(boxes[:, YXYX], tuple(masks.shape[2:]), size)
    close(inverse, case["out.inverse_boxes"], rtol=1e-4, atol=1e-3)
    found = torch.zeros(*masks.shape[:2], *size)
    for index, box in enumerate(boxes):
        for channel in range(masks.shape[1]):
            patch, (y0, x0, y1, x1) = paste_mask_in_box(masks[index, channel], box[YXYX], size)
            found[index, channel, y0:y1, x0:x1] = patch
    close(found, case["out.pasted"], rtol=1e-4, atol=1e-4)
    assert np.isfinite(found.numpy()).all()
