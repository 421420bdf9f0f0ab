"""Generated drives in the layout of nuScenes: a record per key frame, tables once over all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from eagleray.task import Record, Rows, SettingsError
from eagleray_toyworld.formats.folder import DatasetFolder
from eagleray_toyworld.formats.nuscenes import SampleName, sample_files
from eagleray_toyworld.formats.nuscenes_tables import (
    GeneratedSample,
    frame_files,
    retrieval_lists,
    table_files,
)
from eagleray_toyworld.frame_job import FrameJob
from eagleray_toyworld.rendering.lidar import SpinningLidar
from eagleray_toyworld.scene.scene import Scene
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.worlds.roadworks import with_roadworks
from eagleray_toyworld.worlds.street import street_scene
from eagleray_vision.driving.key_frame import key_frame_of_row
from eagleray_vision.driving.nuscenes import CAMERAS, VERSION_SPLITS, scenes_of

_PIXELS_PER_SWEEP = 400_000
"""What a turn of the lidar costs, in rendered pixels."""


class DriveFormat:
    """Drives through streets with six cameras and a lidar.

    Args:
        settings: What to generate.
    """

    stage_name = "drives"
    schema: Mapping[str, str] = {
        "scene": "string",
        "split": "string",
        "frame": "string",
        "annotations": "string",
        "queries": "string",
        "files": "list<string>",
    }

    def __init__(self, settings: WorldSettings) -> None:
        self._settings = settings

    def pixels(self) -> int:
        """Return the rendered pixels of one record."""
        pictures = len(CAMERAS) * self._settings.height_px * self._settings.width_px
        return pictures + _PIXELS_PER_SWEEP * (1 + self._settings.sweeps_per_frame)

    def jobs(self, split: str) -> Iterator[FrameJob]:
        """List all key frames by scene and time, whatever their official split."""
        for scene_idx in range(self._settings.scenes):
            name, _ = scene_name(self._settings, scene_idx)
            for frame_idx in range(self._settings.frames_per_scene):
                key = f"{name}_{frame_idx:06d}"
                yield FrameJob(key=key, scene_idx=scene_idx, frame_idx=frame_idx)

    def record(self, job: FrameJob, split: str) -> Record:
        """Render a key frame with all of its sensors."""
        settings = self._settings
        name, official = scene_name(settings, job.scene_idx)
        files, frame, extra = sample_files(
            drive_scene(settings, job.scene_idx),
            SampleName(
                version=settings.nuscenes_version,
                scene=name,
                split=official,
                seed=settings.seed,
                scene_idx=job.scene_idx,
                frame_idx=job.frame_idx,
                frame_step_s=settings.frame_step_s,
            ),
            size_hw=settings.size_hw,
            num_sweeps=settings.sweeps_per_frame,
            lidar=SpinningLidar(num_azimuths=settings.lidar_firings),
            occ3d=settings.occ3d,
        )
        row = {
            "scene": name,
            "split": official,
            "frame": json.dumps(frame.to_row()),
            "annotations": json.dumps(extra["annotations"]),
            "queries": json.dumps(extra["queries"]),
            "files": list(files),
        }
        return Record(job.key, row, files)

    def finish(self, rows: Rows, folder: DatasetFolder | None, split: str) -> Mapping[str, Any]:
        """Count key frames; write tables, map, pickles, JSON files and lists of queries."""
        samples = [_sample(rows[key]) for key in rows.keys()]  # noqa: SIM118 (Rows is no mapping)
        if folder is not None:
            folder.write(table_files(self._settings.nuscenes_version, samples))
            folder.write(frame_files(one.frame for one in samples))
            folder.write(retrieval_lists(samples))
        splits = Counter(one.frame.split for one in samples)
        queries = sum(len(one.queries) for one in samples)
        return {"key_frames": len(samples), "splits": dict(splits), "queries": queries}


def scene_name(settings: WorldSettings, scene_idx: int) -> tuple[str, str]:
    """Return the official name and split of a scene.

    Raises:
        SettingsError: The version has fewer scenes.
    """
    splits = VERSION_SPLITS[settings.nuscenes_version]
    own = settings.split_of(scene_idx) if len(splits) > 1 else "train"
    official = splits[0] if own == "train" else splits[1]
    before = sum(len(splits) == 1 or settings.split_of(k) == own for k in range(scene_idx))
    names = scenes_of(official)
    if before >= len(names):
        raise SettingsError(
            f"{settings.nuscenes_version} has {len(names)} scenes of {official}, asked for more "
            f"({settings.scenes} scenes, val_every {settings.val_every}); ask for fewer, or "
            "nuscenes_version: v1.0-trainval"
        )
    return names[before], official


@lru_cache(maxsize=2)
def drive_scene(settings: WorldSettings, scene_idx: int) -> Scene:
    """Return the street of a scene."""
    scene = street_scene(settings.seed, scene_idx)
    return with_roadworks(scene) if settings.roadworks else scene


def _sample(row: Mapping[str, Any]) -> GeneratedSample:
    return GeneratedSample(
        key_frame_of_row(json.loads(row["frame"])),
        json.loads(row["annotations"]),
        json.loads(row["queries"]),
    )
