"""What the data of POP-3D are: where key frames come from, and which features are stored how."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from eagleray.task import Settings
from eagleray_vision.codecs import parse_codec


class SourceSettings(Settings):
    """One of the data's sources (train, val, test)."""

    split: str = Field(
        "", description="Split of nuScenes (train, val, test, mini_train, mini_val), or own name."
    )
    scenes: tuple[str, ...] = Field(
        (), description="Names of scenes instead of the split's (format nuscenes)."
    )
    file: str = Field("", description="Information pickle, relative to root (format infos).")
    folder: str = Field(
        "", description="Folder with a JSON file per key frame, relative to root (format frames)."
    )


class DataSettings(Settings):
    """Key frames: nuScenes' tables, information pickles, or JSON files of one's own rig."""

    format: Literal["nuscenes", "infos", "frames"] = Field(
        "nuscenes", description="Tables of nuScenes, information pickles, or a JSON per key frame."
    )
    root: str = Field("data/nuscenes", description="Folder that paths of files are relative to.")
    version: str = Field("v1.0-trainval", description="Tables of nuScenes, a folder in root.")
    train: SourceSettings = Field(SourceSettings(split="train"), description="Training data.")
    val: SourceSettings = Field(SourceSettings(split="val"), description="Validation data.")
    test: SourceSettings = Field(SourceSettings(split="test"), description="Test data.")
    sweeps: int = Field(0, ge=0, le=50, description="Sweeps before a key frame that it lists.")

    @property
    def folder(self) -> Path:
        """The data's folder."""
        return Path(self.root).expanduser()

    def source(self, name: str) -> SourceSettings:
        """Return the settings of ``train``, ``val`` or ``test``."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]


class FeatureSettings(Settings):
    """Features at lidar pixels, and how they are stored."""

    extractor: Literal["maskclip_plus", "maskclip", "files"] = Field(
        "maskclip_plus",
        description="MaskCLIP+ student (paper), MaskCLIP of a CLIP, or files as the original "
        "stores them.",
    )
    weights: str = Field(
        "", description="Weights of the extractor; toy: the CLIP of the toy world (maskclip)."
    )
    long_px: int = Field(2048, ge=16, description="Bound of a photograph's longer side, pixels.")
    short_px: int = Field(1024, ge=16, description="Bound of its shorter side, pixels.")
    folder: str = Field("", description="Folder of the features (extractor files).")
    projections: str = Field(
        "", description="Folder of stored matches; empty: computed, which takes milliseconds."
    )
    z_buffer: bool = Field(
        False, description="Leave out points that others hide from the camera (paper: kept)."
    )
    codec: str = Field(
        "pq64",
        description="fp32 (paper), fp16, uint8, pcaN, pcaNu8, pqN, opqN, or ipqN, which keeps most "
        "in so many bytes; N components or bytes.",
    )
    fit_frames: int = Field(64, ge=1, description="Key frames that a codebook is fitted on.")

    @field_validator("codec")
    @classmethod
    def _codec_exists(cls, name: str) -> str:
        return parse_codec(name).name
