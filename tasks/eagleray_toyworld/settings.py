"""What can be asked of a generated dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eagleray.task import LATER, Settings
from eagleray_toyworld.scene.words import SURFACE_WORDS

StreetFormat = Literal["coco_panoptic", "cityscapes", "kitti", "vistas", "idd"]
RoomFormat = Literal["replica", "colmap"]
WordFormat = Literal["coco_stuff", "wildpass", "matterport3d", "stanford2d3d"]
DriveFormat = Literal["nuscenes"]


class WorldSettings(Settings):
    """A generated dataset: how many scenes, how large, in which format."""

    format: StreetFormat | RoomFormat | WordFormat | DriveFormat = Field(
        "coco_panoptic",
        description="On-disk format: street frames as coco_panoptic, cityscapes, kitti (KITTI "
        "panoptic), vistas (Mapillary Vistas 1.2 and 2.0) or idd (India Driving, level 3), rooms "
        "as replica or colmap; streets and homes as coco_stuff, panoramas of streets as wildpass, "
        "of homes as matterport3d or stanford2d3d; drives with lidar and six cameras as nuscenes.",
    )
    seed: int = Field(0, ge=0, description="Seed of the world; other seeds share no scene.")
    scenes: int = Field(100, ge=1, description="Number of scenes over all splits.")
    val_every: int = Field(
        5, ge=0, description="Every n-th scene is a validation scene; 0 = no validation split."
    )
    height_px: int = Field(256, ge=8, description="Image height, pixels.")
    width_px: int = Field(512, ge=8, description="Image width, pixels.")
    frames_per_scene: int = Field(
        1, ge=1, le=1000, description="Frames of a street scene, one after the other."
    )
    frame_step_s: float = Field(
        0.5, gt=0, description="Time between two frames of a street scene, seconds."
    )
    horizontal_fov_deg: float = Field(
        75.0, gt=0, lt=170, description="Horizontal field of view, degrees."
    )
    min_thing_px: int = Field(
        0,
        ge=0,
        description="Things of fewer visible pixels become void (street formats but cityscapes).",
    )
    views: int = Field(60, ge=3, description="Rendered views of a room.")
    left_out: Annotated[tuple[str, ...], LATER] = Field(
        (),
        description="Words of surfaces whose pixels are void (formats with a class per pixel), so "
        "that a model is never shown them.",
    )
    nuscenes_version: Annotated[Literal["v1.0-mini", "v1.0-trainval", "v1.0-test"], LATER] = Field(
        "v1.0-mini",
        description="Tables of format nuscenes: 8 and 2 scenes at most (mini), 700 and 150, or 150 "
        "without labels (test).",
    )
    roadworks: Annotated[bool, LATER] = Field(
        False,
        description="Barriers, cones, a trailer and a digger beside the street (format nuscenes).",
    )
    sweeps_per_frame: Annotated[int, Field(ge=0, le=9), LATER] = Field(
        0, description="Sweeps of the lidar between two key frames (format nuscenes)."
    )
    lidar_firings: Annotated[int, Field(ge=36, le=4000), LATER] = Field(
        1080, description="Firings per turn of the lidar (format nuscenes)."
    )
    occ3d: Annotated[bool, LATER] = Field(
        False,
        description="Truth in voxels of 0.4 m, as Occ3D-nuScenes has it (format nuscenes, versions "
        "with labels).",
    )
    folder: str = Field(
        "",
        description="Folder that receives the dataset in its own layout; empty: the files stay in "
        "the stage's records only.",
    )

    @model_validator(mode="after")
    def _words_are_known(self) -> Self:
        unknown = sorted(set(self.left_out) - set(SURFACE_WORDS))
        if unknown:
            raise ValueError(
                f"left_out {unknown}: the toy world has no such surfaces; known are "
                f"{', '.join(SURFACE_WORDS)}"
            )
        return self

    @property
    def size_hw(self) -> tuple[int, int]:
        """Image height and width, pixels."""
        return self.height_px, self.width_px

    def split_of(self, scene_idx: int) -> str:
        """Return ``train`` or ``val`` for a scene.

        Example:
            >>> [WorldSettings(val_every=3).split_of(k) for k in range(4)]
            ['train', 'train', 'val', 'train']
        """
        return (
            "val"
            if self.val_every and scene_idx % self.val_every == self.val_every - 1
            else "train"
        )

    def scenes_of(self, split: str) -> Iterator[int]:
        """Yield the scene numbers of a split, ascending."""
        return (k for k in range(self.scenes) if self.split_of(k) == split)


class ToyworldSettings(Settings):
    """Which street frames are generated (format toyworld)."""

    train_frames: int = Field(200, ge=1, description="Frames that are trained on.")
    val_frames: int = Field(40, ge=1, description="Frames of the benchmark, of other scenes.")
    height_px: int = Field(128, ge=32, description="Image height in pixels.")
    width_px: int = Field(256, ge=32, description="Image width in pixels.")
    min_thing_px: int = Field(32, ge=0, description="Things of fewer visible pixels become void.")
    seed: int = Field(0, ge=0, description="Seed of the world.")
    labels: Literal["classes", "categories"] = Field(
        "classes",
        description="The 19 classes of Cityscapes, or its 7 categories (flat, construction, "
        "object, nature, sky, human, vehicle).",
    )
