"""The tables of nuScenes v1.0 for generated key frames, and what POP-3D adds: information pickles,
lists of queries; and a JSON per key frame, as users write them for their own rigs.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagleray_vision.driving.frame_json import frame_json_of
from eagleray_vision.driving.info_pickle import info_of
from eagleray_vision.driving.key_frame import CameraTime, KeyFrame, SensorTime
from eagleray_vision.driving.lidarseg import RAW_NAMES
from eagleray_vision.driving.nuscenes import CAMERAS, LIDAR
from eagleray_vision.panoptic.label_image import encode_png

_MAP_FILE = "maps/toyworld.png"
_MAP_PX = (2000, 2400)
"""200 x 240 m at nuScenes' 0.1 m."""
_ROAD_PX = (900, 1100)
_ATTRIBUTES = ("vehicle.moving", "vehicle.parked", "pedestrian.moving", "pedestrian.standing")
_VISIBILITIES = ("v0-40", "v40-60", "v60-80", "v80-100")
_RETRIEVAL_SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val",),
    "test": ("test",),
    "eval": ("val", "test"),
    "all": ("train", "val", "test"),
}


@dataclass(frozen=True)
class GeneratedSample:
    """A key frame with what only tables state.

    Attributes:
        frame: The key frame; its sweeps are those since the key frame before.
        annotations: Boxes.
        queries: Questions of the retrieval benchmark.
    """

    frame: KeyFrame
    annotations: Sequence[Mapping[str, Any]]
    queries: Sequence[Mapping[str, str]]


def table_files(version: str, samples: Sequence[GeneratedSample]) -> dict[str, bytes]:
    """Return the tables and the map by relative path.

    Args:
        version: Folder of the tables.
        samples: All key frames, scene by scene in the order of time.
    """
    tables = _Tables(version)
    for one in samples:
        tables.add(one)
    files = {
        f"{version}/{name}.json": json.dumps(rows, indent=0).encode()
        for name, rows in tables.finished().items()
    }
    mask = np.zeros(_MAP_PX, dtype=np.uint8)
    mask[_ROAD_PX[0] : _ROAD_PX[1]] = 255
    return files | {_MAP_FILE: encode_png(mask)}


def frame_files(frames: Iterable[KeyFrame]) -> dict[str, bytes]:
    """Return information pickles per split and a JSON per key frame."""
    files: dict[str, bytes] = {}
    infos: dict[str, list[dict[str, Any]]] = {}
    for frame in frames:
        infos.setdefault(frame.split, []).append(info_of(frame))
        content = json.dumps(frame_json_of(frame)).encode()
        files[f"frames/{frame.split}/{frame.token}.json"] = content
    for split, of_split in infos.items():
        files[f"nuscenes_infos_{split}.pkl"] = pickle.dumps({"infos": of_split}, protocol=4)
    return files


def retrieval_lists(samples: Iterable[GeneratedSample]) -> dict[str, bytes]:
    """Return the lists of queries of POP-3D's benchmark."""
    lines: dict[str, list[str]] = {split: [] for split in ("train", "val", "test")}
    for one in samples:
        split = one.frame.split.removeprefix("mini_")
        for query in one.queries:
            fields = (
                one.frame.token,
                split,
                query["annotation"],
                query["matching"],
                query["text"],
            )
            lines[split].append(";".join(fields))
    return {
        f"retrieval_benchmark/retrieval_anns_{name}.csv": "".join(
            f"{line}\n" for split in splits for line in lines[split]
        ).encode()
        for name, splits in _RETRIEVAL_SPLITS.items()
    }


def _token(*what: object) -> str:
    return hashlib.sha256("/".join(map(str, what)).encode()).hexdigest()[:32]


class _Tables:
    """Rows of all tables, chained by ``prev`` and ``next`` as they come."""

    def __init__(self, version: str) -> None:
        self._version = version
        names = ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "instance")
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        self._rows |= {"sample_annotation": [], "lidarseg": []}
        self._last: dict[tuple[str, str], dict[str, Any]] = {}
        self._calibrations: dict[tuple[str, str], str] = {}

    def add(self, one: GeneratedSample) -> None:
        """Add a key frame after those of its scene."""
        frame = one.frame
        scene = _token(self._version, frame.scene, "scene")
        is_new = (frame.scene, "sample") not in self._last
        sample = {
            "token": frame.token,
            "timestamp": frame.timestamp_us,
            "scene_token": scene,
        }
        self._chain("sample", (frame.scene, "sample"), sample)
        if is_new:
            self._rows["scene"].append(
                {
                    "token": scene,
                    "log_token": _token(self._version, "log"),
                    "nbr_samples": 0,
                    "first_sample_token": frame.token,
                    "last_sample_token": frame.token,
                    "name": frame.scene,
                    "description": "A street of the toy world",
                }
            )
        self._rows["scene"][-1]["nbr_samples"] += 1
        self._rows["scene"][-1]["last_sample_token"] = frame.token
        for sweep in reversed(frame.sweeps):
            self._add_file(frame, LIDAR, sweep, is_key=False)
        lidar = self._add_file(frame, LIDAR, frame.lidar, is_key=True)
        for camera in frame.cameras:
            self._add_file(frame, camera.name, camera, is_key=True)
        if frame.lidarseg_path:
            row = {"token": lidar, "sample_data_token": lidar, "filename": frame.lidarseg_path}
            self._rows["lidarseg"].append(row)
        for box in one.annotations:
            self._add_box(frame, box)

    def _chain(self, table: str, chain: tuple[str, str], row: dict[str, Any]) -> None:
        row |= {"prev": "", "next": ""}
        if before := self._last.get(chain):
            before["next"], row["prev"] = row["token"], before["token"]
        self._last[chain] = row
        self._rows[table].append(row)

    def _add_file(self, frame: KeyFrame, channel: str, one: SensorTime, *, is_key: bool) -> str:
        _, vehicle = one.poses
        is_camera = isinstance(one, CameraTime)
        token = _token(self._version, frame.scene, one.path)
        if is_key and channel == LIDAR and frame.lidarseg_path:  # the file is named by it
            token = frame.lidarseg_path.rpartition("/")[2].removesuffix("_lidarseg.bin")
        size = one.size_hw if isinstance(one, CameraTime) else (0, 0)
        self._rows["ego_pose"].append(
            {
                "token": token,
                "timestamp": one.timestamp_us,
                "rotation": list(vehicle.rotation_wxyz),
                "translation": list(vehicle.translation_m),
            }
        )
        row = {
            "token": token,
            "sample_token": frame.token,
            "ego_pose_token": token,
            "calibrated_sensor_token": self._calibration(frame.scene, channel, one),
            "timestamp": one.timestamp_us,
            "fileformat": "jpg" if is_camera else "pcd",
            "is_key_frame": is_key,
            "height": size[0],
            "width": size[1],
            "filename": one.path,
        }
        self._chain("sample_data", (frame.scene, channel), row)
        return token

    def _calibration(self, scene: str, channel: str, one: SensorTime) -> str:
        place = (scene, channel)
        if place not in self._calibrations:
            pose = one.poses[0]
            token = _token(self._version, *place, "calibration")
            intrinsic = one.matrix.tolist() if isinstance(one, CameraTime) else []
            self._calibrations[place] = token
            self._rows["calibrated_sensor"].append(
                {
                    "token": token,
                    "sensor_token": _token(self._version, channel),
                    "translation": list(pose.translation_m),
                    "rotation": list(pose.rotation_wxyz),
                    "camera_intrinsic": intrinsic,
                }
            )
        return self._calibrations[place]

    def _add_box(self, frame: KeyFrame, box: Mapping[str, Any]) -> None:
        instance = _token(self._version, frame.scene, "object", box["object_id"])
        token = _token(self._version, frame.token, "box", box["object_id"])
        chain = (frame.scene, f"object {box['object_id']}")
        if chain not in self._last:
            self._rows["instance"].append(
                {
                    "token": instance,
                    "category_token": _token(self._version, box["category"]),
                    "nbr_annotations": 0,
                    "first_annotation_token": token,
                    "last_annotation_token": token,
                }
            )
        kind = box["category"].partition(".")[0]
        states = {"vehicle": ("parked", "moving"), "human": ("standing", "moving")}
        attributes = []
        if kind in states:
            noun = "pedestrian" if kind == "human" else kind
            attribute = f"{noun}.{states[kind][bool(box['is_moving'])]}"
            attributes = [_token(self._version, attribute)]
        row = {
            "token": token,
            "sample_token": frame.token,
            "instance_token": instance,
            "visibility_token": str(len(_VISIBILITIES)),
            "attribute_tokens": attributes,
            "translation": box["translation"],
            "size": box["size"],
            "rotation": box["rotation"],
            "num_lidar_pts": box["num_lidar_pts"],
            "num_radar_pts": 0,
        }
        self._chain("sample_annotation", chain, row)
        owner = next(i for i in reversed(self._rows["instance"]) if i["token"] == instance)
        owner["nbr_annotations"] += 1
        owner["last_annotation_token"] = token

    def finished(self) -> dict[str, list[dict[str, Any]]]:
        """Return all tables by name; without labels there is no table of lidarseg."""
        version = self._version
        rows = {k: v for k, v in self._rows.items() if v or k != "lidarseg"}
        log = _token(version, "log")
        return rows | {
            "category": [
                {
                    "token": _token(version, name),
                    "name": name,
                    "description": "",
                    "index": index,
                }
                for index, name in enumerate(RAW_NAMES)
            ],
            "attribute": [
                {"token": _token(version, name), "name": name, "description": ""}
                for name in _ATTRIBUTES
            ],
            "visibility": [
                {"token": str(k + 1), "level": level, "description": ""}
                for k, level in enumerate(_VISIBILITIES)
            ],
            "sensor": [
                {
                    "token": _token(version, channel),
                    "channel": channel,
                    "modality": "lidar" if channel == LIDAR else "camera",
                }
                for channel in (LIDAR, *CAMERAS)
            ],
            "log": [
                {
                    "token": log,
                    "logfile": "toyworld",
                    "vehicle": "toy",
                    "date_captured": "2020-09-13",
                    "location": "singapore-onenorth",
                }
            ],
            "map": [
                {
                    "token": _token(version, "map"),
                    "log_tokens": [log],
                    "category": "semantic_prior",
                    "filename": _MAP_FILE,
                }
            ],
        }
