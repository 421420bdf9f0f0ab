"""Training targets of the RPN and of the box and mask heads, in the released code's conventions.

Boxes are xyxy with inclusive corners. Assignment is mmdetection 1's: a truth also takes all boxes
that are tied at its best overlap, and later truths override earlier ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_efficientps.model.config import RoiSettings, RpnSettings
from eagleray_vision.detection.assignment import VOID, assign_by_iou, sample_matches
from eagleray_vision.detection.box_coding import encode_boxes
from eagleray_vision.detection.boxes import mask_coverage
from eagleray_vision.samples.target import ThingTruth

Size = tuple[int, int]

CROWD_COVERAGE = 0.5
"""Share of a box in a crowd above which a box without an instance takes no part. The released code
never reads its list of crowds; instances of faithful training come without their crowds."""


def inclusive_boxes(truth: ThingTruth) -> Tensor:
    """Return the instances' boxes, ``(g, 4)`` xyxy with inclusive corners."""
    edges = truth.boxes_yxyx[:, [1, 0, 3, 2]]
    return edges - edges.new_tensor([0.0, 0.0, 1.0, 1.0])


def anchors_inside(anchors_xyxy: Tensor, valid_size: Size) -> Tensor:
    """Tell which anchors lie fully inside of the unpadded image, ``(a,)`` bool."""
    limit = anchors_xyxy.new_tensor([valid_size[1], valid_size[0]])
    return (anchors_xyxy[:, :2] >= 0).all(1) & (anchors_xyxy[:, 2:] < limit).all(1)


def assign_anchors(
    anchors_xyxy: Tensor, truth: ThingTruth, valid_size: Size, settings: RpnSettings
) -> Tensor:
    """Assign anchors to instances.

    Returns:
        ``(a,)`` int64: instance index, ``NEGATIVE`` or ``VOID``.
    """
    usable = anchors_inside(anchors_xyxy, valid_size).nonzero()[:, 0]
    match = torch.full((anchors_xyxy.shape[0],), VOID, device=anchors_xyxy.device)
    match[usable] = _assign(
        anchors_xyxy[usable],
        truth,
        settings.pos_threshold,
        settings.neg_threshold,
        settings.min_pos_threshold,
    )
    return match


def _assign(
    boxes: Tensor, truth: ThingTruth, positive: float, negative: float, min_positive: float
) -> Tensor:
    match = assign_by_iou(
        boxes,
        inclusive_boxes(truth),
        pos_threshold=positive,
        neg_threshold=negative,
        force_best="ties",
        force_min_iou=min_positive,
        inclusive=True,
    )
    if truth.crowd is not None:
        edges = (boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0]))[:, [1, 0, 3, 2]]
        inside = mask_coverage(edges, truth.crowd) > CROWD_COVERAGE
        match[inside & (match < 0)] = VOID
    return match


@dataclass(frozen=True, slots=True)
class AnchorTargets:
    """Sampled anchors of a batch.

    Args:
        match: ``(n, a)`` int64: instance index, ``NEGATIVE`` or ``VOID``.
        codes: Box codes of the positives, ``(p, 4)``, in the order of ``match >= 0``.
        num_counted: Positives and negatives, each at least 1 per image.
    """

    match: Tensor
    codes: Tensor
    num_counted: int


def anchor_targets(
    anchors_xyxy: Tensor,
    truths: Sequence[ThingTruth],
    valid_sizes: Sequence[Size],
    settings: RpnSettings,
    generators: Sequence[torch.Generator | None],
) -> AnchorTargets:
    """Assign and sample the anchors of a batch.

    Args:
        anchors_xyxy: ``(a, 4)``.
        truths: Instances per image.
        valid_sizes: Unpadded height and width per image.
        settings: Settings of the RPN.
        generators: Of the random choice per image; ``None`` takes the first ones.
    """
    matches, codes, counted = [], [], 0
    for truth, size, generator in zip(truths, valid_sizes, generators, strict=True):
        match = assign_anchors(anchors_xyxy, truth, size, settings)
        if settings.num_samples is not None:
            kept = sample_matches(match, settings.num_samples, settings.pos_ratio, generator)
            sampled = torch.full_like(match, VOID)
            for part in kept:
                sampled[part] = match[part]
            match = sampled
        positive = match >= 0
        instance = inclusive_boxes(truth)[match[positive]]
        codes.append(encode_boxes(anchors_xyxy[positive], instance, inclusive=True))
        num_positive = int(positive.sum())
        num_negative = int((match > VOID).sum()) - num_positive
        counted += max(num_positive, 1) + max(num_negative, 1)
        matches.append(match)
    return AnchorTargets(torch.stack(matches), torch.cat(codes), counted)


@dataclass(frozen=True, slots=True)
class RoiTargets:
    """RoIs of one image that enter the losses, positives first.

    Args:
        boxes_xyxy: ``(r, 4)``.
        labels: Thing index + 1, 0 = background, ``(r,)`` int64.
        codes: Box codes of the positives, divided by their deviations, ``(p, 4)``.
        masks: Masks of the positives, ``(p, 28, 28)`` int8, 0 or 1.
    """

    boxes_xyxy: Tensor
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
        proposals: ``(k, 4)`` xyxy; the instances' boxes are put in front.
        truth: Instances.
        ids: Segment id per pixel, ``(h, w)``.
        settings: Settings of the heads.
        generator: Of the random choice; ``None`` takes the first ones.
    """
    boxes = torch.cat([inclusive_boxes(truth), proposals])
    match = _assign(
        boxes, truth, settings.pos_threshold, settings.neg_threshold, settings.min_pos_threshold
    )
    positive, negative = sample_matches(match, settings.num_samples, settings.pos_ratio, generator)
    instance = match[positive]
    codes = encode_boxes(boxes[positive], inclusive_boxes(truth)[instance], inclusive=True)
    labels = boxes.new_zeros(len(positive) + len(negative), dtype=torch.int64)
    labels[: len(positive)] = truth.things[instance] + 1
    return RoiTargets(
        boxes[torch.cat([positive, negative])],
        labels,
        codes / codes.new_tensor(settings.code_stds),
        mask_targets(boxes[positive], truth.ids[instance], ids, 2 * settings.mask_size),
    )


def mask_targets(boxes_xyxy: Tensor, box_ids: Tensor, ids: Tensor, mask_size: int) -> Tensor:
    """Cut the masks of instances out of a segment map.

    The box is truncated to whole pixels, and its crop of the instance's mask is resized by OpenCV's
    bilinear filter on 8-bit values, which keeps them 0 or 1 by rounding.

    Args:
        boxes_xyxy: ``(p, 4)`` inclusive corners inside of the image.
        box_ids: Segment of each box, ``(p,)``.
        ids: Segment id per pixel, ``(h, w)``.
        mask_size: Side of the masks in cells.

    Returns:
        ``(p, mask_size, mask_size)`` int8 on the map's device.
    """
    masks = np.zeros((len(boxes_xyxy), mask_size, mask_size), dtype=np.int8)
    if len(boxes_xyxy):
        id_map = ids.numpy(force=True)
        corners = boxes_xyxy.numpy(force=True).astype(np.int32)
        for index, (box, own) in enumerate(zip(corners, box_ids.tolist(), strict=True)):
            x0, y0, x1, y1 = box.tolist()
            crop = id_map[y0 : max(y1, y0) + 1, x0 : max(x1, x0) + 1] == own
            masks[index] = _resized(crop, mask_size)
    return torch.from_numpy(masks).to(ids.device)


def _resized(mask: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.uint8]:
    resized: npt.NDArray[np.uint8] = cv2.resize(mask.astype(np.uint8), (side, side))
    return resized
