"""Key frames from information pickles, in the style of mmdet3d 0.x (docs/originals/pop3d.md 1.3).

Poses are taken where the pickle states them; one that states only cameras seen from the lidar gives
key frames with these transforms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.key_frame import CameraTime, KeyFrame, SensorTime
from eagleray_vision.driving.pose import SensorPose, numbers, pose_of
from eagleray_vision.plain_pickle import read_plain_pickle

_ROOT_MARKS = ("samples/", "sweeps/", "lidarseg/")
"""Folders of nuScenes, by which the path of a pickle's author is cut off."""


def read_info_pickle(path: Path, *, split: str = "", num_sweeps: int = 0) -> Iterator[KeyFrame]:
    """Yield the key frames of an information pickle, in its order.

    Args:
        path: The pickle: a list of dictionaries, or a dictionary with ``infos``.
        split: What the split is called.
        num_sweeps: How many of the sweeps before a key frame are taken.

    Raises:
        DrivingDataError: It is no such pickle or asks for more than plain data, a key is missing or
            malformed, or a token is there twice.
    """
    content = read_plain_pickle(path, DrivingDataError)
    frames = content.get("infos") if isinstance(content, Mapping) else content
    if not isinstance(frames, Sequence) or isinstance(frames, str):
        found = (
            sorted(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        )
        raise DrivingDataError(
            f"{path}: holds {found}, expected a list of key frames or a dictionary with 'infos' "
            "(mmdet3d 0.x; from 1.1 on the layout is another: make the file with an older version)"
        )
    met: set[str] = set()
    for number, info in enumerate(frames):
        try:
            frame = _frame(path, info, split, num_sweeps)
        except (KeyError, TypeError, AttributeError) as error:
            token = info.get("token", "") if isinstance(info, Mapping) else ""
            raise DrivingDataError(
                f"{path}: key frame {number} {token} lacks or malforms {error}"
            ) from error
        if frame.token in met:
            raise DrivingDataError(f"{path}: key frame {frame.token} is there twice")
        met.add(frame.token)
        yield frame


def info_of(frame: KeyFrame) -> dict[str, Any]:
    """Return a key frame with known poses as the dictionary that such pickles hold."""
    lidar_from_world = np.linalg.inv(frame.lidar.world_from_sensor)

    def seen_from_lidar(one: SensorTime) -> dict[str, Any]:
        transform = lidar_from_world @ one.world_from_sensor
        return {
            "data_path": f"./data/nuscenes/{one.path}",
            "timestamp": one.timestamp_us,
            "sensor2lidar_rotation": transform[:3, :3],
            "sensor2lidar_translation": transform[:3, 3],
            **_stated("sensor2ego", one.ego_from_sensor),
            **_stated("ego2global", one.world_from_ego),
        }

    info: dict[str, Any] = {
        "token": frame.token,
        "scene_name": frame.scene,
        "timestamp": frame.timestamp_us,
        "lidar_path": f"./data/nuscenes/{frame.lidar.path}",
        "lidar_timestamp": frame.lidar.timestamp_us,
        **_stated("lidar2ego", frame.lidar.ego_from_sensor),
        **_stated("ego2global", frame.lidar.world_from_ego),
        "sweeps": [seen_from_lidar(one) for one in frame.sweeps],
        "cams": {
            one.name: seen_from_lidar(one)
            | {
                "type": one.name,
                "cam_intrinsic": one.matrix,
                "height": one.size_hw[0],
                "width": one.size_hw[1],
            }
            for one in frame.cameras
        },
    }
    if frame.lidarseg_path:
        info["lidar_path_labels"] = frame.lidarseg_path
    return info


def _stated(name: str, pose: SensorPose | None) -> dict[str, Any]:
    if pose is None:
        return {}
    return {
        f"{name}_rotation": list(pose.rotation_wxyz),
        f"{name}_translation": list(pose.translation_m),
    }


def _frame(path: Path, info: Mapping[str, Any], split: str, num_sweeps: int) -> KeyFrame:
    token = str(info["token"])
    where = f"{path}: {token}"
    time = int(info.get("timestamp", 0))
    lidar = SensorTime(
        _from_root(info["lidar_path"]),
        int(info.get("lidar_timestamp", time)),
        _pose(info, "lidar2ego", where),
        _pose(info, "ego2global", where),
    )
    return KeyFrame(
        token=token,
        scene=str(info.get("scene_name", info.get("scene_token", ""))),
        split=split,
        timestamp_us=time,
        lidar=lidar,
        cameras=tuple(
            _camera(name, camera, f"{where}: {name}") for name, camera in info["cams"].items()
        ),
        sweeps=tuple(
            _sensor(one, f"{where}: sweep") for one in info.get("sweeps", ())[:num_sweeps]
        ),
        lidarseg_path=_from_root(info.get("lidar_path_labels", "")),
    )


def _camera(name: str, camera: Mapping[str, Any], where: str) -> CameraTime:
    one = _sensor(camera, where)
    stated = None
    if one.ego_from_sensor is None or one.world_from_ego is None:
        turn = np.array(numbers(np.ravel(camera["sensor2lidar_rotation"]), 9, f"{where}: rotation"))
        place = numbers(camera["sensor2lidar_translation"], 3, f"{where}: translation")
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn.reshape(3, 3), place
        stated = tuple(np.linalg.inv(matrix)[:3].ravel().tolist())
    return CameraTime(
        one.path,
        one.timestamp_us,
        one.ego_from_sensor,
        one.world_from_ego,
        name=name,
        intrinsic=numbers(np.ravel(camera["cam_intrinsic"]), 9, f"{where}: cam_intrinsic"),
        size_hw=(int(camera.get("height", 0)), int(camera.get("width", 0))),
        stated_camera_from_lidar=stated,
    )


def _sensor(one: Mapping[str, Any], where: str) -> SensorTime:
    return SensorTime(
        _from_root(one["data_path"]),
        int(one.get("timestamp", 0)),
        _pose(one, "sensor2ego", where),
        _pose(one, "ego2global", where),
    )


def _pose(values: Mapping[str, Any], name: str, where: str) -> SensorPose | None:
    rotation, place = values.get(f"{name}_rotation"), values.get(f"{name}_translation")
    return (
        None if rotation is None or place is None else pose_of(rotation, place, f"{where}: {name}")
    )


def _from_root(path: Any) -> str:
    """Cut the author's own folder off a path."""
    text = str(path).replace("\\", "/")
    starts = [text.rfind(mark) for mark in _ROOT_MARKS if mark in text]
    return text[min(starts) :] if starts else text.removeprefix("./")
