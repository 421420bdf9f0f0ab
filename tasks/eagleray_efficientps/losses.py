"""The six losses of EfficientPS; every one counts alike."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import LossTerm
from eagleray_efficientps.model.network import EfficientPsNetwork, Size
from eagleray_efficientps.targets import EfficientPsTargets, num_counted
from eagleray_vision.losses.bootstrapped_ce import pixel_losses
from eagleray_vision.losses.detection import (
    roi_box_loss,
    roi_class_loss,
    roi_mask_loss,
    rpn_losses,
)
from eagleray_vision.samples.region_targets import anchor_targets, batch_roi_targets
from eagleray_vision.samples.target import PanopticTarget, thing_truth

LOSS_NAMES = ("semantic", "rpn_class", "rpn_box", "roi_class", "roi_box", "roi_mask")

_ROAD = 0
"""Class that the released code pads labels with."""

_Pair = tuple[Tensor, Tensor]


def worst_pixels(losses: Tensor, fraction: float | None) -> _Pair:
    """Return (sum, number) of the ``ceil(fraction * n)`` largest of n pixel losses.

    Args:
        losses: Any shape; void pixels are zeros and stay in n.
        fraction: ``None`` or 1: all.
    """
    flat = losses.flatten()
    if fraction is not None and fraction < 1:
        flat = flat.topk(math.ceil(fraction * flat.numel()), sorted=False).values
    return flat.sum(), torch.tensor(flat.numel(), device=flat.device)


def semantic_loss(
    logits: Tensor,
    targets: Sequence[Tensor],
    image_size: Size,
    fraction: float | None,
    *,
    pad_with_road: bool,
    chunk_pixels: int = 1 << 18,
) -> _Pair:
    """Return (sum, number) of the worst pixel losses of the local batch.

    Args:
        logits: ``(n, classes, h, w)`` at the feature resolution of the padded images.
        targets: Per image ``(H, W)`` int64 classes of the unpadded image, 255 = void.
        image_size: Height and width of the padded images.
        fraction: Share of the worst pixels.
        pad_with_road: Padding is road, as in the released code, instead of left out.
        chunk_pixels: Pixels whose logits are held at a time; no result depends on it.
    """
    losses = []
    for image, target in zip(logits, targets, strict=True):
        if pad_with_road:
            missing = (0, image_size[1] - target.shape[1], 0, image_size[0] - target.shape[0])
            target = F.pad(target, missing, value=_ROAD)
        losses.append(pixel_losses(image, target, image_size, chunk_pixels=chunk_pixels).flatten())
    return worst_pixels(torch.cat(losses), fraction)


def panoptic_losses(
    network: EfficientPsNetwork,
    images: Tensor,
    valid_sizes: Sequence[Size],
    targets: Sequence[PanopticTarget],
    *,
    generators: Sequence[torch.Generator] | None,
    faithful: bool,
) -> dict[str, LossTerm]:
    """Run the network on a batch and return its losses.

    Every call runs the same modules in the same order, whatever the images hold: heads without
    RoIs run on empty tensors.

    Args:
        network: In training mode its training numbers of proposals and batch statistics apply.
        images: Normalized and zero-padded images, ``(n, 3, h, w)``.
        valid_sizes: Height and width of each image before padding.
        targets: Ground truth per image, on the images' device.
        generators: CPU generator per image for choosing anchors and RoIs; ``None`` takes the first
            ones instead of random ones (for comparisons, not for training).
        faithful: Pad labels with road and do not ignore crowds, as the released code.

    Returns:
        Terms by name, in the order of ``LOSS_NAMES``.
    """
    image_size = (images.shape[2], images.shape[3])
    levels = network.features(images)
    semantic = network.settings.semantic
    pairs = {
        "semantic": semantic_loss(
            network.semantic_logits(levels),
            [t.classes[t.ids] for t in targets],
            image_size,
            semantic.worst_fraction,
            pad_with_road=faithful,
            chunk_pixels=semantic.loss_chunk_pixels,
        )
    }
    chosen = list(generators) if generators is not None else [None] * len(targets)
    pairs |= _instance_losses(network, levels, valid_sizes, targets, chosen, faithful=faithful)
    return {name: LossTerm(*pairs[name]) for name in LOSS_NAMES}


def _instance_losses(
    network: EfficientPsNetwork,
    levels: Sequence[Tensor],
    valid_sizes: Sequence[Size],
    targets: Sequence[PanopticTarget],
    generators: Sequence[torch.Generator | None],
    *,
    faithful: bool,
) -> dict[str, _Pair]:
    """Return the (sum, weight) pairs of RPN, box head and mask head."""
    settings = network.settings
    rpn = network.run_rpn(levels)
    proposals = network.proposals(rpn, valid_sizes)
    anchors = rpn.anchors
    truths = [thing_truth(t, network.num_stuff, anchors.dtype) for t in targets]
    if faithful:
        truths = [replace(truth, crowd=None) for truth in truths]
    rule = EfficientPsTargets(settings.rpn, settings.roi)
    sampled = anchor_targets(rule, anchors, truths, valid_sizes, generators)
    (objectness, _), (boxes, _) = rpn_losses(
        rpn.logits, rpn.codes, sampled.match, sampled.codes, settings.rpn.beta**-0.5
    )
    counted = num_counted(sampled.match)
    rois = batch_roi_targets(rule, proposals, truths, targets, generators)
    all_boxes = [r.boxes for r in rois]
    labels = torch.cat([r.labels for r in rois])
    class_logits, codes = network.box_head(
        network.roi_features(levels, all_boxes, settings.roi.box_size)
    )
    positives = [r.boxes[r.labels > 0] for r in rois]
    mask_logits = network.mask_head(
        network.roi_features(levels, positives, settings.roi.mask_size)
    )[:, 1:]
    return {
        "rpn_class": (objectness, counted),
        "rpn_box": (boxes, counted),
        "roi_class": roi_class_loss(class_logits, labels),
        "roi_box": roi_box_loss(
            codes[:, 1:], labels, torch.cat([r.codes for r in rois]), settings.roi.beta**-0.5
        ),
        "roi_mask": roi_mask_loss(
            mask_logits, labels[labels > 0], torch.cat([r.masks for r in rois])
        ),
    }
