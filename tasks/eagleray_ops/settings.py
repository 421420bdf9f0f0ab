"""Settings of the OPS task: data, augmentation, network, losses, inference.

``preset`` chooses which of the two published runs gives the defaults: on photographs, or on
photographs that RERP has distorted. What an experiment states is laid over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from eagleray.task import OF_USE, Settings
from eagleray_ops.model.config import AdapterSettings, ClipSettings
from eagleray_vision.presets import PresetSettings

Preset = Literal["coco_stuff164k", "coco_stuff164k_rerp"]
Color = tuple[float, float, float]
Positive = Annotated[int, Field(ge=1)]
Unit = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]

RGB_MEAN: Color = (122.7709383 / 255, 116.7460125 / 255, 104.09373615 / 255)
"""Mean color of CLIP's images (OpenAI), 0..1."""
RGB_STD: Color = (68.5005327 / 255, 66.6321579 / 255, 70.32316305 / 255)
"""Standard deviation that goes with it."""

SHORT_EDGES_PX = tuple(range(320, 961, 64))
"""Sizes of training images (OPS, configuration)."""


class PhotometricSettings(Settings):
    """Distortion of colors; each step is made with probability 1/2."""

    enabled: bool = Field(True, description="Distort the colors of training images.")
    brightness: float = Field(32.0, ge=0, description="Largest offset, 8-bit levels.")
    contrast: Range = Field((0.5, 1.5), description="Factors of all channels, from and to.")
    saturation: Range = Field((0.5, 1.5), description="Factors of saturation, from and to.")
    hue: Annotated[int, Field(ge=0, le=90)] = Field(
        18, description="Largest shift of the hue, of 180; the upper end is left out."
    )


class InputSettings(Settings):
    """From photographs to network input."""

    short_edges_px: tuple[Positive, ...] = Field(
        SHORT_EDGES_PX, description="Short sides of training images, one is drawn; pixels."
    )
    crop_px: Positive = Field(640, description="Side of the square training crops, pixels.")
    short_edge_px: Positive = Field(
        640, description="Short side in evaluation and prediction, pixels."
    )
    long_edge_px: Positive = Field(2560, description="Longest side anywhere, pixels.")
    pad_multiple_px: Positive = Field(
        32, description="In evaluation sides are padded to multiples of this, pixels."
    )
    flip_probability: Unit = Field(
        0.5, description="Probability that a training image is mirrored left to right."
    )
    photometric: PhotometricSettings = Field(
        PhotometricSettings(), description="Distortion of the colors of training images."
    )
    rgb_mean: Color = Field(RGB_MEAN, description="Mean color (RGB, 0..1).")
    rgb_std: Color = Field(RGB_STD, description="Standard deviation that goes with rgb_mean.")

    @model_validator(mode="after")
    def _edges_are_ordered(self) -> Self:
        if not self.short_edges_px or max(self.short_edges_px) > self.long_edge_px:
            raise ValueError(
                f"short_edges_px {self.short_edges_px}: allowed are one or more sizes, none above "
                f"long_edge_px ({self.long_edge_px})"
            )
        return self


class DataSettings(Settings):
    """Where the images are: those that are trained on, and the panoramas of the benchmarks."""

    format: Literal["coco_stuff"] = Field(
        "coco_stuff", description="Layout: coco_stuff (COCO-Stuff 164k, as raw maps or train ids)."
    )
    root: str = Field("data/coco_stuff164k", description="Folder of the data set.")
    train_split: str = Field("train2017", description="Split that is trained on.")
    val_split: str = Field("val2017", description="Split of the validation benchmark.")
    words: dict[str, str] = Field(
        {},
        description="Word that stands for a class of COCO-Stuff in training, by the class's name "
        "(building-other: building); classes that are not among them are void then. Empty: all "
        "171 by their own names, as they are written.",
    )
    wildpass_root: str = Field(
        "data/WildPASS", description="Folder of WildPASS, with images/val and annotations/val."
    )
    matterport3d_root: str = Field(
        "data/matterport3d", description="Folder of Matterport3D, with val/rgb and val/semantic."
    )
    stanford2d3d_root: str = Field(
        "data/s2d3d",
        description="Folder of Stanford2D3D, with area5, area2_4 and area1_3_6, each of rgb and "
        "semantic.",
    )
    check_images: bool = Field(
        True,
        description="Decode every photograph while preparing, so that a damaged one is a reject "
        "instead of a failure in training.",
    )


class RerpSettings(Settings):
    """Random equirectangular projection of training images."""

    mode: Literal["off", "offline", "online"] = Field(
        "off",
        description="offline: a stage makes one distorted image per photograph (the paper); "
        "online: a fresh one for every sample; off: photographs as they are.",
    )
    shuffle: bool = Field(True, description="Permute the four quadrants of the crop.")
    share: Unit = Field(
        1.0, description="Share of distorted samples; the others are photographs as they are."
    )
    yaw_deg: Annotated[float, Field(ge=0, lt=90)] = Field(
        0.0, description="The crop is seen up to so far from the left or right (not faithful)."
    )
    pitch_deg: Annotated[float, Field(ge=0, lt=90)] = Field(
        0.0, description="The crop is seen up to so far from above or below (not faithful)."
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="Seed of crops, permutations and angles of mode offline."
    )
    folder: str = Field(
        "",
        description="Folder that also receives the images of mode offline in the layout of the "
        "original (images and annotations of <split>_erp_shuffle); empty: the stage keeps them.",
    )


class LossSettings(Settings):
    """Matching and losses."""

    class_weight: float = Field(2.0, ge=0, description="Weight of the class cross entropy.")
    mask_weight: float = Field(5.0, ge=0, description="Weight of the masks' cross entropy.")
    dice_weight: float = Field(5.0, ge=0, description="Weight of the masks' Dice loss.")
    background_weight: Unit = Field(
        0.1, description="Weight of masks without a segment in the class cross entropy."
    )
    points: Positive = Field(12544, description="Points that masks are compared at (112 x 112).")
    oversampling: Annotated[float, Field(ge=1)] = Field(
        3.0, description="Points that are drawn, times `points`, to choose uncertain ones from."
    )
    uncertain_share: Unit = Field(
        0.75, description="Share of the points that are the most uncertain ones of those drawn."
    )


class InferenceSettings(Settings):
    """How an image is cut into windows or views and put together again."""

    window_px: Positive = Field(640, description="Side of the windows, pixels.")
    stride_px: Positive = Field(320, description="Step from one window to the next, pixels.")
    wrap: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Let windows and resizing go around the seam of a panorama. auto: never where "
        "the settings are faithful, else for images at least twice as wide as high.",
    )
    rolls: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="Turned copies of an image that are looked at and averaged."
    )
    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field(
        (1.0,), min_length=1, description="Sizes that are looked at, times the network input."
    )
    flip: bool = Field(False, description="Look at the mirror image too.")
    views: Literal["windows", "perspective"] = Field(
        "windows",
        description="perspective: see panoramas through pinhole cameras all around, and fuse.",
    )
    view_fov_deg: Annotated[float, Field(gt=0, lt=160)] = Field(
        90.0, description="Field of view of views: perspective."
    )
    view_overlap: Annotated[float, Field(ge=0, lt=0.9)] = Field(
        0.25, description="Share of a perspective view that its neighbor sees too."
    )
    windows_at_once: Positive = Field(1, description="Windows per forward pass.")
    memory_gb: Annotated[float, Field(gt=0)] = Field(
        2.0,
        description="Most memory for scores of one image, GiB. One look needs one row of windows; "
        "several need whole maps.",
    )

    @property
    def is_one_look(self) -> bool:
        """Whether an image is seen once, by windows."""
        once = self.rolls == 1 and self.scales == (1.0,) and not self.flip
        return once and self.views == "windows"


PRESETS: dict[str, dict[str, Any]] = {
    "coco_stuff164k": {},
    "coco_stuff164k_rerp": {"rerp": {"mode": "offline"}},
}
"""The two published runs, which differ in the images that are trained on (docs/originals/ops.md
8.6)."""


class OpsSettings(PresetSettings):
    """Everything that an OPS experiment may set."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    preset: Preset = Field(
        "coco_stuff164k",
        description="Published run whose numbers are the defaults: coco_stuff164k, or "
        "coco_stuff164k_rerp, which trains on images that RERP has distorted.",
    )
    faithful: bool = Field(
        True,
        description="Keep the released program's defects that change numbers: one learning rate "
        "for all, decayed LayerNorms, RERP's asymmetric borders, windows that stop at the seam.",
    )
    data: DataSettings = Field(DataSettings(), description="Data set.")
    rerp: RerpSettings = Field(RerpSettings(), description="Distortion as a panorama has it.")
    input: InputSettings = Field(InputSettings(), description="Sizes and colors of the input.")
    clip: ClipSettings = Field(ClipSettings(), description="The frozen CLIP.")
    adapter: AdapterSettings = Field(AdapterSettings(), description="The side adapter.")
    loss: LossSettings = Field(
        LossSettings(), description="How masks are matched to the truth, and what is lost."
    )
    vocabulary: Annotated[tuple[str, ...], OF_USE] = Field(
        (),
        description='Words that pixels are compared with, "car|automobile" for synonyms, the best '
        "of which counts. Empty: the classes of the training data. A benchmark states its own.",
    )
    background_words: Annotated[tuple[str, ...], OF_USE] = Field(
        (),
        description="Words that are compared too, but whose pixels go to the best of the others.",
    )
    inference: Annotated[InferenceSettings, OF_USE] = Field(
        InferenceSettings(), description="Windows over panoramas."
    )

    @model_validator(mode="after")
    def _rerp_fits(self) -> Self:
        rerp, crop = self.rerp, self.input.crop_px
        if rerp.mode != "off" and crop % 2:
            raise ValueError(
                f"input.crop_px {crop}: RERP cuts crops into four equal quadrants, so an even side "
                "is needed"
            )
        if self.faithful and (rerp.yaw_deg or rerp.pitch_deg):
            raise ValueError(
                "rerp.yaw_deg and rerp.pitch_deg: the original looks straight ahead; set faithful "
                "to false, or both to 0"
            )
        return self
