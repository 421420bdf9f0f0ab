"""What an experiment's YAML may set."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eagleray.task import OF_USE, Settings


class DataSettings(Settings):
    """Which photographs and boxes are read."""

    root: str = ""
    """Folder with train/images, train/boxes.json, val/images and val/boxes.json (COCO's layout);
    empty draws toy data."""
    classes: tuple[str, ...] = ("square", "disc")
    """Names of the classes, as the file's categories call them; others are left out."""
    size_px: int = Field(default=64, ge=16, multiple_of=4)
    """Pictures are resized to so many pixels in height and width."""
    toy_pictures: int = Field(default=96, ge=1)
    """Toy pictures per split."""


class MyTaskSettings(Settings):
    """Settings of the task."""

    data: DataSettings = DataSettings()
    """Photographs and boxes."""
    channels: int = Field(default=24, ge=1)
    """Channels of the network's layers."""
    epochs: float = Field(default=15, gt=0)
    """Length of training in passes over the data."""
    lr: float = Field(default=5e-3, gt=0)
    """Learning rate."""
    max_boxes: Annotated[int, OF_USE] = Field(default=20, ge=1)
    """Boxes per picture at most, the surest first."""
