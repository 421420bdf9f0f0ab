"""Training targets of the RPN and of the box and mask heads, in the released code's conventions.

Boxes are xyxy with inclusive corners. Assignment is mmdetection 1's: a truth also takes all boxes
that are tied at its best overlap, and later truths override earlier ones.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_efficientps.model.config import RoiSettings, RpnSettings
from eagleray_vision.detection.assignment import NEGATIVE, VOID, assign_by_iou
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


@dataclass(frozen=True)
class EfficientPsTargets:
    """The released code's rule; see `eagleray_vision.samples.region_targets.TargetRule`.

    Attributes:
        rpn: Settings of the RPN.
        roi: Settings of the heads.
    """

    rpn: RpnSettings
    roi: RoiSettings

    def instance_boxes(self, truth: ThingTruth) -> Tensor:
        """Return the instances' boxes, ``(g, 4)`` xyxy with inclusive corners."""
        return inclusive_boxes(truth)

    def assign_anchors(self, anchors: Tensor, truth: ThingTruth, valid_size: Size) -> Tensor:
        """Assign the anchors that lie in the unpadded image; the others are void."""
        usable = anchors_inside(anchors, valid_size).nonzero()[:, 0]
        match = torch.full((anchors.shape[0],), VOID, device=anchors.device)
        match[usable] = _assign(anchors[usable], truth, self.rpn)
        return match

    def encode_anchors(self, anchors: Tensor, instances: Tensor) -> Tensor:
        """Return box codes (dx, dy, dw, dh)."""
        return encode_boxes(anchors, instances, inclusive=True)

    def candidates(self, proposals: Tensor, truth: ThingTruth) -> Tensor:
        """Return the instances' boxes, then the proposals."""
        return torch.cat([inclusive_boxes(truth), proposals])

    def assign_rois(self, boxes: Tensor, truth: ThingTruth) -> Tensor:
        """Assign boxes to instances."""
        return _assign(boxes, truth, self.roi)

    def encode_rois(self, boxes: Tensor, instances: Tensor) -> Tensor:
        """Return box codes divided by their deviations."""
        codes = encode_boxes(boxes, instances, inclusive=True)
        return codes / codes.new_tensor(self.roi.code_stds)

    def cut_masks(self, boxes: Tensor, box_ids: Tensor, ids: Tensor) -> Tensor:
        """Return 28 x 28 masks of 0 and 1; see `mask_targets`."""
        return mask_targets(boxes, box_ids, ids, 2 * self.roi.mask_size)


def _assign(boxes: Tensor, truth: ThingTruth, settings: RpnSettings | RoiSettings) -> Tensor:
    match = assign_by_iou(
        boxes,
        inclusive_boxes(truth),
        pos_threshold=settings.pos_threshold,
        neg_threshold=settings.neg_threshold,
        force_best="ties",
        force_min_iou=settings.min_pos_threshold,
        inclusive=True,
    )
    if truth.crowd is not None:
        edges = (boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0]))[:, [1, 0, 3, 2]]
        inside = mask_coverage(edges, truth.crowd) > CROWD_COVERAGE
        match[inside & (match < 0)] = VOID
    return match


def num_counted(match: Tensor) -> Tensor:
    """Return by how many anchors the RPN's losses are divided: the positives and the negatives of
    ``(n, a)`` assignments, each at least 1 per image.
    """
    positives, negatives = (match >= 0).sum(1), (match == NEGATIVE).sum(1)
    return positives.clamp(min=1).sum() + negatives.clamp(min=1).sum()


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
