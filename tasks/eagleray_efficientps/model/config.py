"""Settings of the EfficientPS network; defaults are those of the released code and weights.

Sizes are pixels of the network input. Boxes are inclusive pixel corners: a side measures
x1 - x0 + 1.
"""

from typing import Annotated, Literal

from pydantic import Field

from eagleray.task import OF_USE, Settings
from eagleray_vision.detection.settings import (
    Positive,
    RegionHeadSettings,
    RegionProposalSettings,
    Unit,
)
from eagleray_vision.layers.activated_norm import NormKind

BackboneName = Literal[
    "efficientnet_b0", "efficientnet_b4", "efficientnet_b5", "resnet50", "mobilenet_v2"
]

PYRAMID_STRIDES = (4, 8, 16, 32)
"""Strides of the pyramid's levels in pixels, finest first."""

BACKBONE_EPS = 1e-3
"""Epsilon of the backbone's normalization, in the released code."""
HEAD_EPS = 1e-5
"""Epsilon of every other normalization, in the released code."""


class BackboneSettings(Settings):
    """The backbone, and the normalization that all parts of the network share."""

    name: BackboneName = Field(
        "efficientnet_b5",
        description="EfficientNet b5 (the paper), b4, or b0 for small GPUs; resnet50 and "
        "mobilenet_v2 (whose normalization is frozen) for comparison.",
    )
    weights: str | None = Field(
        None,
        description="Pretrained weights (.pth, .safetensors): an EfficientNet's in timm's "
        "names, others' in torchvision's; read when training begins. Empty: random weights.",
    )
    squeeze_excitation: bool = Field(
        False,
        description="Keep the squeeze-and-excitation units of EfficientNet, which the paper "
        "removes.",
    )
    normalization: NormKind = Field(
        "synced_batch",
        description="synced_batch (in-place ABN over all workers, the paper), batch (of one "
        "worker), group (groups of channels), frozen (running statistics, plain scale).",
    )
    absolute_scale: bool = Field(
        True,
        description="Scale by |weight| + eps as in-place ABN does; false: by the plain weight, as "
        "ordinary batch normalization.",
    )
    activation_slope: float = Field(0.01, ge=0, description="Negative slope of the leaky ReLU.")
    groups: Positive = Field(8, description="Channel groups of normalization: group.")


class PyramidSettings(Settings):
    """The feature pyramid."""

    channels: Positive = Field(256, description="Channels of every level.")
    direction: Literal["two_way", "top_down", "bottom_up"] = Field(
        "two_way", description="Which ways information runs; the paper: both, in parallel."
    )
    output_conv: Literal["dense", "separable"] = Field(
        "dense",
        description="3 x 3 convolutions at the outputs: dense in the released code and weights, "
        "separable in the paper's text and parameter count.",
    )


class SemanticSettings(Settings):
    """The semantic head and its loss."""

    channels: Positive = Field(128, description="Channels that every level is reduced to.")
    dpc: bool = Field(
        True, description="Dense prediction cells at strides 32 and 16; false: what LSFE says."
    )
    lsfe: bool = Field(
        True,
        description="Large-scale feature extractors (two separable convolutions) at strides 8 "
        "and 4; false: one 1 x 1 convolution.",
    )
    mismatch_correction: bool = Field(
        True, description="Add coarser to finer levels through correction modules."
    )
    worst_fraction: float | None = Field(
        0.25,
        gt=0,
        le=1,
        description="Share of the worst pixels that the loss averages; null or 1: all.",
    )
    loss_chunk_pixels: Positive = Field(
        1 << 18,
        description="Pixels whose full-size logits are held at a time; changes no result.",
    )


class RpnSettings(RegionProposalSettings):
    """The region proposal network: head, anchors, proposals and training targets."""

    channels: Positive = Field(256, description="Channels of the shared 3 x 3 convolution.")
    num_pre_nms_train: Positive = Field(
        2000, description="Proposals per level that enter suppression in training."
    )
    num_post_nms_train: Positive = Field(
        2000, description="Proposals kept per level, and over all levels, in training."
    )
    num_pre_nms_test: Positive = Field(
        1000, description="Proposals per level that enter suppression in inference."
    )
    num_post_nms_test: Positive = Field(
        1000, description="Proposals kept per level, and over all levels, in inference."
    )
    min_size: float = Field(0.0, ge=0, description="Smallest side of a proposal in pixels.")
    min_pos_threshold: Unit = Field(
        0.3, description="IoU from which a truth's best anchors are positive anyway."
    )
    beta: float = Field(1 / 9, gt=0, description="Where the smooth L1 loss becomes linear.")


class RoiSettings(RegionHeadSettings):
    """Box and mask heads: RoI features, training targets and detections."""

    box_size: Positive = Field(7, description="Side of the box head's RoI features in cells.")
    mask_size: Positive = Field(14, description="Side of the mask head's RoI features in cells.")
    finest_scale_px: float = Field(
        56.0, gt=0, description="RoIs below twice this size (root of the area) use stride 4."
    )
    num_mask_convs: Positive = Field(4, description="Separable convolutions of the mask head.")
    code_stds: tuple[float, float, float, float] = Field(
        (0.1, 0.1, 0.2, 0.2), description="Divisors of the box code (dx, dy, dw, dh)."
    )
    neg_threshold: Unit = Field(0.5, description="IoU below which a RoI is negative.")
    min_pos_threshold: Unit = Field(
        0.5, description="IoU from which a truth's best RoIs are positive anyway."
    )
    beta: float = Field(1.0, gt=0, description="Where the smooth L1 loss becomes linear.")
    max_detections: Annotated[Positive, OF_USE] = Field(100, description="Detections per image.")


class NetworkSettings(Settings):
    """Everything that the network and its losses depend on, apart from the data's classes."""

    backbone: BackboneSettings = Field(BackboneSettings(), description="Backbone.")
    pyramid: PyramidSettings = Field(PyramidSettings(), description="Feature pyramid.")
    semantic: SemanticSettings = Field(SemanticSettings(), description="Semantic head.")
    rpn: RpnSettings = Field(RpnSettings(), description="Region proposal network.")
    roi: RoiSettings = Field(RoiSettings(), description="Box and mask heads.")
