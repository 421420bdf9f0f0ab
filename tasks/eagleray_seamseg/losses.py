"""The six losses of Seamless (docs/originals/seamseg.md, 2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from eagleray.task import LossTerm
from eagleray_seamseg.model.network import SeamlessNetwork, Size
from eagleray_seamseg.targets import SeamlessTargets
from eagleray_vision.losses.bootstrapped_ce import bootstrapped_cross_entropy
from eagleray_vision.losses.detection import (
    roi_box_loss,
    roi_class_loss,
    roi_mask_loss,
    rpn_losses,
)
from eagleray_vision.samples.region_targets import anchor_targets, batch_roi_targets
from eagleray_vision.samples.target import PanopticTarget, thing_truth

LOSS_NAMES = ("obj", "bbx", "roi_cls", "roi_bbx", "roi_msk", "sem")
"""Names of the losses, in the order of ``NetworkSettings.loss_weights``."""

_Pair = tuple[Tensor, Tensor]


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
    truths = [thing_truth(t, network.num_stuff, rpn.anchors.dtype) for t in targets]
    rule = SeamlessTargets(settings.rpn, settings.roi)
    sampled = anchor_targets(rule, rpn.anchors, truths, valid_sizes, generators)
    rois = batch_roi_targets(rule, proposals, truths, targets, generators)
    features = network.roi_features(levels, [r.boxes for r in rois], image_size)
    class_logits, codes, mask_logits = network.roi_outputs(features)
    labels = torch.cat([r.labels for r in rois])
    objectness, boxes = rpn_losses(
        rpn.logits, rpn.codes, sampled.match, sampled.codes, settings.rpn.sigma
    )
    return {
        "obj": objectness,
        "bbx": boxes,
        "roi_cls": roi_class_loss(class_logits, labels),
        "roi_bbx": roi_box_loss(
            codes, labels, torch.cat([r.codes for r in rois]), settings.roi.sigma
        ),
        "roi_msk": roi_mask_loss(mask_logits, labels, torch.cat([r.masks for r in rois])),
    }
