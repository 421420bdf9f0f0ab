"""Assembly of the EfficientPS network (Mohan & Valada, IJCV 2021)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eagleray_efficientps.model.backbone import build_backbone, load_pretrained
from eagleray_efficientps.model.config import (
    BACKBONE_EPS,
    HEAD_EPS,
    PYRAMID_STRIDES,
    BackboneSettings,
    NetworkSettings,
)
from eagleray_efficientps.model.instance_head import BoxHead, MaskHead
from eagleray_efficientps.model.pyramid import TwoWayPyramid
from eagleray_efficientps.model.semantic_head import SemanticHead
from eagleray_vision.detection.anchors import inclusive_cell_anchors
from eagleray_vision.detection.box_coding import decode_boxes
from eagleray_vision.detection.boxes import clip_boxes
from eagleray_vision.detection.detections import DetectionRule, Detections
from eagleray_vision.detection.proposals import ProposalRule, select_proposals
from eagleray_vision.detection.roi_sampling import fpn_levels, pool_by_level, roi_align
from eagleray_vision.heads.rpn import RpnHead, RpnOutput, run_rpn
from eagleray_vision.inference.network import PanopticModule, channels_last
from eagleray_vision.layers.activated_norm import ActivatedBatchNorm, ActivatedGroupNorm, NormSpec
from eagleray_vision.losses.bootstrapped_ce import upsampled_argmax

Size = tuple[int, int]

RPN_STD = 0.01
"""Standard deviation of the RPN's initial weights (Faster R-CNN)."""

YXYX = [1, 0, 3, 2]
"""Order that turns xyxy boxes into yxyx boxes, and back."""


def norm_spec(settings: BackboneSettings, eps: float) -> NormSpec:
    """Return the normalization of one part of the network."""
    return NormSpec(
        kind=settings.normalization,
        slope=settings.activation_slope,
        groups=settings.groups,
        absolute_scale=settings.absolute_scale,
        eps=eps,
    )


class EfficientPsNetwork(PanopticModule):
    """Backbone, pyramid, semantic head, RPN, box head and mask head, with random weights.

    Inside, boxes are xyxy and inclusive (a side measures x1 - x0 + 1), as in the released code;
    what `infer`, `detect` and `infer_masks` take and return are yxyx boxes by their edges.

    Args:
        settings: Settings of the network.
        num_stuff: Stuff classes, ids 0 .. num_stuff - 1.
        num_thing: Thing classes, ids num_stuff .. num_stuff + num_thing - 1.
    """

    settings: NetworkSettings

    def __init__(self, settings: NetworkSettings, *, num_stuff: int, num_thing: int) -> None:
        super().__init__()
        self.settings, self.num_stuff, self.num_thing = settings, num_stuff, num_thing
        norm = norm_spec(settings.backbone, HEAD_EPS)
        self.backbone = build_backbone(
            settings.backbone, norm_spec(settings.backbone, BACKBONE_EPS)
        )
        channels = settings.pyramid.channels
        self.pyramid = TwoWayPyramid(
            self.backbone.out_channels,
            channels,
            norm,
            direction=settings.pyramid.direction,
            output_conv=settings.pyramid.output_conv,
        )
        semantic = settings.semantic
        self.semantic_head = SemanticHead(
            channels,
            semantic.channels,
            num_stuff + num_thing,
            norm,
            dpc=semantic.dpc,
            lsfe=semantic.lsfe,
            mismatch_correction=semantic.mismatch_correction,
        )
        rpn, roi = settings.rpn, settings.roi
        self.rpn_head = RpnHead(
            channels, len(rpn.anchor_ratios), None, hidden_channels=rpn.channels
        )
        for layer in (self.rpn_head.conv1, self.rpn_head.conv_obj, self.rpn_head.conv_bbx):
            nn.init.normal_(layer.weight, std=RPN_STD)
        self.box_head = BoxHead(
            channels, num_thing, roi.box_size, hidden_channels=roi.hidden_channels
        )
        self.mask_head = MaskHead(channels, num_thing, norm, num_convs=roi.num_mask_convs)

    @property
    def has_semantics(self) -> bool:
        """Whether there is a semantic head: always."""
        return True

    @property
    def fuses_logits(self) -> bool:
        """Whether the fusion reads semantic logits alone: it does, at a size of its own."""
        return True

    @property
    def semantic_stride(self) -> int:
        """Stride of the semantic logits in pixels of the input."""
        return PYRAMID_STRIDES[0]

    @property
    def mask_hw(self) -> Size:
        """Rows and columns of a detection's mask."""
        side = 2 * self.settings.roi.mask_size
        return (side, side)

    def load_pretrained(self) -> None:
        """Put the pretrained weights that ``backbone.weights`` names into the backbone.

        Raises:
            WeightFileError: If the weight file cannot be read or does not fit.
        """
        if self.settings.backbone.weights is not None:
            load_pretrained(self.backbone, Path(self.settings.backbone.weights))

    def norm_layers(self) -> list[ActivatedBatchNorm | ActivatedGroupNorm]:
        """Return all normalization layers."""
        kinds = (ActivatedBatchNorm, ActivatedGroupNorm)
        return [module for module in self.modules() if isinstance(module, kinds)]

    def freeze_statistics(self, frozen: bool) -> None:
        """Let batch normalization use, and leave alone, its running statistics in training too."""
        for layer in self.norm_layers():
            if isinstance(layer, ActivatedBatchNorm):
                layer.frozen = frozen

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the blocks whose activations are worth recomputing to save memory."""
        return [*self.backbone.checkpoint_blocks(), *self.semantic_head.checkpoint_blocks()]

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the parts whose shapes repeat; RoIs differ in number from step to step."""
        for part in (self.backbone, self.pyramid, self.semantic_head):
            part.compile(*args, **kwargs)

    def features(self, images: Tensor) -> list[Tensor]:
        """Map normalized images ``(n, 3, h, w)`` to pyramid levels, stride 4 first."""
        levels: list[Tensor] = self.pyramid(self.backbone(channels_last(images)))
        return levels

    def run_rpn(self, levels: Sequence[Tensor]) -> RpnOutput:
        """Run the RPN on all levels of the pyramid; anchors xyxy, inclusive."""
        rpn = self.settings.rpn
        return run_rpn(
            self.rpn_head,
            levels,
            PYRAMID_STRIDES,
            lambda stride: inclusive_cell_anchors(stride, rpn.anchor_scale, rpn.anchor_ratios),
            axes="xyxy",
        )

    @torch.no_grad()
    def proposals(self, rpn_output: RpnOutput, valid_sizes: Sequence[Size]) -> list[Tensor]:
        """Return each image's proposals, ``(k, 4)`` xyxy, best first.

        The numbers of training apply while the network is in training mode.
        """
        rpn = self.settings.rpn
        before, after = (
            (rpn.num_pre_nms_train, rpn.num_post_nms_train)
            if self.training
            else (rpn.num_pre_nms_test, rpn.num_post_nms_test)
        )
        rule = ProposalRule(
            rpn.nms_threshold,
            before,
            after,
            min_size=rpn.min_size,
            per_level=True,
            max_total=after,
            suppress_equal=False,
            inclusive=True,
        )
        return [
            select_proposals(
                decode_proposals(rpn_output, image),
                rpn_output.logits[image].to(rpn_output.anchors.dtype).sigmoid(),
                size,
                rule,
                level_sizes=rpn_output.level_sizes,
                axes="xyxy",
            )[0]
            for image, size in enumerate(valid_sizes)
        ]

    def roi_features(
        self, levels: Sequence[Tensor], boxes: Sequence[Tensor], roi_size: int
    ) -> Tensor:
        """Align RoI features of each image's boxes.

        Args:
            levels: The pyramid.
            boxes: ``(k_i, 4)`` xyxy per image.
            roi_size: Side of the features in cells.

        Returns:
            ``(sum of k_i, c, roi_size, roi_size)``.
        """
        joined = torch.cat(list(boxes))
        counts = torch.tensor([len(b) for b in boxes], device=joined.device)
        image_idx = torch.arange(len(boxes), device=joined.device).repeat_interleave(counts)
        target = fpn_levels(
            joined,
            len(levels),
            canonical_scale=self.settings.roi.finest_scale_px,
            canonical_level=0,
            inclusive=True,
        )

        def align(level: int, chosen: Tensor) -> Tensor:
            edges = edge_based(joined[chosen])[:, YXYX]
            size, stride = (roi_size, roi_size), PYRAMID_STRIDES[level]
            return roi_align(levels[level], edges, image_idx[chosen], size, stride=stride)

        return pool_by_level(target, len(levels), align)

    def semantic_logits(self, levels: Sequence[Tensor]) -> Tensor:
        """Return semantic logits at stride 4, ``(n, classes, h, w)``, float32 or wider."""
        logits: Tensor = self.semantic_head(levels)
        return logits if logits.dtype == torch.float64 else logits.float()

    def decode_rois(self, references: Tensor, codes: Tensor) -> Tensor:
        """Return the boxes of codes (dx, dy, dw, dh) that are divided by deviations."""
        deviations = references.new_tensor(self.settings.roi.code_stds)
        return decode_boxes(
            references, codes[:, 1:] * deviations, inclusive=True, clamp_both_sides=True
        )

    def clip_rois(self, boxes: Tensor, valid_size: Size) -> Tensor:
        """Clip xyxy boxes with inclusive corners."""
        return clip_boxes(boxes, (valid_size[1], valid_size[0]), inclusive=True)

    def roi_rule(self) -> DetectionRule:
        """Return the rule of the settings for inclusive corners."""
        return replace(self.detection_rule(), inclusive=True)

    def detect(
        self, levels: Sequence[Tensor], image_size: Size, valid_sizes: Sequence[Size]
    ) -> list[Detections]:
        """Return each image's detections, boxes yxyx by their edges, without masks.

        Args:
            levels: The pyramid.
            image_size: Height and width of the padded images.
            valid_sizes: Unpadded height and width per image.
        """
        proposals = self.proposals(self.run_rpn(levels), valid_sizes)
        features = self.roi_features(levels, proposals, self.settings.roi.box_size)
        class_logits, codes = self.box_head(features)
        return [
            Detections(edge_based(found.boxes)[:, YXYX], found.classes, found.scores)
            for found in self.detections(proposals, class_logits, codes, valid_sizes)
        ]

    def detection_rule(self) -> DetectionRule:
        """Return the rule of the settings."""
        roi = self.settings.roi
        return DetectionRule(
            roi.score_threshold,
            roi.nms_threshold,
            roi.max_detections,
            suppress_equal=False,
            class_order=False,
        )

    def infer_masks(
        self, levels: Sequence[Tensor], detections: Sequence[Detections], image_size: Size
    ) -> list[Tensor]:
        """Return the mask logits of each image's detections, ``(k_i, 28, 28)``.

        Args:
            levels: The pyramid.
            detections: Detections, boxes yxyx by their edges.
            image_size: Height and width of the padded images.
        """
        boxes = [inclusive(d.boxes[:, YXYX]) for d in detections]
        features = self.roi_features(levels, boxes, self.settings.roi.mask_size)
        things = torch.cat([d.classes for d in detections])
        masks = self.mask_head.masks_of_classes(features, things)
        return list(torch.split(masks, [len(d.classes) for d in detections]))

    def infer_semantics(self, images: Tensor, levels: list[Tensor]) -> Tensor:
        """Return semantic logits of images, float32 or wider."""
        return self.semantic_logits(levels)

    def semantic_classes(self, logits: Tensor, image_size: Size, valid_size: Size) -> Tensor:
        """Return the class of every pixel of one image.

        Args:
            logits: ``(classes, h, w)`` of the padded image.
            image_size: Height and width of the padded image.
            valid_size: Height and width of the unpadded image.
        """
        chunk = self.settings.semantic.loss_chunk_pixels
        return upsampled_argmax(logits, image_size, valid_size, chunk_pixels=chunk)


def decode_proposals(rpn_output: RpnOutput, image: int) -> Tensor:
    """Return the boxes that the RPN's codes of one image give, ``(a, 4)`` xyxy, not clipped."""
    anchors = rpn_output.anchors
    return decode_boxes(
        anchors, rpn_output.codes[image].to(anchors.dtype), inclusive=True, clamp_both_sides=True
    )


def edge_based(boxes: Tensor) -> Tensor:
    """Turn inclusive corners ``(..., 4)`` into edges: add 1 to the last two coordinates."""
    return boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])


def inclusive(boxes: Tensor) -> Tensor:
    """Turn edges ``(..., 4)`` into inclusive corners, the reverse of `edge_based`."""
    return boxes - boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
