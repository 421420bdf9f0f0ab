"""A key frame of one's own rig as one JSON file, with any number of cameras.

    {
      "sample_token": "drive7_000120",                 unique name
      "scene": "drive7", "split": "train",             optional
      "timestamp": 1532402927.65,                      seconds; or "timestamp_us"
      "lidar": {"file": "000120.bin"},                 x, y, z, intensity, ring as float32
      "lidar2ego": POSE, "ego2global": POSE,           calibration, and the vehicle at lidar time
      "lidarseg": "000120_labels.bin",                 optional, uint8 per point
      "sweeps": [{"file": ..., "timestamp": ..., "sensor2ego": POSE, "ego2global": POSE}, ...],
      "cams": {
        "front": {
          "file": "front/000120.jpg", "timestamp": 1532402927.61,
          "K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
          "lidar2cam": 4 x 4                           lidar at its time to camera at its own; or
          "cam2ego": POSE, "ego2global": POSE          its calibration, and the vehicle at its time
          "size_hw": [900, 1600]                       optional, compared with the picture
        }, ...
      }
    }

A POSE is a 4 x 4 rigid matrix, or ``{"rotation": [w, x, y, z], "translation": [x, y, z]}``. Paths
are relative to the folder of the data. Where a camera has ``lidar2cam``, that is used. Other keys
are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.key_frame import CameraTime, KeyFrame, SensorTime
from eagleray_vision.driving.pose import (
    SensorPose,
    numbers,
    pose_of,
    pose_of_matrix,
    rigid_matrix,
)
from eagleray_vision.json_file import read_json


def read_frame_json(path: Path, *, split: str = "") -> KeyFrame:
    """Read the key frame of one JSON file.

    Args:
        path: The file.
        split: What the split is called where the file does not say.

    Raises:
        DrivingDataError: It is no JSON object of this form; names the token and the key.
    """
    content = read_json(path, DrivingDataError)
    if not isinstance(content, Mapping):
        raise DrivingDataError(f"{path}: holds a {type(content).__name__}, expected an object")
    token = str(content.get("sample_token", ""))
    where = f"{path}: {token}"
    try:
        if not token:
            raise KeyError("sample_token")
        return _frame(content, token, where, split)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DrivingDataError):
            raise
        raise DrivingDataError(f"{where}: lacks or malforms {error}") from error


def frame_json_of(frame: KeyFrame) -> dict[str, Any]:
    """Return a key frame with known poses as the content of such a file."""

    def sensor(one: SensorTime) -> dict[str, Any]:
        return {
            "file": one.path,
            "timestamp_us": one.timestamp_us,
            "sensor2ego": _stated(one.ego_from_sensor),
            "ego2global": _stated(one.world_from_ego),
        }

    cameras = {}
    for one in frame.cameras:
        camera = sensor(one)
        camera["cam2ego"] = camera.pop("sensor2ego")
        cameras[one.name] = camera | {"K": one.matrix.tolist(), "size_hw": list(one.size_hw)}
    return {
        "sample_token": frame.token,
        "scene": frame.scene,
        "split": frame.split,
        "timestamp_us": frame.timestamp_us,
        "lidar": {"file": frame.lidar.path, "timestamp_us": frame.lidar.timestamp_us},
        "lidar2ego": _stated(frame.lidar.ego_from_sensor),
        "ego2global": _stated(frame.lidar.world_from_ego),
        "lidarseg": frame.lidarseg_path,
        "sweeps": [sensor(one) for one in frame.sweeps],
        "cams": cameras,
    }


def _stated(pose: SensorPose | None) -> dict[str, list[float]] | None:
    if pose is None:
        return None
    return {"rotation": list(pose.rotation_wxyz), "translation": list(pose.translation_m)}


def _frame(content: Mapping[str, Any], token: str, where: str, split: str) -> KeyFrame:
    lidar = content["lidar"]
    time = _microseconds(content, where)
    return KeyFrame(
        token=token,
        scene=str(content.get("scene", "")),
        split=str(content.get("split", split)),
        timestamp_us=time,
        lidar=SensorTime(
            str(lidar["file"]),
            _microseconds(lidar, where, time),
            _pose(content, "lidar2ego", where),
            _pose(content, "ego2global", where),
        ),
        cameras=tuple(_camera(n, c, f"{where}: {n}") for n, c in content["cams"].items()),
        sweeps=tuple(
            SensorTime(
                str(one["file"]),
                _microseconds(one, where),
                _pose(one, "sensor2ego", where),
                _pose(one, "ego2global", where),
            )
            for one in content.get("sweeps", ())
        ),
        lidarseg_path=str(content.get("lidarseg") or ""),
    )


def _camera(name: str, camera: Mapping[str, Any], where: str) -> CameraTime:
    stated, pose = None, _pose(camera, "cam2ego", where)
    vehicle = _pose(camera, "ego2global", where)
    if "lidar2cam" in camera:
        matrix = rigid_matrix(camera["lidar2cam"], f"{where}: lidar2cam")
        stated = tuple(matrix[:3].ravel().tolist())
    elif pose is None or vehicle is None:
        raise DrivingDataError(f"{where}: lacks lidar2cam, or both cam2ego and ego2global")
    height, width = camera.get("size_hw", (0, 0))
    return CameraTime(
        str(camera["file"]),
        _microseconds(camera, where, 0),
        pose,
        vehicle,
        name=name,
        intrinsic=numbers(np.ravel(camera["K"]), 9, f"{where}: K"),
        size_hw=(int(height), int(width)),
        stated_camera_from_lidar=stated,
    )


def _pose(values: Mapping[str, Any], name: str, where: str) -> SensorPose | None:
    stated = values.get(name)
    if stated is None:
        return None
    if isinstance(stated, Mapping):
        return pose_of(stated["rotation"], stated["translation"], f"{where}: {name}")
    return pose_of_matrix(stated, f"{where}: {name}")


def _microseconds(values: Mapping[str, Any], where: str, default: int | None = None) -> int:
    if "timestamp_us" in values:
        return int(values["timestamp_us"])
    if "timestamp" not in values and default is not None:
        return default
    seconds = float(values["timestamp"])
    if not math.isfinite(seconds):
        raise DrivingDataError(f"{where}: timestamp is not finite")
    return round(seconds * 1e6)
