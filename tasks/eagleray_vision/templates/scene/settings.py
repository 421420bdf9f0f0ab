"""What an experiment's YAML may set."""

from __future__ import annotations

from pydantic import Field

from eagleray.task import Settings


class DataSettings(Settings):
    """Which photographs of the scene are read."""

    root: str = ""
    """Folder with transforms_train.json and transforms_val.json (camera_angle_x; frames with
    file_path and transform_matrix, as for Blender's scenes); empty draws toy data."""
    size_px: int = Field(default=24, ge=8)
    """Photographs are resized to so many pixels in height and width."""
    toy_views: int = Field(default=12, ge=1)
    """Toy views to train on; half as many between them are to be guessed."""


class MyTaskSettings(Settings):
    """Settings of the task."""

    data: DataSettings = DataSettings()
    """Photographs and cameras."""
    cells: int = Field(default=24, ge=2)
    """Cells of the field along each axis of the cube from -1 to 1 that holds the scene."""
    ray_samples: int = Field(default=32, ge=2)
    """Points at which the field is looked at along a ray."""
    near: float = Field(default=1.0, ge=0)
    """Distance of a ray's first point from the camera, in the scene's unit."""
    far: float = Field(default=5.0, gt=0)
    """Distance of its last point."""
    rays: int = Field(default=512, ge=1)
    """Rays per step."""
    steps: int = Field(default=200, ge=1)
    """Length of training."""
    lr: float = Field(default=0.1, gt=0)
    """Learning rate."""
