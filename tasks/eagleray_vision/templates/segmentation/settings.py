"""What an experiment's YAML may set."""

from __future__ import annotations

from pydantic import Field

from eagleray.task import Settings


class DataSettings(Settings):
    """Which photographs and labels are read."""

    root: str = ""
    """Folder with train/images, train/labels, val/images and val/labels; empty draws toy data."""
    classes: tuple[str, ...] = ("ground", "square", "disc")
    """Names of the classes; a label image holds their numbers, 255 is unlabeled."""
    size_px: int = Field(default=32, ge=8)
    """Pictures are resized to so many pixels in height and width."""
    toy_pictures: int = Field(default=64, ge=1)
    """Toy pictures per split."""


class MyTaskSettings(Settings):
    """Settings of the task."""

    data: DataSettings = DataSettings()
    """Photographs and labels."""
    channels: int = Field(default=16, ge=1)
    """Channels of the network's layers."""
    epochs: float = Field(default=12, gt=0)
    """Length of training in passes over the data."""
    lr: float = Field(default=3e-3, gt=0)
    """Learning rate."""
