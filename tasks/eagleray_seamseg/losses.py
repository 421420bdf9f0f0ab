"""Training targets and the six losses of Seamless (docs/originals/seamseg.md, 1.8, 1.11, 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eagleray.task import LossTerm
from eagleray_seamseg.model.config import RoiSettings, RpnSettings
from eagleray_seamseg.model.network import SeamlessNetwork, Size
from eagleray_vision.detection.assignment import (
    VOID,
    assign_by_iou,
    sample_matches,
)
from eagleray_vision.detection.box_coding import encode_boxes
from eagleray_vision.detection.boxes import mask_coverage
from eagleray_vision.detection.roi_sampling import roi_sample
from eagleray_vision.losses.bootstrapped_ce import bootstrapped_cross_entropy
from eagleray_vision.losses.detection import (
    MASK_IGNORE,
    roi_box_loss,
    roi_class_loss,
    roi_mask_loss,
    rpn_losses,
)
from eagleray_vision.samples.target import PanopticTarget, ThingTruth, thing_truth

LOSS_NAMES = ("obj", "bbx", "roi_cls", "roi_bbx", "roi_msk", "sem")
"""Names of the losses, in the order of ``NetworkSettings.loss_weights``."""

_Pair = tuple[Tensor, Tensor]


def _outside_crowd(boxes: Tensor, crowd: Tensor | None, void_threshold: float) -> Tensor:
    """Return positions of the boxes that a crowd covers by less than ``void_threshold``.

    Beside a crowd, boxes without area (0 / 0) are left out too, as in the original.
    """
    if crowd is None or void_threshold == 0:
        return torch.arange(boxes.shape[0], device=boxes.device)
    return (mask_coverage(boxes, crowd) < void_threshold).nonzero()[:, 0]


def assign_anchors(
    anchors_yxyx: Tensor, truth: ThingTruth, valid_size: Size, settings: RpnSettings
) -> Tensor:
    """Assign anchors to instances (steps 1 to 3 of 1.8).

    Returns:
        ``(a,)`` int64: instance index, ``NEGATIVE`` or ``VOID``.
    """
    limit = anchors_yxyx.new_tensor(valid_size)
    inside = (anchors_yxyx[:, :2] >= 0).all(1) & (anchors_yxyx[:, 2:] <= limit).all(1)
    usable = inside.nonzero()[:, 0]
    usable = usable[_outside_crowd(anchors_yxyx[usable], truth.crowd, settings.void_threshold)]
    match = torch.full_like(inside, VOID, dtype=torch.int64)
    match[usable] = assign_by_iou(
        anchors_yxyx[usable],
        truth.boxes_yxyx,
        pos_threshold=settings.pos_threshold,
        neg_threshold=settings.neg_threshold,
        force_best="one",
    )
    return match


def sample_anchors(
    match: Tensor, settings: RpnSettings, generator: torch.Generator | None
) -> Tensor:
    """Make anchors void that a random sample leaves out (step 4 of 1.8)."""
    if settings.num_samples is None:
        return match
    kept = torch.cat(sample_matches(match, settings.num_samples, settings.pos_ratio, generator))
    sampled = torch.full_like(match, VOID)
    sampled[kept] = match[kept]
    return sampled


@dataclass(frozen=True, slots=True)
class RoiTargets:
    """RoIs of one image that enter the losses, positives first.

    Args:
        boxes_yxyx: ``(r, 4)`` in pixels.
        match: Instance index or ``NEGATIVE``, ``(r,)`` int64.
        labels: Thing index + 1, 0 = background, ``(r,)`` int64.
        codes: Box codes of the positives, ``(p, 4)``.
        masks: Masks of the positives, ``(p, h, w)`` int8: 1, 0 or -1 (left out).
    """

    boxes_yxyx: Tensor
    match: Tensor
    labels: Tensor
    codes: Tensor
    masks: Tensor


def roi_targets(
    proposals: Tensor,
    truth: ThingTruth,
    ids: Tensor,
    settings: RoiSettings,
    generator: torch.Generator | None,
) -> RoiTargets:
    """Choose an image's RoIs and their targets.

    Args:
        proposals: ``(k, 4)`` yxyx in pixels; the instances' boxes are put in front.
        truth: Instances; without any, no RoI is chosen.
        ids: Segment id per pixel, ``(h, w)``; 0 = void.
        settings: Settings of the RoI head.
        generator: Of the random choice; ``None`` takes the first ones.
    """
    boxes = torch.cat([truth.boxes_yxyx, proposals]) if len(truth.ids) else proposals[:0]
    boxes = boxes[_outside_crowd(boxes, truth.crowd, settings.void_threshold)]
    match = assign_by_iou(
        boxes,
        truth.boxes_yxyx,
        pos_threshold=settings.pos_threshold,
        neg_threshold=settings.neg_threshold_hi,
        neg_threshold_low=settings.neg_threshold_lo,
    )
    positive, negative = sample_matches(match, settings.num_samples, settings.pos_ratio, generator)
    kept = torch.cat([positive, negative])
    instance = match[positive]
    codes = encode_boxes(boxes[positive], truth.boxes_yxyx[instance])
    labels = torch.zeros_like(kept)
    labels[: positive.shape[0]] = truth.things[instance] + 1
    return RoiTargets(
        boxes_yxyx=boxes[kept],
        match=match[kept],
        labels=labels,
        codes=codes * codes.new_tensor(settings.bbx_reg_weights),
        masks=_mask_targets(boxes[positive], truth.ids[instance], ids, settings),
    )


def _mask_targets(boxes: Tensor, box_ids: Tensor, ids: Tensor, settings: RoiSettings) -> Tensor:
    """Sample the segment ids inside of boxes and compare them with the boxes' own."""
    size = (2 * settings.roi_size[0], 2 * settings.roi_size[1])
    image_idx = torch.zeros(boxes.shape[0], dtype=torch.int64, device=boxes.device)
    sampled = roi_sample(ids[None, None], boxes, image_idx, size, interpolation="nearest")[:, 0]
    masks = (sampled == box_ids[:, None, None]).to(torch.int8)
    return masks if settings.void_is_background else masks.masked_fill(sampled == 0, MASK_IGNORE)


def panoptic_losses(
    network: SeamlessNetwork,
    images: Tensor,
    valid_sizes: Sequence[Size],
    targets: Sequence[PanopticTarget],
    *,
    generators: Sequence[torch.Generator] | None,
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

    Returns:
        Terms by name, in the order of ``LOSS_NAMES``, with the settings' loss weights as factors;
        those of heads that ``network.layout`` leaves out are missing.

    Raises:
        FrozenRandomBackboneError: If frozen backbone modules were never given weights.
    """
    network.check_frozen_modules()
    settings = network.settings
    image_size = (images.shape[2], images.shape[3])
    levels = network.features(images)
    pairs: dict[str, _Pair] = {}
    if settings.has_instances:
        chosen = list(generators) if generators is not None else [None] * len(targets)
        pairs |= _instance_losses(network, levels, image_size, valid_sizes, targets, chosen)
    if settings.has_semantics:
        pairs["sem"] = bootstrapped_cross_entropy(
            network.semantic_logits(network.semantic_features(images, levels)),
            [t.classes[t.ids] for t in targets],
            image_size,
            settings.sem.ohem,
            chunk_pixels=settings.sem.loss_chunk_pixels,
        )
    factors = dict(zip(LOSS_NAMES, settings.loss_weights, strict=True))
    return {name: LossTerm(*pair, factors[name]) for name, pair in pairs.items()}


def _instance_losses(
    network: SeamlessNetwork,
    levels: Sequence[Tensor],
    image_size: Size,
    valid_sizes: Sequence[Size],
    targets: Sequence[PanopticTarget],
    generators: Sequence[torch.Generator | None],
) -> dict[str, _Pair]:
    """Return the (sum, weight) pairs of RPN and RoI heads."""
    settings = network.settings
    rpn = network.run_rpn(levels)
    proposals = network.proposals(rpn, valid_sizes)
    truths = [thing_truth(t, network.num_stuff, rpn.anchors_yxyx.dtype) for t in targets]
    match, anchor_codes = _anchor_targets(
        rpn.anchors_yxyx, truths, valid_sizes, settings.rpn, generators
    )
    rois = [
        roi_targets(boxes, truth, target.ids, settings.roi, generator)
        for boxes, truth, target, generator in zip(
            proposals, truths, targets, generators, strict=True
        )
    ]
    features = network.roi_features(levels, [r.boxes_yxyx for r in rois], image_size)
    class_logits, codes, mask_logits = network.roi_outputs(features)
    labels = torch.cat([r.labels for r in rois])
    objectness, boxes = rpn_losses(rpn.logits, rpn.codes, match, anchor_codes, settings.rpn.sigma)
    # RoIs come image by image, positives first within each: the same order as the targets'.
    return {
        "obj": objectness,
        "bbx": boxes,
        "roi_cls": roi_class_loss(class_logits, labels),
        "roi_bbx": roi_box_loss(
            codes, labels, torch.cat([r.codes for r in rois]), settings.roi.sigma
        ),
        "roi_msk": roi_mask_loss(mask_logits, labels, torch.cat([r.masks for r in rois])),
    }


def _anchor_targets(
    anchors_yxyx: Tensor,
    truths: Sequence[ThingTruth],
    valid_sizes: Sequence[Size],
    settings: RpnSettings,
    generators: Sequence[torch.Generator | None],
) -> tuple[Tensor, Tensor]:
    """Return the batch's sampled assignment ``(n, a)`` and the box codes of its positives."""
    matches, codes = [], []
    for truth, size, generator in zip(truths, valid_sizes, generators, strict=True):
        match = assign_anchors(anchors_yxyx, truth, size, settings)
        match = sample_anchors(match, settings, generator)
        positive = match >= 0
        codes.append(encode_boxes(anchors_yxyx[positive], truth.boxes_yxyx[match[positive]]))
        matches.append(match)
    return torch.stack(matches), torch.cat(codes)
