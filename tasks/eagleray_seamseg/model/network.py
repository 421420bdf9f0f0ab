"""Assembly of the Seamless network (Porzi et al., "Seamless Scene Segmentation", CVPR 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_seamseg.model.backbone_weights import (
    FrozenRandomBackboneError,
    load_backbone_weights,
)
from eagleray_seamseg.model.config import RESNET_DEPTHS, BodySettings, NetworkSettings
from eagleray_seamseg.model.foreign_backbone import MobileNetV2, TimmBackbone
from eagleray_seamseg.model.norm import norm_specs
from eagleray_seamseg.model.prediction import PanopticInference
from eagleray_seamseg.model.resnet import ResNet
from eagleray_vision.detection.anchors import cell_anchors, grid_anchors
from eagleray_vision.detection.box_coding import decode_boxes
from eagleray_vision.detection.boxes import clip_boxes
from eagleray_vision.detection.detections import DetectionRule, Detections, select_detections
from eagleray_vision.detection.proposals import ProposalRule, select_proposals
from eagleray_vision.detection.roi_sampling import roi_sample_fpn
from eagleray_vision.heads.mask_rcnn import BOX_AVERAGE, MaskRcnnHead
from eagleray_vision.heads.mini_dl import MiniDeepLabHead
from eagleray_vision.heads.rpn import RpnHead, flatten_levels
from eagleray_vision.layers.activated_norm import ActivatedBatchNorm, ActivatedGroupNorm
from eagleray_vision.layers.fpn import FeaturePyramid
from eagleray_vision.layers.residual import ResidualBlock
from eagleray_vision.losses.bootstrapped_ce import upsampled_argmax

FINEST_STRIDE = 4
"""Stride of FPN level 0 in pixels; every further level doubles it."""

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RpnOutput:
    """What the RPN says about every anchor of a batch.

    Args:
        logits: Objectness logits, ``(n, a)``.
        codes: Box codes, ``(n, a, 4)``.
        anchors_yxyx: Anchors in pixels, ``(a, 4)``; order: level, row, column, anchor.
    """

    logits: Tensor
    codes: Tensor
    anchors_yxyx: Tensor


class Body(nn.Module):
    """Backbone and feature pyramid."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        norm, _ = norm_specs(settings.body)
        self.inputs = settings.fpn.inputs
        self.backbone = _build_backbone(settings.body)
        self.fpn = FeaturePyramid(
            [self.backbone.out_channels[name] for name in self.inputs],
            settings.fpn.out_channels,
            norm,
            extra_scales=settings.fpn.extra_scales,
            interpolation=settings.fpn.interpolation,
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(n, 3, h, w)`` to pyramid levels, finest first."""
        outputs = self.backbone(images)
        levels: list[Tensor] = self.fpn([outputs[name] for name in self.inputs])
        return levels


def _build_backbone(body: BodySettings) -> ResNet | MobileNetV2 | TimmBackbone:
    if body.backbone in RESNET_DEPTHS:
        return ResNet(RESNET_DEPTHS[body.backbone], norm_specs(body)[0], body)
    if body.backbone == "mobilenet_v2":
        return MobileNetV2()
    return TimmBackbone(body.backbone.removeprefix("timm:"))


class SeamlessNetwork(nn.Module):
    """Backbone, pyramid and three heads, with random weights.

    Parameters of the first ``body.num_frozen`` backbone modules do not require gradients.
    ``build_network`` also loads pretrained backbone weights.

    Args:
        settings: Settings of the network.
        num_stuff: Stuff classes, ids 0 .. num_stuff - 1.
        num_thing: Thing classes, ids num_stuff .. num_stuff + num_thing - 1.
    """

    def __init__(self, settings: NetworkSettings, *, num_stuff: int, num_thing: int) -> None:
        super().__init__()
        self.settings, self.num_stuff, self.num_thing = settings, num_stuff, num_thing
        static, dynamic = norm_specs(settings.body)
        channels = settings.fpn.out_channels
        self.body = Body(settings)
        self.rpn_head = RpnHead(
            channels,
            len(settings.rpn.anchor_ratios),
            dynamic,
            hidden_channels=settings.rpn.hidden_channels,
        )
        self.roi_head = MaskRcnnHead(
            channels,
            num_thing,
            settings.roi.roi_size,
            dynamic,
            hidden_channels=settings.roi.hidden_channels,
            mask_channels=settings.roi.mask_channels,
        )
        self.sem_head = MiniDeepLabHead(
            channels,
            settings.sem.fpn_levels,
            num_stuff + num_thing,
            static,
            hidden_channels=settings.sem.hidden_channels,
            pooling_size=settings.sem.pooling_size,
            dilation=settings.sem.dilation,
        )
        for module in self.body.backbone.frozen_modules(settings.body.num_frozen):
            module.requires_grad_(False)
        frozen = self._first_frozen_parameter()
        self._random_values = None if frozen is None else frozen.detach().clone()

    def _first_frozen_parameter(self) -> Tensor | None:
        """Return the first parameter of the frozen backbone modules, the stem's convolution."""
        modules = self.body.backbone.frozen_modules(self.settings.body.num_frozen)
        return next((p for m in modules for p in m.parameters()), None)

    def check_frozen_modules(self) -> None:
        """Refuse to train while frozen modules hold the random values of their construction.

        Raises:
            FrozenRandomBackboneError: The original lets this pass when ``weights`` is left empty,
                and then trains on random features.
        """
        frozen = self._first_frozen_parameter()
        if frozen is None or self._random_values is None:
            return
        body = self.settings.body
        if torch.equal(frozen.detach().to(self._random_values), self._random_values):
            raise FrozenRandomBackboneError(
                f"the first body.num_frozen = {body.num_frozen} backbone modules are not trained, "
                f"but still hold random values: name a file of pretrained {body.backbone} weights "
                "in body.weights, start from a checkpoint, or set body.num_frozen to 0"
            )
        self._random_values = None

    @property
    def input_mean(self) -> tuple[float, float, float] | None:
        """Mean color (RGB, 0..1) that the backbone expects; ``None``: that of the data."""
        return self.settings.body.rgb_mean

    @property
    def input_std(self) -> tuple[float, float, float] | None:
        """Standard deviation that goes with ``input_mean``."""
        return self.settings.body.rgb_std

    def norm_parameter_names(self) -> set[str]:
        """Return the names of the scales and shifts of the activated normalization layers."""
        return {
            f"{prefix}.{name}"
            for prefix, module in self.named_modules()
            if isinstance(module, ActivatedBatchNorm | ActivatedGroupNorm)
            for name, _ in module.named_parameters()
        }

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the blocks whose activations are worth recomputing to save memory."""
        backbone = self.body.backbone
        blocks = [m for m in backbone.modules() if isinstance(m, ResidualBlock)]
        if isinstance(backbone, MobileNetV2):
            blocks = list(backbone.features)
        return [*blocks, *self.sem_head.output]

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the parts whose shapes repeat; RoIs differ in number from step to step."""
        self.body.compile(*args, **kwargs)
        self.sem_head.compile(*args, **kwargs)

    def features(self, images: Tensor) -> list[Tensor]:
        """Map normalized images ``(n, 3, h, w)`` to pyramid levels, stride 4 first.

        Channels are stored last, which CPUs and half precision on GPUs compute faster.
        """
        if images.dtype != torch.float64:
            images = images.contiguous(memory_format=torch.channels_last)
        levels: list[Tensor] = self.body(images)
        return levels

    def run_rpn(self, levels: Sequence[Tensor]) -> RpnOutput:
        """Run the RPN on its levels, all of the pyramid given."""
        rpn = self.settings.rpn
        first = rpn.fpn_min_level
        used = levels[first : first + rpn.fpn_levels]
        outputs = [self.rpn_head(x) for x in used]
        logits, codes = flatten_levels([o for o, _ in outputs], [c for _, c in outputs])
        precise = torch.float64 if logits.dtype == torch.float64 else torch.float32
        anchors = [
            grid_anchors(
                cell_anchors(stride, rpn.anchor_scale, rpn.anchor_ratios),
                (x.shape[2], x.shape[3]),
                stride,
                dtype=precise,
                device=x.device,
            )
            for x, stride in ((x, FINEST_STRIDE << (first + k)) for k, x in enumerate(used))
        ]
        return RpnOutput(logits, codes, torch.cat(anchors))

    @torch.no_grad()
    def proposals(self, rpn_output: RpnOutput, valid_sizes: Sequence[Size]) -> list[Tensor]:
        """Return each image's proposals, ``(k, 4)`` yxyx in pixels, best first; k may be 0.

        The numbers of training apply while the network is in training mode.
        """
        rpn = self.settings.rpn
        numbers = (
            (rpn.num_pre_nms_train, rpn.num_post_nms_train)
            if self.training
            else (rpn.num_pre_nms_val, rpn.num_post_nms_val)
        )
        rule = ProposalRule(rpn.nms_threshold, *numbers, min_size=rpn.min_size)
        anchors = rpn_output.anchors_yxyx
        boxes = decode_boxes(anchors, rpn_output.codes.to(anchors.dtype))
        scores = rpn_output.logits.to(anchors.dtype)
        return [
            select_proposals(boxes[image], scores[image], size, rule)[0]
            for image, size in enumerate(valid_sizes)
        ]

    def roi_features(
        self,
        levels: Sequence[Tensor],
        boxes: Sequence[Tensor],
        image_size: Size,
        *,
        average: int = 1,
    ) -> Tensor:
        """Sample RoI features of each image's boxes.

        Args:
            levels: The pyramid.
            boxes: ``(k_i, 4)`` yxyx per image, in pixels.
            image_size: Height and width of the padded images.
            average: Side of the blocks of cells that are averaged.

        Returns:
            ``(sum of k_i, c, rows / average, columns / average)``.
        """
        roi = self.settings.roi
        counts = torch.tensor([len(b) for b in boxes], device=levels[0].device)
        image_idx = torch.arange(len(boxes), device=levels[0].device)
        return roi_sample_fpn(
            levels[roi.fpn_min_level : roi.fpn_min_level + roi.fpn_levels],
            torch.cat(list(boxes)),
            image_idx.repeat_interleave(counts),
            image_size,
            roi.roi_size,
            canonical_scale=roi.fpn_canonical_scale,
            canonical_level=roi.fpn_canonical_level,
            average=average,
        )

    def semantic_logits(self, levels: Sequence[Tensor]) -> Tensor:
        """Return semantic logits at the finest semantic level, ``(n, classes, h, w)``."""
        sem = self.settings.sem
        logits: Tensor = self.sem_head(
            levels[sem.fpn_min_level : sem.fpn_min_level + sem.fpn_levels]
        )
        return logits

    def detections(
        self,
        proposals: Sequence[Tensor],
        class_logits: Tensor,
        codes: Tensor,
        valid_sizes: Sequence[Size],
    ) -> list[Detections]:
        """Choose each image's detections.

        Args:
            proposals: ``(k_i, 4)`` yxyx per image, in pixels.
            class_logits: ``(sum of k_i, things + 1)``, background first.
            codes: ``(sum of k_i, things, 4)``.
            valid_sizes: Unpadded height and width per image.
        """
        roi = self.settings.roi
        rule = DetectionRule(roi.score_threshold, roi.nms_threshold, roi.max_predictions)
        counts = [len(p) for p in proposals]
        references = torch.cat(list(proposals))
        scores = class_logits.to(references.dtype).softmax(dim=1)[:, 1:]
        codes = codes.to(references.dtype) / references.new_tensor(roi.bbx_reg_weights)
        boxes = decode_boxes(references[:, None], codes)
        return [
            select_detections(clip_boxes(image_boxes, size), image_scores, rule)
            for image_boxes, image_scores, size in zip(
                torch.split(boxes, counts), torch.split(scores, counts), valid_sizes, strict=True
            )
        ]

    @torch.no_grad()
    def infer(self, images: Tensor, valid_sizes: Sequence[Size]) -> list[PanopticInference]:
        """Predict detections and semantic classes.

        Args:
            images: Normalized images padded with zeros at the bottom and right, ``(n, 3, h, w)``.
            valid_sizes: Height and width of each image before padding.

        Returns:
            One prediction per image, coordinates in pixels of the network input.
        """
        image_size = (images.shape[2], images.shape[3])
        levels = self.features(images)
        rpn = self.run_rpn(levels)
        precise = rpn.anchors_yxyx.dtype
        proposals = self.proposals(rpn, valid_sizes)
        averaged = self.roi_features(levels, proposals, image_size, average=BOX_AVERAGE)
        class_logits, codes = self.roi_head.boxes(averaged)
        detections = self.detections(proposals, class_logits, codes, valid_sizes)
        masks = self.infer_masks(levels, detections, image_size)
        semantic = self.semantic_logits(levels).to(precise)
        return [
            PanopticInference(
                boxes_yxyx=detection.boxes,
                classes=detection.classes,
                scores=detection.scores,
                mask_logits=mask.to(precise),
                semantic_classes=upsampled_argmax(
                    logits, image_size, size, chunk_pixels=self.settings.sem.loss_chunk_pixels
                ),
                semantic_logits=logits,
            )
            for detection, mask, logits, size in zip(
                detections, masks, semantic, valid_sizes, strict=True
            )
        ]

    def infer_masks(
        self, levels: Sequence[Tensor], detections: Sequence[Detections], image_size: Size
    ) -> list[Tensor]:
        """Return the mask logits of each image's detections, ``(k_i, 2 rows, 2 columns)``."""
        rois = self.roi_features(levels, [d.boxes for d in detections], image_size)
        classes = torch.cat([d.classes for d in detections])
        chosen = self.roi_head.masks_of_classes(rois, classes)
        return list(torch.split(chosen, [len(d.classes) for d in detections]))

    def roi_outputs(self, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the RoI head for training: class logits, box codes, mask logits of every RoI."""
        class_logits, codes = self.roi_head.boxes(F.avg_pool2d(rois, BOX_AVERAGE))
        return class_logits, codes, self.roi_head.masks(rois)


def build_network(settings: NetworkSettings, *, num_stuff: int, num_thing: int) -> SeamlessNetwork:
    """Build a network with the pretrained backbone weights that the settings name.

    Without any the backbone is random; training it with frozen modules is refused then, unless a
    checkpoint is loaded first (``SeamlessNetwork.check_frozen_modules``).

    Raises:
        WeightFileError: If the weight file cannot be read or does not fit.
    """
    body = settings.body
    network = SeamlessNetwork(settings, num_stuff=num_stuff, num_thing=num_thing)
    if body.weights is not None:
        load_backbone_weights(network.body.backbone, Path(body.weights))
    return network
