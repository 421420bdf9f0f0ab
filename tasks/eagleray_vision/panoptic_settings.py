"""Settings that every panoptic system with one network has; a system derives from them, states
where its own differ, and adds what it needs beyond.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eagleray.task import OF_USE, Settings
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.detection.settings import Positive, Unit
from eagleray_vision.inference.views import TestTimeSettings
from eagleray_vision.presets import PresetSettings
from eagleray_vision.scoring.rule import ScoringSettings

Color = tuple[float, float, float]
"""RGB, 0..1."""


class ConvertSettings(Settings):
    """Writing a data set in the layout of a system's original while it is prepared."""

    folder: str = Field(
        "",
        description="Folder that prepare writes the data set to, in the layout of the original "
        "code; every machine must see it. Empty: no.",
    )
    photos: Literal["copy", "link"] = Field(
        "copy", description="Copy the photographs, or make symbolic links to them."
    )


class PanopticInputSettings(Settings):
    """From photographs to network input."""

    max_network_px: Positive = Field(
        1 << 25,
        description="Largest network input of a user's own file, in pixels; a photograph that "
        "would need more (12,000 x 800, enlarged until its shorter side fits) is rejected.",
    )
    flip_probability: Unit = Field(
        0.5, description="Probability that a training image is mirrored left to right."
    )


class InstanceFusionSettings(Settings):
    """Which detections take part in panoptic fusion."""

    score_threshold: Unit = Field(0.5, description="Detections need a higher score than this.")
    overlap_threshold: Unit = Field(
        0.5, description="A detection is dropped if more than this share of it is taken already."
    )


class PanopticSettings(PresetSettings):
    """Everything that an experiment of a panoptic system may set."""

    faithful: bool
    """Keep the defects of the original that change numbers."""
    data: DatasetSettings
    """Data set."""
    input: PanopticInputSettings
    """Sizes and colors of the input."""
    fusion: Annotated[InstanceFusionSettings, OF_USE]
    """How the outputs of both heads become one panoptic map."""
    evaluation: Annotated[ScoringSettings, OF_USE] = Field(
        ScoringSettings(), description="What is scored, and at which size."
    )
    test_time: Annotated[TestTimeSettings, OF_USE] = Field(
        TestTimeSettings(), description="Views per image in evaluation and prediction."
    )
    init_class_list: str = Field(
        "",
        description="Class list of the checkpoint in train.init_from: heads keep the rows of "
        "classes of the same name. 'cityscapes', or a config.json of Vistas or a COCO panoptic "
        "JSON. Empty: heads of other classes begin afresh.",
    )
