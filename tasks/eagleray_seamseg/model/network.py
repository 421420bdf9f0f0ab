"""Assembly of the Seamless network (Porzi et al., "Seamless Scene Segmentation", CVPR 2019)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_seamseg.model.config import RESNET_DEPTHS, BodySettings, NetworkSettings
from eagleray_seamseg.model.norm import norm_specs
from eagleray_seamseg.model.semantic_head import (
    AnySemanticHead,
    build_semantic_head,
    trained_blocks,
)
from eagleray_vision.backbones.from_libraries import MobileNetV2, TimmBackbone
from eagleray_vision.backbones.pretrained import FrozenRandomBackboneError, load_backbone_weights
from eagleray_vision.backbones.resnet import ResNet
from eagleray_vision.detection.anchors import cell_anchors
from eagleray_vision.detection.box_coding import decode_boxes
from eagleray_vision.detection.detections import DetectionRule, Detections
from eagleray_vision.detection.proposals import ProposalRule, select_proposals
from eagleray_vision.detection.roi_sampling import roi_sample_fpn
from eagleray_vision.heads.mask_rcnn import BOX_AVERAGE, MaskRcnnHead
from eagleray_vision.heads.rpn import RpnHead, RpnOutput, run_rpn
from eagleray_vision.inference.network import PanopticModule, channels_last
from eagleray_vision.layers.activated_norm import ActivatedBatchNorm, ActivatedGroupNorm
from eagleray_vision.layers.fpn import FeaturePyramid
from eagleray_vision.layers.residual import ResidualBlock
from eagleray_vision.losses.bootstrapped_ce import VOID_ID, upsampled_argmax

FINEST_STRIDE = 4
"""Stride of FPN level 0 in pixels; every further level doubles it."""

Size = tuple[int, int]
Part = TypeVar("Part", bound=nn.Module)


class Body(nn.Module):
    """Backbone and feature pyramid.

    Args:
        settings: Settings of the network.
        extra_scales: Levels beyond the coarsest input.
    """

    def __init__(self, settings: NetworkSettings, extra_scales: int) -> None:
        super().__init__()
        norm, _ = norm_specs(settings.body)
        self.inputs = settings.fpn.inputs
        self.backbone = _build_backbone(settings.body)
        self.fpn = FeaturePyramid(
            [self.backbone.out_channels[name] for name in self.inputs],
            settings.fpn.out_channels,
            norm,
            extra_scales=extra_scales,
            interpolation=settings.fpn.interpolation,
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(n, 3, h, w)`` to pyramid levels, finest first."""
        outputs = self.backbone(images)
        levels: list[Tensor] = self.fpn([outputs[name] for name in self.inputs])
        return levels


def _build_backbone(body: BodySettings) -> ResNet | MobileNetV2 | TimmBackbone:
    if body.backbone in RESNET_DEPTHS:
        return ResNet(
            RESNET_DEPTHS[body.backbone],
            norm_specs(body)[0],
            dilation=body.dilation,
            dropout=body.dropout,
            stem_bias=body.stem_bias,
        )
    if body.backbone == "mobilenet_v2":
        return MobileNetV2()
    return TimmBackbone(body.backbone.removeprefix("timm:"))


class SeamlessNetwork(PanopticModule):
    """Backbone, pyramid and three heads, with random weights.

    ``settings.layout`` leaves heads out, or gives the semantic head a body of its own
    (``sem_body``); a part that is left out is ``None`` and has no losses. Parameters of the first
    ``body.num_frozen`` backbone modules do not require gradients. ``load_pretrained`` reads
    the backbone's weights.

    Args:
        settings: Settings of the network.
        num_stuff: Stuff classes, ids 0 .. num_stuff - 1.
        num_thing: Thing classes, ids num_stuff .. num_stuff + num_thing - 1.
    """

    settings: NetworkSettings

    def __init__(self, settings: NetworkSettings, *, num_stuff: int, num_thing: int) -> None:
        super().__init__()
        self.settings, self.num_stuff, self.num_thing = settings, num_stuff, num_thing
        static, dynamic = norm_specs(settings.body)
        channels = settings.fpn.out_channels
        used = settings.sem.fpn_min_level + settings.sem.fpn_levels
        sem_extra = max(0, used - len(settings.fpn.inputs))
        self.body = Body(
            settings, settings.fpn.extra_scales if settings.has_instances else sem_extra
        )
        self.sem_body = Body(settings, sem_extra) if settings.layout == "separate" else None
        self.rpn_head: RpnHead | None = None
        self.roi_head: MaskRcnnHead | None = None
        self.sem_head: AnySemanticHead | None = None
        if settings.has_instances:
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
        if settings.has_semantics:
            self.sem_head = build_semantic_head(
                settings.sem, channels, num_stuff + num_thing, static
            )
        for body in self.bodies():
            for module in body.backbone.frozen_modules(settings.body.num_frozen):
                module.requires_grad_(False)
        frozen = self._first_frozen_parameter()
        self._random_values = None if frozen is None else frozen.detach().clone()

    def bodies(self) -> list[Body]:
        """Return the body, and the semantic head's own one where it has one."""
        return [self.body] if self.sem_body is None else [self.body, self.sem_body]

    def _first_frozen_parameter(self) -> Tensor | None:
        """Return the first parameter of the frozen backbone modules, the stem's convolution."""
        modules = self.body.backbone.frozen_modules(self.settings.body.num_frozen)
        return next((p for m in modules for p in m.parameters()), None)

    def load_pretrained(self) -> None:
        """Put the pretrained weights that ``body.weights`` names into the backbones.

        Without any they stay random; training them with frozen modules is refused then, unless a
        checkpoint is loaded first (``check_frozen_modules``).

        Raises:
            WeightFileError: If the weight file cannot be read or does not fit.
        """
        if self.settings.body.weights is not None:
            for part in self.bodies():
                load_backbone_weights(part.backbone, Path(self.settings.body.weights))

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
        blocks: list[nn.Module] = []
        for body in self.bodies():
            backbone = body.backbone
            if isinstance(backbone, MobileNetV2):
                blocks += list(backbone.features)
            blocks += [m for m in backbone.modules() if isinstance(m, ResidualBlock)]
        return [*blocks, *trained_blocks(self.sem_head)]

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the parts whose shapes repeat; RoIs differ in number from step to step."""
        for part in (*self.bodies(), self.sem_head):
            if part is not None:
                part.compile(*args, **kwargs)

    def features(self, images: Tensor) -> list[Tensor]:
        """Map normalized images ``(n, 3, h, w)`` to pyramid levels, stride 4 first."""
        levels: list[Tensor] = self.body(channels_last(images))
        return levels

    def semantic_features(self, images: Tensor, levels: list[Tensor]) -> list[Tensor]:
        """Return the levels that the semantic head reads: ``levels``, unless it has its own body.

        Args:
            images: As in ``features``.
            levels: What ``features`` returned for them.
        """
        if self.sem_body is None:
            return levels
        own: list[Tensor] = self.sem_body(channels_last(images))
        return own

    def run_rpn(self, levels: Sequence[Tensor]) -> RpnOutput:
        """Run the RPN on its levels, all of the pyramid given."""
        rpn = self.settings.rpn
        used = range(len(levels))[rpn.fpn_min_level : rpn.fpn_min_level + rpn.fpn_levels]
        return run_rpn(
            _present(self.rpn_head),
            [levels[level] for level in used],
            [FINEST_STRIDE << level for level in used],
            lambda stride: cell_anchors(stride, rpn.anchor_scale, rpn.anchor_ratios),
        )

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
        anchors = rpn_output.anchors
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
        logits: Tensor = _present(self.sem_head)(
            levels[sem.fpn_min_level : sem.fpn_min_level + sem.fpn_levels]
        )
        return logits

    def decode_rois(self, references: Tensor, codes: Tensor) -> Tensor:
        """Return the boxes of codes (dy, dx, dh, dw) that are multiplied by weights."""
        weights = references.new_tensor(self.settings.roi.bbx_reg_weights)
        return decode_boxes(references, codes / weights)

    def detect(
        self, levels: Sequence[Tensor], image_size: Size, valid_sizes: Sequence[Size]
    ) -> list[Detections]:
        """Return each image's detections, without masks; none where there are no heads for them.

        Args:
            levels: The pyramid.
            image_size: Height and width of the padded images.
            valid_sizes: Unpadded height and width per image.
        """
        if self.roi_head is None:
            return [_no_detections(levels[0]) for _ in valid_sizes]
        rpn = self.run_rpn(levels)
        proposals = self.proposals(rpn, valid_sizes)
        averaged = self.roi_features(levels, proposals, image_size, average=BOX_AVERAGE)
        class_logits, codes = self.roi_head.boxes(averaged)
        return self.detections(proposals, class_logits, codes, valid_sizes)

    def infer_semantics(self, images: Tensor, levels: list[Tensor]) -> Tensor:
        """Return semantic logits of images, float32 or wider; zeros where there is no head."""
        if self.sem_head is None:
            count, _, height, width = levels[0].shape
            logits = levels[0].new_zeros(count, self.num_stuff + self.num_thing, height, width)
        else:
            logits = self.semantic_logits(self.semantic_features(images, levels))
        return logits if logits.dtype == torch.float64 else logits.float()

    def semantic_classes(self, logits: Tensor, image_size: Size, valid_size: Size) -> Tensor:
        """Return the class of every pixel of one image; void where there is no semantic head.

        Args:
            logits: ``(classes, h, w)`` of the padded image.
            image_size: Height and width of the padded image.
            valid_size: Height and width of the unpadded image.
        """
        if self.sem_head is None:
            return torch.full(valid_size, VOID_ID, dtype=torch.int64, device=logits.device)
        return upsampled_argmax(
            logits, image_size, valid_size, chunk_pixels=self.settings.sem.loss_chunk_pixels
        )

    @property
    def has_semantics(self) -> bool:
        """Whether there is a semantic head."""
        return self.sem_head is not None

    @property
    def fuses_logits(self) -> bool:
        """Whether the fusion reads semantic logits alone: it takes classes."""
        return False

    @property
    def semantic_stride(self) -> int:
        """Stride of the semantic logits in pixels of the input."""
        return FINEST_STRIDE << self.settings.sem.fpn_min_level

    @property
    def mask_hw(self) -> Size:
        """Rows and columns of a detection's mask."""
        rows, columns = self.settings.roi.roi_size
        return (2 * rows, 2 * columns)

    def detection_rule(self) -> DetectionRule:
        """Return the rule of the settings."""
        roi = self.settings.roi
        return DetectionRule(roi.score_threshold, roi.nms_threshold, roi.max_predictions)

    def infer_masks(
        self, levels: Sequence[Tensor], detections: Sequence[Detections], image_size: Size
    ) -> list[Tensor]:
        """Return the mask logits of each image's detections, ``(k_i, 2 rows, 2 columns)``."""
        if self.roi_head is None:
            return [levels[0].new_zeros(0, *self.mask_hw) for _ in detections]
        rois = self.roi_features(levels, [d.boxes for d in detections], image_size)
        classes = torch.cat([d.classes for d in detections])
        chosen = self.roi_head.masks_of_classes(rois, classes)
        return list(torch.split(chosen, [len(d.classes) for d in detections]))

    def roi_outputs(self, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the RoI head for training: class logits, box codes, mask logits of every RoI."""
        head = _present(self.roi_head)
        class_logits, codes = head.boxes(F.avg_pool2d(rois, BOX_AVERAGE))
        return class_logits, codes, head.masks(rois)


def _present(part: Part | None) -> Part:
    if part is None:
        raise TypeError("network.layout leaves out the head that is asked for")
    return part


def _no_detections(like: Tensor) -> Detections:
    precise = torch.float64 if like.dtype == torch.float64 else torch.float32
    return Detections(
        like.new_zeros(0, 4, dtype=precise),
        like.new_zeros(0, dtype=torch.int64),
        like.new_zeros(0, dtype=precise),
    )
