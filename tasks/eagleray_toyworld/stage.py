"""Generated data as one prepare stage with an output format: frames of streets and homes, or rooms.

Records carry the files under the names that they have in the dataset's own layout, so the engine's
guarantees hold for them: they are committed in shards, and a killed job continues. Where a folder
is asked for, ``finish`` lays the files out there and writes what a dataset has once (the JSON of
COCO panoptic). A plugin can list the stage among its own and read the rows instead.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, get_args

from eagleray.task import Item, Record, Resources, Rows, Settings, Stage
from eagleray_toyworld.drive_format import DriveFormat
from eagleray_toyworld.formats.cityscapes import CityscapesName, cityscapes_files
from eagleray_toyworld.formats.coco import (
    coco_annotation,
    coco_files,
    coco_image,
    coco_json,
    coco_json_name,
)
from eagleray_toyworld.formats.colmap import colmap_files
from eagleray_toyworld.formats.folder import DatasetFolder
from eagleray_toyworld.formats.idd import idd_files
from eagleray_toyworld.formats.kitti import kitti_files
from eagleray_toyworld.formats.replica import replica_scene_files
from eagleray_toyworld.formats.vistas import (
    VERSIONS,
    vistas_config,
    vistas_config_name,
    vistas_files,
)
from eagleray_toyworld.frame_job import CITY, FrameJob
from eagleray_toyworld.rendering.render import Frame, render
from eagleray_toyworld.settings import StreetFormat as StreetLayout
from eagleray_toyworld.settings import WordFormat as WordLayoutName
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.word_format import WordFormat
from eagleray_toyworld.worlds.street import street_camera, street_scene
from eagleray_vision.panoptic.label_space import CITYSCAPES

_SECONDS_PER_PIXEL = 2e-6
"""Measured: about 1 s for 512 x 1024 pixels with all labels and PNGs."""


def street_frame(settings: WorldSettings, scene_idx: int, frame_idx: int) -> Frame:
    """Render one frame of a generated street dataset."""
    scene = street_scene(settings.seed, scene_idx)
    time_s = frame_idx * settings.frame_step_s
    camera = street_camera(
        scene,
        size_hw=settings.size_hw,
        time_s=time_s,
        horizontal_fov_deg=settings.horizontal_fov_deg,
    )
    return render(scene, camera, time_s=time_s)


class OutputFormat(Protocol):
    """What becomes of a scene: which records there are, and which files each carries."""

    stage_name: str
    schema: Mapping[str, str]

    def pixels(self) -> int:
        """Return the rendered pixels of one record."""
        ...

    def jobs(self, split: str) -> Iterator[FrameJob]:
        """List the records of a split."""
        ...

    def record(self, job: FrameJob, split: str) -> Record:
        """Render one record and encode its files."""
        ...

    def finish(self, rows: Rows, folder: DatasetFolder | None, split: str) -> Mapping[str, Any]:
        """Count what there is; write into the folder what a dataset has once."""
        ...


def output_format(settings: WorldSettings) -> OutputFormat:
    """Return what makes the records of the format that the settings name."""
    if settings.format in get_args(StreetLayout):
        return StreetFormat(settings)
    if settings.format in get_args(WordLayoutName):
        return WordFormat(settings)
    if settings.format == "nuscenes":
        return DriveFormat(settings)
    return RoomFormat(settings)


class WorldStage(Stage[FrameJob, Sequence[Record]]):
    """Renders a generated dataset in the format that the settings name.

    Args:
        settings: What to generate.
        source: ``train`` or ``val``.
    """

    version = 1

    def __init__(self, settings: WorldSettings, source: str) -> None:
        self._settings, self.source = settings, source
        self._format = output_format(settings)
        self.name, self.schema = self._format.stage_name, self._format.schema
        seconds = max(0.05, self._format.pixels() * _SECONDS_PER_PIXEL)
        self.resources = Resources(seconds_per_item=seconds, memory_gb=1.0)

    def settings(self) -> Settings:
        """Return all settings but the number of scenes, which only lengthens the listing."""
        return self._settings.model_copy(update={"scenes": 1})

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the frames or rooms of the split."""
        for job in self._format.jobs(self.source):
            place = {"scene_idx": job.scene_idx, "frame_idx": job.frame_idx}
            identity = f"{self._settings.seed}/{job.scene_idx}/{job.frame_idx}/{self.source}"
            yield Item(job.key, identity, place)

    def load(self, item: Item) -> FrameJob:
        """Read which frame is meant; there is nothing to decode."""
        payload = item.payload
        return FrameJob(
            key=item.key, scene_idx=payload["scene_idx"], frame_idx=payload["frame_idx"]
        )

    def process(self, samples: Sequence[FrameJob]) -> Sequence[Sequence[Record]]:
        """Render and encode one record per item."""
        return [[self._format.record(job, self.source)] for job in samples]

    def finish(self, rows: Rows) -> Mapping[str, Any]:
        """Count what there is; fill the folder where one is asked for."""
        return self._format.finish(rows, self._fill_folder(rows), self.source)

    def _fill_folder(self, rows: Rows) -> DatasetFolder | None:
        """Copy all files to the folder, if one is asked for; what is there already is kept."""
        if not self._settings.folder:
            return None
        recipe = self._settings.model_dump(mode="json", exclude={"folder", "scenes"})
        folder = DatasetFolder(Path(self._settings.folder), recipe)
        for key in rows.keys():  # noqa: SIM118 (Rows is no mapping)
            for name in rows[key]["files"]:
                if not folder.has([name]):
                    folder.write({name: rows.read_file(key, name)})
        return folder


class StreetFormat:
    """Street frames with their labels in the layouts of several data sets.

    Args:
        settings: What to generate.
    """

    stage_name = "street_frames"
    schema: Mapping[str, str] = {
        "height": "int32",
        "width": "int32",
        "files": "list<string>",
        "segments": "string",
    }

    def __init__(self, settings: WorldSettings) -> None:
        self._settings = settings

    def pixels(self) -> int:
        """Return the pixels of a frame."""
        return self._settings.height_px * self._settings.width_px

    def jobs(self, split: str) -> Iterator[FrameJob]:
        """List the frames of the split by scene and time."""
        for scene_idx in self._settings.scenes_of(split):
            for frame_idx in range(self._settings.frames_per_scene):
                key = f"{CITY}_{scene_idx:06d}_{frame_idx:06d}"
                yield FrameJob(key=key, scene_idx=scene_idx, frame_idx=frame_idx)

    def record(self, job: FrameJob, split: str) -> Record:
        """Render a frame; its segments are those that COCO's JSON lists."""
        frame = street_frame(self._settings, job.scene_idx, job.frame_idx)
        files, segments = self._files(split, job, frame)
        row = {
            "height": self._settings.height_px,
            "width": self._settings.width_px,
            "files": list(files),
            "segments": json.dumps(segments),
        }
        return Record(job.key, row, files)

    def finish(self, rows: Rows, folder: DatasetFolder | None, split: str) -> Mapping[str, Any]:
        """Count images and segments; write the split's JSON of COCO panoptic, Vistas' lists."""
        if folder is not None and self._settings.format == "coco_panoptic":
            size, keys = self._settings.size_hw, rows.keys()
            images = (coco_image(key, size) for key in keys)
            annotations = (coco_annotation(key, json.loads(rows[key]["segments"])) for key in keys)
            folder.write({coco_json_name(split): coco_json(images, annotations)})
        if folder is not None and self._settings.format == "vistas":
            folder.write({vistas_config_name(one): vistas_config(one) for one in VERSIONS})
        return {"images": len(rows), "segments": _count_segments(rows)}

    def _files(
        self, split: str, job: FrameJob, frame: Frame
    ) -> tuple[Mapping[str, bytes], list[dict[str, Any]]]:
        least = self._settings.min_thing_px
        match self._settings.format:
            case "cityscapes":
                place = {"sequence": job.scene_idx, "frame": job.frame_idx}
                return cityscapes_files(frame, CityscapesName(split=split, city=CITY, **place)), []
            case "kitti":
                return kitti_files(frame, split, job.key, min_thing_px=least), []
            case "vistas":
                return vistas_files(frame, split, job.key, min_thing_px=least), []
            case "idd":
                drive, number = f"{job.scene_idx:06d}", f"{job.frame_idx:06d}"
                return idd_files(frame, split, drive, number, min_thing_px=least), []
        return coco_files(frame, split, job.key, min_thing_px=least)


def _count_segments(rows: Rows) -> dict[str, int]:
    """Return the number of segments per class name."""
    names = dict(zip(CITYSCAPES.original_ids, CITYSCAPES.class_names, strict=True))
    counts: Counter[str] = Counter()
    for key in rows.keys():  # noqa: SIM118 (Rows is no mapping)
        counts.update(names[s["category_id"]] for s in json.loads(rows[key]["segments"]))
    return dict(counts)


class RoomFormat:
    """Rooms seen from many sides as Replica or COLMAP scenes, one record per room.

    Args:
        settings: What to generate.
    """

    stage_name = "rooms"
    schema: Mapping[str, str] = {"views": "int32", "files": "list<string>"}

    def __init__(self, settings: WorldSettings) -> None:
        self._settings = settings

    def pixels(self) -> int:
        """Return the pixels of a room's views."""
        return self._settings.height_px * self._settings.width_px * self._settings.views

    def jobs(self, split: str) -> Iterator[FrameJob]:
        """List the rooms of the split."""
        for scene_idx in self._settings.scenes_of(split):
            yield FrameJob(key=f"room_{scene_idx:06d}", scene_idx=scene_idx, frame_idx=0)

    def record(self, job: FrameJob, split: str) -> Record:
        """Render all views of a room."""
        write = replica_scene_files if self._settings.format == "replica" else colmap_files
        parts = write(
            seed=self._settings.seed,
            index=job.scene_idx,
            num_views=self._settings.views,
            size_hw=self._settings.size_hw,
        )
        prefix = f"{split}/{job.key}"
        files = {f"{prefix}/{name}": data for part in parts for name, data in part.items()}
        return Record(job.key, {"views": self._settings.views, "files": list(files)}, files)

    def finish(self, rows: Rows, folder: DatasetFolder | None, split: str) -> Mapping[str, Any]:
        """Count rooms."""
        return {"rooms": len(rows)}


def world_stages(settings: WorldSettings) -> tuple[WorldStage, ...]:
    """Return the stages that make a generated dataset, one per split that has scenes; nuScenes'
    tables hold all splits, so that one stage makes them.
    """
    if settings.format == "nuscenes":
        return (WorldStage(settings, "train"),)
    return tuple(
        WorldStage(settings, split)
        for split in ("train", "val")
        if next(settings.scenes_of(split), None) is not None
    )
