"""Training targets of the RPN and of the RoI heads of Seamless (docs/originals/seamseg.md, 1.8 and
1.11). Boxes are yxyx by their edges.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from eagleray_seamseg.model.config import RoiSettings, RpnSettings
from eagleray_vision.detection.assignment import VOID, assign_by_iou
from eagleray_vision.detection.box_coding import encode_boxes
from eagleray_vision.detection.boxes import mask_coverage
from eagleray_vision.detection.roi_sampling import roi_sample
from eagleray_vision.losses.detection import MASK_IGNORE
from eagleray_vision.samples.target import ThingTruth


@dataclass(frozen=True)
class SeamlessTargets:
    """The original's rule; see `eagleray_vision.samples.region_targets.TargetRule`.

    Attributes:
        rpn: Settings of the RPN.
        roi: Settings of the RoI heads.
    """

    rpn: RpnSettings
    roi: RoiSettings

    def instance_boxes(self, truth: ThingTruth) -> Tensor:
        """Return the instances' boxes, ``(g, 4)`` yxyx."""
        return truth.boxes_yxyx

    def assign_anchors(
        self, anchors: Tensor, truth: ThingTruth, valid_size: tuple[int, int]
    ) -> Tensor:
        """Assign the anchors that lie in the unpadded image and outside of crowds."""
        limit = anchors.new_tensor(valid_size)
        inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2:] <= limit).all(1)
        usable = inside.nonzero()[:, 0]
        usable = usable[_outside_crowd(anchors[usable], truth.crowd, self.rpn.void_threshold)]
        match = torch.full_like(inside, VOID, dtype=torch.int64)
        match[usable] = assign_by_iou(
            anchors[usable],
            truth.boxes_yxyx,
            pos_threshold=self.rpn.pos_threshold,
            neg_threshold=self.rpn.neg_threshold,
            force_best="one",
        )
        return match

    def encode_anchors(self, anchors: Tensor, instances: Tensor) -> Tensor:
        """Return box codes (dy, dx, dh, dw)."""
        return encode_boxes(anchors, instances)

    def candidates(self, proposals: Tensor, truth: ThingTruth) -> Tensor:
        """Return the instances' boxes and the proposals outside of crowds; none where there are no
        instances.
        """
        boxes = torch.cat([truth.boxes_yxyx, proposals]) if len(truth.ids) else proposals[:0]
        return boxes[_outside_crowd(boxes, truth.crowd, self.roi.void_threshold)]

    def assign_rois(self, boxes: Tensor, truth: ThingTruth) -> Tensor:
        """Assign boxes to instances."""
        return assign_by_iou(
            boxes,
            truth.boxes_yxyx,
            pos_threshold=self.roi.pos_threshold,
            neg_threshold=self.roi.neg_threshold_hi,
            neg_threshold_low=self.roi.neg_threshold_lo,
        )

    def encode_rois(self, boxes: Tensor, instances: Tensor) -> Tensor:
        """Return box codes times their weights."""
        codes = encode_boxes(boxes, instances)
        return codes * codes.new_tensor(self.roi.bbx_reg_weights)

    def cut_masks(self, boxes: Tensor, box_ids: Tensor, ids: Tensor) -> Tensor:
        """Sample the segment ids inside of boxes and compare them with the boxes' own."""
        size = (2 * self.roi.roi_size[0], 2 * self.roi.roi_size[1])
        image_idx = torch.zeros(boxes.shape[0], dtype=torch.int64, device=boxes.device)
        sampled = roi_sample(ids[None, None], boxes, image_idx, size, interpolation="nearest")[:, 0]
        masks = (sampled == box_ids[:, None, None]).to(torch.int8)
        if self.roi.void_is_background:
            return masks
        return masks.masked_fill(sampled == 0, MASK_IGNORE)


def _outside_crowd(boxes: Tensor, crowd: Tensor | None, void_threshold: float) -> Tensor:
    """Return positions of the boxes that a crowd covers by less than ``void_threshold``.

    Beside a crowd, boxes without area (0 / 0) are left out too, as in the original.
    """
    if crowd is None or void_threshold == 0:
        return torch.arange(boxes.shape[0], device=boxes.device)
    return (mask_coverage(boxes, crowd) < void_threshold).nonzero()[:, 0]
