"""Settings of the EfficientPS task: data, input, network, fusion, evaluation, training recipe.

``preset`` chooses the data set and the size of the network whose numbers are the defaults of all
the others; what an experiment states is laid over them. ``recipe`` chooses between the training of
the released code and that of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from eagleray.task import LATER, OF_USE
from eagleray_efficientps.model.config import NetworkSettings
from eagleray_toyworld.settings import ToyworldSettings
from eagleray_vision import panoptic_settings
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.detection.settings import Positive, Unit
from eagleray_vision.panoptic_settings import (
    Color,
    InstanceFusionSettings,
    PanopticInputSettings,
    PanopticSettings,
)
from eagleray_vision.scoring.rule import ScoringSettings

Preset = Literal["cityscapes", "cityscapes_half", "cityscapes_b0", "kitti", "vistas", "idd"]
DataFormat = Literal[
    "cityscapes", "kitti", "vistas", "idd", "coco_panoptic", "efficientps", "toyworld"
]
Recipe = Literal["released", "paper"]
Factor = Annotated[float, Field(gt=0)]

RGB_MEAN: Color = (106.433 / 255, 116.617 / 255, 119.559 / 255)
"""Mean color that the released code subtracts, of every data set."""
RGB_STD: Color = (65.496 / 255, 67.6 / 255, 74.123 / 255)
"""Standard deviation that goes with it."""

PAD_MULTIPLE = 32
"""Sides of the padded input are multiples of the coarsest stride."""


class ConvertSettings(panoptic_settings.ConvertSettings):
    """Writing a data set in the original's converted layout while it is prepared."""

    folder: str = Field(
        "",
        description="Folder that prepare writes train, val, stuffthingmaps, annotations and "
        "*_panoptic_val to, which the original code and data.format efficientps read; for "
        "cityscapes, kitti and idd; every machine must see it. Empty: no.",
    )


class DataSettings(DatasetSettings):
    """Where the labeled images are and how they are laid out."""

    format: DataFormat = Field(
        "cityscapes",
        description="Layout: cityscapes, kitti (KITTI panoptic), vistas (Mapillary Vistas), idd "
        "(India Driving), coco_panoptic (PNGs and a JSON), efficientps (converted for the original "
        "code), toyworld (generated street frames).",
    )
    root: str = Field("data/cityscapes", description="Folder of the data set.")
    train_split: str = Field("train", description="Split that is trained on.")
    val_split: str = Field("val", description="Split of the benchmark.")
    convert: Annotated[ConvertSettings, LATER] = Field(
        ConvertSettings(), description="Writing the data in the original's layout."
    )
    toyworld: ToyworldSettings = Field(
        ToyworldSettings(), description="What is generated where the format is toyworld."
    )


class InputSettings(PanopticInputSettings):
    """From photographs to network input."""

    size_hw: tuple[Positive, Positive] = Field(
        (1024, 2048),
        description="Height and width that a landscape photograph is resized to.",
    )
    keep_shape: bool = Field(
        True,
        description="Fit the photograph into size_hw (portraits: turned) and keep its shape; "
        "false: stretch it to size_hw, as KITTI panoptic is converted.",
    )
    crop_hw: tuple[Positive, Positive] = Field(
        (1024, 2048), description="Height and width of the crops that are trained on."
    )
    random_scale: tuple[Factor, Factor] | None = Field(
        (0.5, 2.0),
        description="In training size_hw is multiplied by a number between these two; null: by 1.",
    )
    rgb_mean: Color = Field(RGB_MEAN, description="Mean color (RGB, 0..1).")
    rgb_std: Color = Field(RGB_STD, description="Standard deviation that goes with rgb_mean.")

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        scale = self.random_scale
        if scale is not None and scale[0] > scale[1]:
            raise ValueError(f"random_scale {scale}: the first number is the lower one")
        return self


class FusionSettings(InstanceFusionSettings):
    """Panoptic fusion."""

    method: Literal["proposed", "heuristic"] = Field(
        "proposed",
        description="proposed: fused logits compete for pixels (the paper); heuristic: instances "
        "claim pixels by falling score and semantic classes fill the rest.",
    )
    min_stuff_area_px: int = Field(
        2048, ge=0, description="Stuff classes with fewer pixels of the result are dropped."
    )
    mask_logit_gain: float = Field(
        4.0, gt=0, description="Factor of the mask logits: 4 in the released code, 1 in the paper."
    )
    fill_void: bool = Field(
        False,
        description="Give pixels whose best class is a thing that no instance claims to the best "
        "stuff class, which removes the dark rims around cars.",
    )


class EvaluationSettings(ScoringSettings):
    """What is scored beside panoptic quality and mean IoU."""

    mode: Literal["panoptic", "separate"] = Field(
        "separate",
        description="Where semantic IoU and COCO AP come from: the fused map, or the heads as they "
        "are (the paper).",
    )
    cityscapes_ap: bool = Field(
        False, description="Also report AP by the rules of Cityscapes, over the thing classes."
    )
    ap_score_threshold: Unit = Field(
        0.05,
        description="Detections above this score enter AP; the released code takes those above "
        "fusion.score_threshold only, which lowers it (faithful).",
    )


def _sizes(height: int, width: int) -> dict[str, tuple[int, int]]:
    return {"size_hw": (height, width), "crop_hw": (height, width)}


PRESETS: dict[str, dict[str, Any]] = {
    "cityscapes": {},
    "cityscapes_half": {"input": {"crop_hw": (512, 1024)}},
    "cityscapes_b0": {"network": {"backbone": {"name": "efficientnet_b0"}}},
    "kitti": {
        "data": {
            "format": "kitti",
            "root": "data/kitti_panoptic",
            "train_split": "training",
            "val_split": "validation",
        },
        "input": {**_sizes(384, 1280), "keep_shape": False},
    },
    "vistas": {
        "data": {
            "format": "vistas",
            "root": "data/vistas",
            "train_split": "training",
            "val_split": "validation",
        },
        "input": {"size_hw": (1024, 2048), "crop_hw": (1024, 1024)},
    },
    "idd": {"data": {"format": "idd", "root": "data/idd"}, "input": _sizes(720, 1280)},
}
"""Where the data sets of the paper differ from Cityscapes: layout and sizes (EfficientPS, section
4.2); for Vistas the size that photographs are fitted into is ours, since the paper names crops
only."""


class EfficientPsSettings(PanopticSettings):
    """Everything that an EfficientPS experiment may set."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    preset: Preset = Field(
        "cityscapes",
        description="Whose numbers are the defaults: cityscapes, kitti, vistas, idd (the paper's "
        "crops and schedules), or for small GPUs cityscapes_half (crops of 512 x 1024) and "
        "cityscapes_b0 (EfficientNet-B0).",
    )
    recipe: Recipe = Field(
        "released",
        description="Training of the released code (160 epochs), or of the paper (steps by data "
        "set, then 10 epochs with frozen statistics).",
    )
    faithful: bool = Field(
        True,
        description="Keep the released code's defects that change numbers: labels padded with "
        "road, crops without things drawn again, groups trained as background, logits squeezed "
        "instead of cropped, results at the network's size, AP above fusion.score_threshold.",
    )
    data: DataSettings = Field(DataSettings(), description="Data set.")
    input: InputSettings = Field(InputSettings(), description="Sizes and colors of the input.")
    network: NetworkSettings = Field(NetworkSettings(), description="Network and losses.")
    fusion: Annotated[FusionSettings, OF_USE] = Field(
        FusionSettings(), description="How the outputs of both heads become one panoptic map."
    )
    evaluation: Annotated[EvaluationSettings, OF_USE] = Field(
        EvaluationSettings(), description="What is scored."
    )
