"""What the heads of a region-based detector are trained on: anchors and RoIs are assigned to
instances, drawn, and given codes and masks. A system says how in a `TargetRule`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from eagleray_vision.detection.assignment import VOID, sample_matches
from eagleray_vision.detection.settings import RegionHeadSettings, RegionProposalSettings
from eagleray_vision.samples.target import PanopticTarget, ThingTruth

Size = tuple[int, int]


class TargetRule(Protocol):
    """How one system assigns, codes and cuts. Boxes are in its own axes and corners."""

    @property
    def rpn(self) -> RegionProposalSettings:
        """How many anchors are drawn."""

    @property
    def roi(self) -> RegionHeadSettings:
        """How many RoIs are drawn."""

    def instance_boxes(self, truth: ThingTruth) -> Tensor:
        """Return the instances' boxes, ``(g, 4)``."""

    def assign_anchors(self, anchors: Tensor, truth: ThingTruth, valid_size: Size) -> Tensor:
        """Return instance index, ``NEGATIVE`` or ``VOID`` of each anchor, ``(a,)`` int64."""

    def encode_anchors(self, anchors: Tensor, instances: Tensor) -> Tensor:
        """Return the codes that make boxes of instances out of anchors, both ``(p, 4)``."""

    def candidates(self, proposals: Tensor, truth: ThingTruth) -> Tensor:
        """Return the boxes that RoIs are drawn from, the instances' own in front."""

    def assign_rois(self, boxes: Tensor, truth: ThingTruth) -> Tensor:
        """Return instance index, ``NEGATIVE`` or ``VOID`` of each box, ``(k,)`` int64."""

    def encode_rois(self, boxes: Tensor, instances: Tensor) -> Tensor:
        """Return what the box head is to say of boxes that belong to instances' ones."""

    def cut_masks(self, boxes: Tensor, box_ids: Tensor, ids: Tensor) -> Tensor:
        """Return int8 masks ``(p, m, m)`` of segments in boxes, out of a map of segment ids."""


@dataclass(frozen=True, slots=True)
class AnchorTargets:
    """Drawn anchors of a batch.

    Attributes:
        match: ``(n, a)`` int64: instance index, ``NEGATIVE`` or ``VOID``.
        codes: Box codes of the positives, ``(p, 4)``, in the order of ``match >= 0``.
    """

    match: Tensor
    codes: Tensor


@dataclass(frozen=True, slots=True)
class RoiTargets:
    """RoIs of one image that enter the losses, positives first.

    Attributes:
        boxes: ``(r, 4)`` in pixels.
        match: Instance index or ``NEGATIVE``, ``(r,)`` int64.
        labels: Thing index + 1, 0 = background, ``(r,)`` int64.
        codes: Box codes of the positives, ``(p, 4)``.
        masks: Masks of the positives, ``(p, m, m)`` int8: 1, 0 or ``MASK_IGNORE``.
    """

    boxes: Tensor
    match: Tensor
    labels: Tensor
    codes: Tensor
    masks: Tensor


def sample_anchors(
    match: Tensor, settings: RegionProposalSettings, generator: torch.Generator | None
) -> Tensor:
    """Make anchors void that a random draw leaves out.

    Args:
        match: ``(a,)`` assignment.
        settings: How many are drawn.
        generator: As in `assignment.choose`.
    """
    if settings.num_samples is None:
        return match
    kept = torch.cat(sample_matches(match, settings.num_samples, settings.pos_ratio, generator))
    sampled = torch.full_like(match, VOID)
    sampled[kept] = match[kept]
    return sampled


def anchor_targets(
    rule: TargetRule,
    anchors: Tensor,
    truths: Sequence[ThingTruth],
    valid_sizes: Sequence[Size],
    generators: Sequence[torch.Generator | None],
) -> AnchorTargets:
    """Assign and draw the anchors of a batch.

    Args:
        rule: The system's.
        anchors: ``(a, 4)``.
        truths: Instances per image.
        valid_sizes: Unpadded height and width per image.
        generators: Of the random draw per image; ``None`` takes the first ones.
    """
    matches, codes = [], []
    for truth, size, generator in zip(truths, valid_sizes, generators, strict=True):
        match = sample_anchors(rule.assign_anchors(anchors, truth, size), rule.rpn, generator)
        positive = match >= 0
        instances = rule.instance_boxes(truth)[match[positive]]
        codes.append(rule.encode_anchors(anchors[positive], instances))
        matches.append(match)
    return AnchorTargets(torch.stack(matches), torch.cat(codes))


def roi_targets(
    rule: TargetRule,
    proposals: Tensor,
    truth: ThingTruth,
    ids: Tensor,
    generator: torch.Generator | None,
) -> RoiTargets:
    """Draw an image's RoIs, and say what the heads should say of them.

    Args:
        rule: The system's.
        proposals: ``(k, 4)``.
        truth: Instances.
        ids: Segment id per pixel, ``(h, w)``; 0 = void.
        generator: Of the random draw; ``None`` takes the first ones.
    """
    boxes = rule.candidates(proposals, truth)
    match = rule.assign_rois(boxes, truth)
    positive, negative = sample_matches(match, rule.roi.num_samples, rule.roi.pos_ratio, generator)
    kept = torch.cat([positive, negative])
    instance = match[positive]
    labels = torch.zeros_like(kept)
    labels[: positive.shape[0]] = truth.things[instance] + 1
    return RoiTargets(
        boxes=boxes[kept],
        match=match[kept],
        labels=labels,
        codes=rule.encode_rois(boxes[positive], rule.instance_boxes(truth)[instance]),
        masks=rule.cut_masks(boxes[positive], truth.ids[instance], ids),
    )


def batch_roi_targets(
    rule: TargetRule,
    proposals: Sequence[Tensor],
    truths: Sequence[ThingTruth],
    targets: Sequence[PanopticTarget],
    generators: Sequence[torch.Generator | None],
) -> list[RoiTargets]:
    """Return what `roi_targets` returns for every image of a batch.

    RoIs then come image by image, positives first within each; so do all that is computed of them.
    """
    return [
        roi_targets(rule, boxes, truth, target.ids, generator)
        for boxes, truth, target, generator in zip(
            proposals, truths, targets, generators, strict=True
        )
    ]
