"""Streets and homes as photographs or panoramas with a class per pixel, by its word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eagleray.task import Record, Rows
from eagleray_toyworld.formats.folder import DatasetFolder
from eagleray_toyworld.formats.word_labels import WORD_LAYOUTS, area_of, word_files
from eagleray_toyworld.frame_job import FrameJob
from eagleray_toyworld.rendering.camera import Camera
from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.scene.scene import Scene
from eagleray_toyworld.scene.words import SURFACE_WORDS, word_map
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.worlds.home import home_camera, home_panorama_camera, home_scene
from eagleray_toyworld.worlds.street import street_camera, street_panorama_camera, street_scene

_HOMES = ("matterport3d", "stanford2d3d")
_EVERY_HOME = 3
"""COCO-Stuff shows everything: every third scene is a room of a home."""


class WordFormat:
    """Frames whose labels are words: COCO-Stuff, WildPASS, Matterport3D, Stanford2D3D.

    A panorama is rendered twice as wide as high; where a smaller height is asked for, the rows
    around the horizon are kept (the annular panoramas of WildPASS).

    Args:
        settings: What to generate.
    """

    stage_name = "word_frames"
    schema: Mapping[str, str] = {"height": "int32", "width": "int32", "files": "list<string>"}

    def __init__(self, settings: WorldSettings) -> None:
        self._settings, self._layout = settings, WORD_LAYOUTS[settings.format]

    def pixels(self) -> int:
        """Return the pixels of a frame."""
        height, width = self._rendered_hw()
        return height * width

    def jobs(self, split: str) -> Iterator[FrameJob]:
        """List the frames of the split by scene and number."""
        for scene_idx in self._settings.scenes_of(split):
            for frame_idx in range(self._settings.frames_per_scene):
                key = f"{self._kind(scene_idx)}_{scene_idx:06d}_{frame_idx:06d}"
                yield FrameJob(key=key, scene_idx=scene_idx, frame_idx=frame_idx)

    def record(self, job: FrameJob, split: str) -> Record:
        """Render a frame and write picture and labels."""
        rgb, words = self.frame(job)
        folder = area_of(job.scene_idx) if self._settings.format == "stanford2d3d" else split
        files = word_files(
            self._layout, rgb, words, folder, job.key, frozenset(self._settings.left_out)
        )
        size = {"height": rgb.shape[0], "width": rgb.shape[1]}
        return Record(job.key, {**size, "files": list(files)}, files)

    def frame(self, job: FrameJob) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Render a frame: picture and places in `SURFACE_WORDS`."""
        settings = self._settings
        time_s = job.frame_idx * settings.frame_step_s
        build = home_scene if self._kind(job.scene_idx) == "home" else street_scene
        scene = build(settings.seed, job.scene_idx)
        frame = render(scene, self._camera(scene, job, time_s), time_s=time_s)
        words = word_map(scene, frame.part_id)
        above = (frame.rgb.shape[0] - settings.height_px) // 2
        rows = slice(above, above + settings.height_px)
        return np.ascontiguousarray(frame.rgb[rows]), np.ascontiguousarray(words[rows])

    def finish(self, rows: Rows, folder: DatasetFolder | None, split: str) -> Mapping[str, Any]:
        """Count frames of streets and of homes."""
        kinds = Counter(key.split("_")[0] for key in rows.keys())  # noqa: SIM118 (no mapping)
        return {"images": len(rows), **kinds}

    def words_with_a_class(self) -> tuple[str, ...]:
        """Return the words that the data set has a class for, less those left out."""
        known = set(self._layout.space.class_names)
        names = self._layout.names
        return tuple(
            word
            for word in SURFACE_WORDS
            if names.get(word, word) in known and word not in self._settings.left_out
        )

    def _kind(self, scene_idx: int) -> str:
        if self._settings.format == "coco_stuff":
            return "home" if scene_idx % _EVERY_HOME == _EVERY_HOME - 1 else "street"
        return "home" if self._settings.format in _HOMES else "street"

    def _rendered_hw(self) -> tuple[int, int]:
        height, width = self._settings.size_hw
        return (max(height, width // 2), width) if self._layout.is_panorama else (height, width)

    def _camera(self, scene: Scene, job: FrameJob, time_s: float) -> Camera:
        size, is_home = self._rendered_hw(), self._kind(job.scene_idx) == "home"
        if self._layout.is_panorama:
            if is_home:
                return home_panorama_camera(scene, size_hw=size)
            return street_panorama_camera(scene, size_hw=size, time_s=time_s)
        fov = self._settings.horizontal_fov_deg
        if is_home:
            return home_camera(scene, size_hw=size, view_idx=job.frame_idx, horizontal_fov_deg=fov)
        return street_camera(scene, size_hw=size, time_s=time_s, horizontal_fov_deg=fov)
