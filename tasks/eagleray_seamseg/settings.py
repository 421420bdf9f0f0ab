"""Settings of the Seamless task: data, input sizes, network, fusion, evaluation, training.

``preset`` chooses whose numbers are the defaults: those of the paper's Vistas configuration, of its
Cityscapes configuration, or of the original package (docs/originals/seamseg.md, 3). What an
experiment states is laid over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from eagleray.task import OF_USE, Phase, Schedule
from eagleray_seamseg.model.config import (
    NetworkSettings,
    cityscapes_r50,
    vistas_r50,
)
from eagleray_toyworld.settings import ToyworldSettings
from eagleray_vision import panoptic_settings
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.panoptic_settings import (
    Color,
    InstanceFusionSettings,
    PanopticInputSettings,
    PanopticSettings,
)

Preset = Literal["vistas_r50", "cityscapes_r50", "package"]
DataFormat = Literal["vistas", "cityscapes", "coco_panoptic", "seamless", "toyworld"]

PAPER_RGB_MEAN: Color = (0.41738699, 0.45732192, 0.46886091)
"""Mean color of both paper configurations."""
PAPER_RGB_STD: Color = (0.25685097, 0.26509955, 0.29067996)
"""Standard deviation of both paper configurations."""


class ConvertSettings(panoptic_settings.ConvertSettings):
    """Writing the labels in the original's intermediate format while they are prepared."""

    folder: str = Field(
        "",
        description="Folder that prepare writes img, msk, lst, coco and metadata.bin to, which the "
        "original code and data.format seamless read; every machine must see it. Empty: no.",
    )


class DataSettings(DatasetSettings):
    """Where the labeled images are and how they are laid out."""

    format: DataFormat = Field(
        "vistas",
        description="Layout: vistas (Mapillary Vistas), cityscapes, coco_panoptic (PNGs and a "
        "JSON), seamless (converted for the original code), toyworld (generated street frames).",
    )
    metadata: str = Field(
        "",
        description="metadata.bin of the original code: class list for predicting with its "
        "weights, where the data set itself is not there. Empty: the data set's own.",
    )
    convert: ConvertSettings = Field(
        ConvertSettings(), description="Writing the labels in the original's format."
    )
    toyworld: ToyworldSettings = Field(
        ToyworldSettings(), description="What is generated where the format is toyworld."
    )


class InputSettings(PanopticInputSettings):
    """From photographs to network input."""

    shortest_px: int = Field(
        1024, ge=1, description="Length of the shorter side after resizing, in pixels."
    )
    longest_max_px: int = Field(
        2048, ge=1, description="Largest length of the longer side after resizing, in pixels."
    )
    pad_mixed_sizes: bool = Field(
        False,
        description="Let images of unequal size share a forward pass, padded with zeros as by the "
        "original. What is predicted for one then depends on the others of its batch; else "
        "every size of a batch gets a forward pass of its own.",
    )
    random_scale: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        (0.8, 1.0),
        description="Two numbers: in training the shorter side is drawn between these multiples "
        "of shortest_px; more: one of them is chosen; null: no random scale.",
    )
    rgb_mean: Color = Field(
        (0.485, 0.456, 0.406), description="Mean color (RGB, 0..1), unless the backbone has one."
    )
    rgb_std: Color = Field(
        (0.229, 0.224, 0.225), description="Standard deviation that goes with rgb_mean."
    )

    @model_validator(mode="after")
    def _scale_is_a_range_or_a_choice(self) -> Self:
        scales = self.random_scale
        if scales is not None and (len(scales) < 2 or (len(scales) == 2 and scales[0] > scales[1])):
            raise ValueError(
                f"random_scale {scales}: give (lowest, highest), or three and more values to "
                "choose from, or null"
            )
        return self


class FusionSettings(InstanceFusionSettings):
    """Panoptic fusion."""

    min_stuff_area_px: int = Field(
        4096,
        ge=0,
        description="Semantic classes with fewer free pixels are dropped; pixels of the network "
        "input, converted where maps are fused at another size.",
    )


def _network_values(network: NetworkSettings) -> dict[str, Any]:
    return network.model_dump(exclude_defaults=True)


_PAPER_COLORS = {"rgb_mean": PAPER_RGB_MEAN, "rgb_std": PAPER_RGB_STD}

_PRESETS: dict[str, dict[str, Any]] = {
    "vistas_r50": {
        "input": {
            "shortest_px": 1920,
            "longest_max_px": 2304,
            "random_scale": (0.8, 1.25),
            **_PAPER_COLORS,
        },
        "network": _network_values(vistas_r50()),
        "norm_weight_decay": False,
    },
    "cityscapes_r50": {
        "data": {
            "format": "cityscapes",
            "root": "data/cityscapes",
            "train_split": "train",
            "val_split": "val",
        },
        "input": {
            "shortest_px": 1024,
            "longest_max_px": 4096,
            "random_scale": (0.5, 2.0),
            **_PAPER_COLORS,
        },
        "network": _network_values(cityscapes_r50()),
        "norm_weight_decay": False,
    },
    "package": {},
}
"""Values of the three configurations (docs/originals/seamseg.md, 3) where they differ from the
types' defaults (the package's)."""


class SeamlessSettings(PanopticSettings):
    """Everything that a Seamless experiment may set."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = _PRESETS

    preset: Preset = Field(
        "vistas_r50",
        description="Whose numbers are the defaults of all the others: the paper's Vistas or "
        "Cityscapes configuration, or the original package's.",
    )
    faithful: bool = Field(
        True,
        description="Score as the original does (at the network's resolution, crowds of any class "
        "void, means over all classes) and keep its defects: AP without images that have no "
        "detection, annotation ids from 0, Vistas divisor 255, inference without longest_max_px. "
        "False: at the labels' resolution by the official rules.",
    )
    data: DataSettings = Field(DataSettings(), description="Data set.")
    input: InputSettings = Field(InputSettings(), description="Sizes and colors of the input.")
    network: NetworkSettings = Field(NetworkSettings(), description="Network and losses.")
    fusion: Annotated[FusionSettings, OF_USE] = Field(
        FusionSettings(), description="How the outputs of both heads become one panoptic map."
    )
    init_class_list: str = Field(
        "",
        description="Class list of the checkpoint in train.init_from: heads keep the rows of "
        "classes of the same name. 'cityscapes', or a metadata.bin, a config.json of Vistas or a "
        "COCO panoptic JSON. Empty: heads of other classes begin afresh.",
    )
    norm_weight_decay: bool = Field(
        True, description="Apply weight decay to scales and shifts of the normalization too."
    )


PAPER_WORKERS = 8
"""Workers of the paper's runs, one image each."""


def paper_phase(preset: Preset) -> Phase:
    """Return the training recipe of a preset.

    Args:
        preset: Name of the preset.

    Returns:
        SGD with Nesterov momentum; the original counts steps from 1 and reads the schedule one step
        late after its warm-up.
    """
    multistep = {"kind": "multistep", "gamma": 0.1, "warmup_steps": 200}
    shapes: dict[str, tuple[float, dict[str, Any]]] = {
        "vistas_r50": (85, {**multistep, "milestones": (144_000, 176_000)}),
        "cityscapes_r50": (130, {**multistep, "milestones": (36_000, 44_000)}),
        "package": (90, {"kind": "poly", "power": 0.9, "warmup_steps": 500}),
    }
    epochs, shape = shapes[preset]
    schedule = Schedule(warmup_start=0.333, first_step=1, lag_steps=1, **shape)
    return Phase(
        name="main",
        epochs=epochs,
        batch_size=PAPER_WORKERS,
        optimizer="sgd",
        lr=0.01,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        schedule=schedule,
        normalize="rank",
    )
