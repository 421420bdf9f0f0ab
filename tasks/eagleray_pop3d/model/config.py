"""Settings of the POP-3D network; defaults are those of the released configuration.

The grid has H cells along y, W along x and Z up, in the lidar frame.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from eagleray.task import LATER, OF_USE, Settings

Positive = Annotated[int, Field(ge=1)]


class GridSettings(Settings):
    """The voxel grid and the metric box that it fills, in the lidar frame."""

    size_hwz: tuple[Positive, Positive, Positive] = Field(
        (100, 100, 8), description="Cells along y, x and z."
    )
    range_min_m: tuple[float, float, float] = Field(
        (-51.2, -51.2, -5.0), description="Lower corner (x, y, z) of the box in metres."
    )
    range_max_m: tuple[float, float, float] = Field(
        (51.2, 51.2, 3.0), description="Upper corner (x, y, z) of the box in metres."
    )

    @model_validator(mode="after")
    def _has_volume(self) -> GridSettings:
        if any(low >= high for low, high in zip(self.range_min_m, self.range_max_m, strict=True)):
            raise ValueError(
                f"range_min_m {self.range_min_m} must lie below range_max_m {self.range_max_m} "
                "along every axis"
            )
        return self

    @property
    def size_xyz(self) -> tuple[int, int, int]:
        """Cells along x, y and z: the order of voxel tensors."""
        h, w, z = self.size_hwz
        return w, h, z

    @property
    def extent_m(self) -> tuple[float, float, float]:
        """Lengths of the box along x, y and z in metres."""
        low, high = self.range_min_m, self.range_max_m
        return high[0] - low[0], high[1] - low[1], high[2] - low[2]


class BackboneSettings(Settings):
    """The image backbone and its pyramid."""

    depth: Literal[10, 18, 34, 50, 101] = Field(
        101,
        description="Depth of the residual network; 10, 18 and 34 have basic blocks, 10 one per "
        "stage.",
    )
    deformable_stages: tuple[Literal[1, 2, 3, 4], ...] = Field(
        (3, 4),
        description="Stages whose 3 x 3 convolutions are modulated deformable ones; needs "
        "bottleneck blocks (depth 50 or 101).",
    )
    frozen_stages: Annotated[int, Field(ge=-1, le=4)] = Field(
        1, description="Stem and the first n stages are not trained; -1: everything is."
    )
    weights: str | None = Field(
        None,
        description="Pretrained weights of backbone and pyramid (r101_dcn_fcos3d_pretrain.pth), or "
        "of the backbone alone in torchvision's names; read when training begins.",
    )
    norm: Annotated[Literal["frozen", "group"], LATER] = Field(
        "frozen",
        description="Batch normalization with the statistics of pretrained weights, not trained "
        "(paper), or group normalization, which learns from random weights too.",
    )
    lr_factor: Annotated[float, Field(gt=0), LATER] = Field(
        0.1, description="Of the learning rate, for the backbone (paper: 0.1)."
    )

    @model_validator(mode="after")
    def _deformable_needs_bottlenecks(self) -> BackboneSettings:
        if self.depth < 50 and self.deformable_stages:
            raise ValueError(
                f"deformable_stages {self.deformable_stages} need bottleneck blocks, which depth "
                f"{self.depth} does not have: set deformable_stages to [] or depth to 50 or 101"
            )
        return self


class EncoderSettings(Settings):
    """The tri-perspective view encoder."""

    channels: Positive = Field(256, description="Width of tokens, planes and pyramid.")
    num_layers: Positive = Field(3, description="Encoder layers.")
    num_heads: Positive = Field(8, description="Heads of both attentions.")
    feedforward_channels: Positive = Field(512, description="Hidden width of a layer's FFN.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout after attentions and in the FFN.")
    plane_points: Positive = Field(4, description="Sampling points of the plane attention.")
    pillars: tuple[Positive, Positive, Positive] = Field(
        (4, 32, 32), description="Anchors in space per query of the hw, zh and wz plane."
    )
    image_points: tuple[Positive, Positive, Positive] = Field(
        (8, 64, 64),
        description="Sampling points per query, head and level of the hw, zh and wz plane: a "
        "multiple of the anchors.",
    )
    num_cameras: Positive = Field(6, description="Cameras of the rig: one embedding per slot.")

    @model_validator(mode="after")
    def _sizes_divide(self) -> EncoderSettings:
        if self.channels % self.num_heads or self.channels % 2:
            raise ValueError(
                f"channels {self.channels} must be even and a multiple of num_heads "
                f"{self.num_heads}"
            )
        for anchors, points in zip(self.pillars, self.image_points, strict=True):
            if points % anchors:
                raise ValueError(
                    f"image_points {self.image_points} must be multiples of pillars {self.pillars}"
                )
        return self


class HeadSettings(Settings):
    """The occupancy head and the language head."""

    occupancy_hidden: tuple[Positive, ...] = Field(
        (512, 256), description="Widths of the occupancy decoder's layers; Softplus between them."
    )
    language_hidden: tuple[Positive, ...] = Field(
        (1024, 1024), description="Widths of the language decoder's layers; Softplus between them."
    )
    feature_channels: Positive = Field(
        512, description="Width of the language feature: that of the text space (ViT-B/16: 512)."
    )
    scale_hwz: Annotated[tuple[Positive, Positive, Positive], OF_USE] = Field(
        (1, 1, 1),
        description="Bilinear enlargement of the planes along y, x and z before they are read "
        "(3, 3, 3: the original's 300 x 300 x 24 figures).",
    )


class NetworkSettings(Settings):
    """All parts of the network."""

    grid: GridSettings = Field(default_factory=GridSettings, description="Voxel grid.")
    backbone: BackboneSettings = Field(
        default_factory=BackboneSettings, description="Image backbone and pyramid."
    )
    encoder: EncoderSettings = Field(
        default_factory=EncoderSettings, description="Tri-perspective view encoder."
    )
    heads: HeadSettings = Field(default_factory=HeadSettings, description="The two heads.")
