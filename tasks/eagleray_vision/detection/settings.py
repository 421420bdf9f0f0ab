"""Settings that every region-based detector has, with the values that most share; a system derives
from them, states where its own differ, and adds what it needs beyond.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eagleray.task import OF_USE, Settings

Positive = Annotated[int, Field(ge=1)]
Unit = Annotated[float, Field(ge=0, le=1)]


class RegionProposalSettings(Settings):
    """The region proposal network: anchors, suppression and training targets."""

    anchor_scale: float = Field(
        8.0, gt=0, description="Anchor size (root of its area) in units of the level's stride."
    )
    anchor_ratios: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.5, 1.0, 2.0), min_length=1, description="Height over width of the anchors of a level."
    )
    nms_threshold: Unit = Field(0.7, description="IoU at which a proposal suppresses another.")
    num_samples: int | None = Field(
        256, ge=1, description="Anchors per image in the loss; null: all (no sub-sampling)."
    )
    pos_ratio: Unit = Field(0.5, description="Largest share of positive anchors in the sample.")
    pos_threshold: Unit = Field(0.7, description="IoU from which an anchor is positive.")
    neg_threshold: Unit = Field(0.3, description="IoU below which an anchor is negative.")


class RegionHeadSettings(Settings):
    """Heads on RoI features: width, training targets and detections."""

    hidden_channels: Positive = Field(1024, description="Width of the two fully connected layers.")
    num_samples: Positive = Field(256, description="RoIs per image in the losses.")
    pos_ratio: Unit = Field(0.25, description="Largest share of positive RoIs in the sample.")
    pos_threshold: Unit = Field(0.5, description="IoU from which a RoI is positive.")
    nms_threshold: Annotated[Unit, OF_USE] = Field(
        0.5, description="IoU at which a detection suppresses another."
    )
    score_threshold: Annotated[Unit, OF_USE] = Field(
        0.5, description="Score above which a detection is kept."
    )
