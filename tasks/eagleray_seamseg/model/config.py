"""Settings of the Seamless network; defaults are the package's panoptic defaults of the original.

``vistas_r50`` and ``cityscapes_r50`` return the two configurations of the paper (Porzi et al.,
"Seamless Scene Segmentation", CVPR 2019). Sizes are pixels of the network input unless said
otherwise; a feature level is counted from 0 at the stride of the FPN's finest input.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from eagleray.task import OF_USE, Settings
from eagleray_vision.detection.settings import (
    Positive,
    RegionHeadSettings,
    RegionProposalSettings,
    Unit,
)

RESNET_DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet101": 101, "resnet152": 152}
"""Names of the built-in residual backbones and their depth."""

SemanticHead = Literal["mini_dl", "fpn", "deeplab", "upernet"]
Layout = Literal["joint", "separate", "semantic", "instance"]
NormalizationMode = Literal["bn", "syncbn", "syncbn+bn", "gn", "syncbn+gn", "off"]


class BodySettings(Settings):
    """The backbone, and the normalization and activation that all parts of the network share."""

    backbone: str = Field(
        "resnet50",
        description="Backbone: resnet18, resnet34, resnet50, resnet101, resnet152, mobilenet_v2 "
        "(torchvision's), or timm:<model name> for any timm feature extractor.",
    )
    weights: str | None = Field(
        None,
        description="File with pretrained backbone weights (.pt, .pth, .safetensors; torchvision's "
        "or the original's names). Empty: the backbone starts at random, which is refused as long "
        "as num_frozen is above 0.",
    )
    rgb_mean: tuple[float, float, float] | None = Field(
        None,
        description="Mean color that the backbone weights expect, RGB in 0..1; null: the mean of "
        "the data settings.",
    )
    rgb_std: tuple[float, float, float] | None = Field(
        None,
        description="Standard deviation that goes with rgb_mean, RGB in 0..1.",
    )
    num_frozen: int = Field(
        2,
        ge=0,
        le=5,
        description="Number of backbone modules, counted from the stem, whose parameters are not "
        "trained; their running statistics still move.",
    )
    normalization_mode: NormalizationMode = Field(
        "syncbn",
        description="Normalization of backbone, FPN and semantic head, and after the plus sign of "
        "the RPN and RoI heads: bn (batch of this worker), syncbn (batch of all workers), gn "
        "(groups of channels), off (frozen statistics).",
    )
    bn_frozen: bool = Field(
        True,
        description="Do not train the scales and shifts of the normalization; statistics move.",
    )
    activation: Literal["leaky_relu", "elu", "relu", "identity"] = Field(
        "leaky_relu", description="Activation that follows every normalization."
    )
    activation_slope: float = Field(
        0.01, ge=0, description="Negative slope of leaky_relu, or alpha of elu."
    )
    gn_groups: Positive = Field(16, description="Channel groups of the gn modes.")
    dilation: tuple[Positive, Positive, Positive, Positive] = Field(
        (1, 1, 1, 1),
        description="Dilation of backbone modules 2 to 5; a dilated module has stride 1, and a "
        "dilated module 2 also drops the max-pooling of the stem. Residual backbones only.",
    )
    dropout: tuple[Unit, Unit, Unit, Unit] = Field(
        (0.0, 0.0, 0.0, 0.0),
        description="Dropout probability before the last convolution of each block of modules 2 "
        "to 5; 0 = none. Residual backbones only.",
    )
    stem_bias: bool = Field(
        False, description="Give the first convolution a bias, as Caffe's residual networks have."
    )

    @model_validator(mode="after")
    def _mean_with_std(self) -> Self:
        if (self.rgb_mean is None) != (self.rgb_std is None):
            raise ValueError("give both rgb_mean and rgb_std, or neither")
        return self

    @field_validator("backbone")
    @classmethod
    def _known_backbone(cls, backbone: str) -> str:
        if backbone in RESNET_DEPTHS or backbone == "mobilenet_v2" or backbone.startswith("timm:"):
            return backbone
        raise ValueError(
            f"unknown backbone {backbone!r}; allowed are {', '.join(RESNET_DEPTHS)}, mobilenet_v2 "
            "and timm:<model name>"
        )


class FpnSettings(Settings):
    """The feature pyramid."""

    out_channels: Positive = Field(256, description="Channels of every level.")
    extra_scales: int = Field(
        0, ge=0, description="Levels beyond the backbone's coarsest, each halving the size."
    )
    interpolation: Literal["nearest", "bilinear"] = Field(
        "nearest", description="Upsampling of the top-down path."
    )
    inputs: tuple[Literal["mod2", "mod3", "mod4", "mod5"], ...] = Field(
        ("mod2", "mod3", "mod4", "mod5"),
        min_length=1,
        description="Backbone modules that are merged, finest first.",
    )


class RpnSettings(RegionProposalSettings):
    """The region proposal network: head, anchors, proposals and training targets."""

    anchor_ratios: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0, 0.5, 2.0), min_length=1, description="Height over width of the anchors of a level."
    )
    hidden_channels: Positive = Field(256, description="Channels of the shared 3 x 3 convolution.")
    fpn_min_level: int = Field(0, ge=0, description="First FPN level that the RPN reads.")
    fpn_levels: Positive = Field(4, description="Number of FPN levels that the RPN reads.")
    num_pre_nms_train: int = Field(
        12000, ge=0, description="Proposals per image before NMS in training; 0 = all."
    )
    num_post_nms_train: int = Field(
        2000, ge=0, description="Proposals per image after NMS in training; 0 = all."
    )
    num_pre_nms_val: int = Field(
        6000, ge=0, description="Proposals per image before NMS in inference; 0 = all."
    )
    num_post_nms_val: int = Field(
        300, ge=0, description="Proposals per image after NMS in inference; 0 = all."
    )
    min_size: float = Field(
        16.0, ge=0, description="Smallest side of a proposal in pixels; 0 = no limit."
    )
    void_threshold: Unit = Field(
        0.7, description="Share of crowd area from which an anchor is ignored; 0 = never."
    )
    sigma: float = Field(3.0, gt=0, description="Sharpness of the smooth L1 loss of the boxes.")


class RoiSettings(RegionHeadSettings):
    """The Mask R-CNN heads: RoI features, training targets and detections."""

    num_samples: Positive = Field(128, description="RoIs per image in the losses.")
    nms_threshold: Annotated[Unit, OF_USE] = Field(
        0.3, description="IoU at which a detection suppresses another."
    )
    score_threshold: Annotated[Unit, OF_USE] = Field(
        0.05, description="Score above which a detection is kept."
    )
    roi_size: tuple[Positive, Positive] = Field(
        (14, 14), description="Height and width of RoI features in cells; even numbers."
    )
    fpn_min_level: int = Field(0, ge=0, description="First FPN level that RoIs are taken from.")
    fpn_levels: Positive = Field(4, description="Number of FPN levels that RoIs are taken from.")
    fpn_canonical_scale: float = Field(
        224.0, gt=0, description="RoI size in pixels (root of its area) of the canonical level."
    )
    fpn_canonical_level: int = Field(
        2, ge=0, description="FPN level of RoIs of the canonical size."
    )
    mask_channels: Positive = Field(256, description="Channels of the mask branch.")
    bbx_reg_weights: tuple[float, float, float, float] = Field(
        (10.0, 10.0, 5.0, 5.0), description="Factors of the box code (dy, dx, dh, dw)."
    )
    neg_threshold_hi: Unit = Field(0.5, description="IoU below which a RoI is negative.")
    neg_threshold_lo: Unit = Field(0.0, description="IoU from which a RoI is negative.")
    void_threshold: Unit = Field(
        0.7, description="Share of crowd area from which a RoI is ignored; 0 = never."
    )
    void_is_background: bool = Field(
        False, description="Void pixels are background in the mask targets instead of ignored."
    )
    sigma: float = Field(1.0, gt=0, description="Sharpness of the smooth L1 loss of the boxes.")
    max_predictions: Annotated[Positive, OF_USE] = Field(100, description="Detections per image.")

    @field_validator("roi_size")
    @classmethod
    def _even(cls, size: tuple[int, int]) -> tuple[int, int]:
        if size[0] % 2 or size[1] % 2:
            raise ValueError(
                f"roi_size {size} must be even: the box branch averages cells two by two"
            )
        return size


class SemSettings(Settings):
    """The semantic head and its loss."""

    head: SemanticHead = Field(
        "mini_dl",
        description="Kind of head: mini_dl (the paper's), fpn (levels climb and are added, "
        "Panoptic FPN), deeplab (ASPP of the coarsest level with a decoder at the finest), upernet "
        "(pyramid pooling on top of a pyramid, levels fused).",
    )
    fpn_min_level: int = Field(0, ge=0, description="First FPN level that the head reads.")
    fpn_levels: Positive = Field(4, description="Number of FPN levels that the head reads.")
    hidden_channels: Positive = Field(128, description="Channels of each level's module.")
    pooling_size: tuple[Positive, Positive] = Field(
        (64, 64),
        description="Height and width of the averaging window in cells of the level (mini_dl).",
    )
    dilation: Positive = Field(6, description="Dilation of the second branch in cells (mini_dl).")
    aspp_rates: tuple[Positive, ...] = Field(
        (6, 12, 18),
        min_length=1,
        description="Dilations of ASPP in cells of the coarsest level that is read (deeplab).",
    )
    pooling_bins: tuple[Positive, ...] = Field(
        (1, 2, 3, 6),
        min_length=1,
        description="Parts along each side of the grids that are averaged (upernet).",
    )
    ohem: float | None = Field(
        0.25,
        gt=0,
        le=1,
        description="Share of the worst pixels that the loss averages; null or 1 = all.",
    )
    loss_chunk_pixels: Positive = Field(
        1 << 18,
        description="Pixels whose full-resolution logits are held at a time; changes no result.",
    )


class NetworkSettings(Settings):
    """Everything that the network and its losses depend on, apart from the data's classes."""

    layout: Layout = Field(
        "joint",
        description="joint: one body for all heads (the paper); separate: a body of its own for "
        "the semantic head, two networks in all but name; semantic: semantic head alone; instance: "
        "RPN and RoI heads alone. What has no head has no loss.",
    )
    body: BodySettings = Field(BodySettings(), description="Backbone and normalization.")
    fpn: FpnSettings = Field(FpnSettings(), description="Feature pyramid.")
    rpn: RpnSettings = Field(RpnSettings(), description="Region proposal network.")
    roi: RoiSettings = Field(RoiSettings(), description="Mask R-CNN heads.")
    sem: SemSettings = Field(SemSettings(), description="Semantic head.")
    loss_weights: tuple[float, float, float, float, float, float] = Field(
        (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        description="Factors of the losses obj, bbx, roi_cls, roi_bbx, roi_msk and sem.",
    )

    @property
    def has_instances(self) -> bool:
        """Whether there are RPN and RoI heads."""
        return self.layout != "semantic"

    @property
    def has_semantics(self) -> bool:
        """Whether there is a semantic head."""
        return self.layout != "instance"

    @property
    def num_fpn_levels(self) -> int:
        """Number of levels that the feature pyramid returns."""
        return len(self.fpn.inputs) + self.fpn.extra_scales

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        for name, part in (("rpn", self.rpn), ("roi", self.roi), ("sem", self.sem)):
            needed = part.fpn_min_level + part.fpn_levels
            if needed > self.num_fpn_levels:
                raise ValueError(
                    f"{name}.fpn_min_level + {name}.fpn_levels = {needed}, but the feature pyramid "
                    f"has {self.num_fpn_levels} levels (fpn.inputs {len(self.fpn.inputs)} + "
                    f"fpn.extra_scales {self.fpn.extra_scales}): raise fpn.extra_scales or lower "
                    f"{name}.fpn_levels"
                )
        return self


def vistas_r50(**body: Any) -> NetworkSettings:
    """Return the paper's configuration for Mapillary Vistas.

    Args:
        body: Fields of BodySettings to set, usually ``weights`` (the original leaves it empty and
            so trains on a frozen random stem; here that is refused).
    """
    return NetworkSettings(
        body=BodySettings(**{"bn_frozen": False, **body}),
        fpn=FpnSettings(extra_scales=2),
        rpn=RpnSettings(
            anchor_ratios=(0.2, 0.5, 1.0, 2.0, 5.0),
            anchor_scale=2.0,
            fpn_levels=6,
            num_post_nms_val=1000,
            min_size=0.0,
        ),
        roi=RoiSettings(num_samples=512, nms_threshold=0.5, max_predictions=256),
    )


def cityscapes_r50(**body: Any) -> NetworkSettings:
    """Return the paper's configuration for Cityscapes; ``body`` as in ``vistas_r50``."""
    return NetworkSettings(
        body=BodySettings(**{"bn_frozen": False, **body}),
        fpn=FpnSettings(extra_scales=1),
        rpn=RpnSettings(fpn_levels=5, num_post_nms_val=1000, min_size=0.0),
        roi=RoiSettings(num_samples=512, nms_threshold=0.5),
    )
