"""A key frame: what the sensors of a vehicle recorded around one moment, and where they were.

One typed record for every source (tables, information pickles, JSON per frame), and one row of a
table that holds it whole, so that nobody opens the source again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.pose import FloatArray, SensorPose

_POSE = 7
_TRANSFORM = 12


@dataclass(frozen=True)
class SensorTime:
    """One file of a sensor with the sensor's place at that time.

    Attributes:
        path: File, relative to the data's folder.
        timestamp_us: Time in microseconds.
        ego_from_sensor: Calibration; None where the source does not tell.
        world_from_ego: The vehicle at this sensor's own time; None likewise.
    """

    path: str
    timestamp_us: int
    ego_from_sensor: SensorPose | None
    world_from_ego: SensorPose | None

    @property
    def poses(self) -> tuple[SensorPose, SensorPose]:
        """``ego_from_sensor`` and ``world_from_ego``.

        Raises:
            DrivingDataError: One is not known.
        """
        if self.ego_from_sensor is None or self.world_from_ego is None:
            raise DrivingDataError(
                f"{self.path}: the pose of the sensor or of the vehicle is unknown; give both, or "
                "where cameras are seen from the lidar (lidar2cam)"
            )
        return self.ego_from_sensor, self.world_from_ego

    @property
    def world_from_sensor(self) -> FloatArray:
        """(4, 4) float64.

        Raises:
            DrivingDataError: A pose is not known.
        """
        ego_from_sensor, world_from_ego = self.poses
        return world_from_ego.matrix @ ego_from_sensor.matrix


@dataclass(frozen=True)
class CameraTime(SensorTime):
    """A photograph.

    Attributes:
        name: Camera (``CAM_FRONT``).
        intrinsic: Row-major 3 x 3 matrix K, pixels.
        size_hw: Height and width as the source states them; (0, 0) = not stated.
        stated_camera_from_lidar: First three rows, row-major, where the source states the transform
            itself instead of poses.
    """

    name: str
    intrinsic: tuple[float, ...]
    size_hw: tuple[int, int] = (0, 0)
    stated_camera_from_lidar: tuple[float, ...] | None = None

    @property
    def matrix(self) -> FloatArray:
        """(3, 3) float64 intrinsic matrix."""
        return np.array(self.intrinsic).reshape(3, 3)


@dataclass(frozen=True, kw_only=True)
class KeyFrame:
    """One key frame.

    Attributes:
        token: Its unique name.
        scene: Name of its scene.
        split: An official split (``train``, ``mini_val``), or what the user calls it.
        timestamp_us: Time in microseconds.
        lidar: The sweep.
        cameras: Photographs in the order of the rig.
        sweeps: Sweeps before the key frame, nearest first.
        lidarseg_path: Labels of the sweep's points; empty where there are none.
    """

    token: str
    scene: str
    split: str
    timestamp_us: int
    lidar: SensorTime
    cameras: tuple[CameraTime, ...]
    sweeps: tuple[SensorTime, ...] = ()
    lidarseg_path: str = ""

    def camera_from_lidar(self, camera: CameraTime) -> FloatArray:
        """Return the (4, 4) float64 transform from the lidar to a camera, each at its own time.

        Raises:
            DrivingDataError: The source states neither it nor the poses.
        """
        if camera.stated_camera_from_lidar is not None:
            out = np.eye(4)
            out[:3] = np.array(camera.stated_camera_from_lidar).reshape(3, 4)
            return out
        return np.linalg.inv(camera.world_from_sensor) @ self.lidar.world_from_sensor

    def image_from_lidar(self, camera: CameraTime) -> FloatArray:
        """Return the (4, 4) float64 matrix from lidar points to (u depth, v depth, depth, 1)."""
        out = np.eye(4)
        out[:3, :3] = camera.matrix
        return out @ self.camera_from_lidar(camera)

    def to_row(self) -> dict[str, Any]:
        """Return the columns of `KEY_FRAME_SCHEMA`."""
        return {
            "token": self.token,
            "scene": self.scene,
            "split": self.split,
            "timestamp_us": self.timestamp_us,
            "lidarseg_path": self.lidarseg_path,
            **_sensor_columns("lidar", (self.lidar,)),
            **_sensor_columns("sweep", self.sweeps),
            **_sensor_columns("camera", self.cameras),
            "camera_names": [one.name for one in self.cameras],
            "camera_sizes_hw": [side for one in self.cameras for side in one.size_hw],
            "camera_intrinsics": [value for one in self.cameras for value in one.intrinsic],
            "camera_from_lidar": [
                value
                for one in self.cameras
                for value in one.stated_camera_from_lidar or (np.nan,) * _TRANSFORM
            ],
        }


def _columns_of(sensor: str) -> dict[str, str]:
    return {
        f"{sensor}_paths": "list<string>",
        f"{sensor}_timestamps_us": "list<int64>",
        f"{sensor}_poses": "list<float64>",
    }


KEY_FRAME_SCHEMA: Mapping[str, str] = {
    "token": "string",
    "scene": "string",
    "split": "string",
    "timestamp_us": "int64",
    "lidarseg_path": "string",
    **_columns_of("lidar"),
    **_columns_of("sweep"),
    **_columns_of("camera"),
    "camera_names": "list<string>",
    "camera_sizes_hw": "list<int32>",
    "camera_intrinsics": "list<float64>",
    "camera_from_lidar": "list<float64>",
}
"""Columns of a key frame. Poses: 14 numbers per file, quaternion and translation of
``ego_from_sensor``, then of ``world_from_ego``; NaN where unknown. ``camera_from_lidar``: 12 per
camera, likewise.
"""


def key_frame_of_row(row: Mapping[str, Any]) -> KeyFrame:
    """Return the key frame of a row of `KEY_FRAME_SCHEMA`."""
    sizes = np.asarray(row["camera_sizes_hw"], dtype=np.int64).reshape(-1, 2)
    intrinsics = np.asarray(row["camera_intrinsics"], dtype=np.float64).reshape(-1, 9)
    stated = np.asarray(row["camera_from_lidar"], dtype=np.float64).reshape(-1, _TRANSFORM)
    cameras = tuple(
        CameraTime(
            one.path,
            one.timestamp_us,
            one.ego_from_sensor,
            one.world_from_ego,
            name=str(name),
            intrinsic=tuple(intrinsics[k].tolist()),
            size_hw=(int(sizes[k, 0]), int(sizes[k, 1])),
            stated_camera_from_lidar=(
                None if np.isnan(stated[k]).any() else tuple(stated[k].tolist())
            ),
        )
        for k, (one, name) in enumerate(
            zip(_sensors(row, "camera"), row["camera_names"], strict=True)
        )
    )
    return KeyFrame(
        token=row["token"],
        scene=row["scene"],
        split=row["split"],
        timestamp_us=int(row["timestamp_us"]),
        lidar=_sensors(row, "lidar")[0],
        cameras=cameras,
        sweeps=_sensors(row, "sweep"),
        lidarseg_path=row["lidarseg_path"],
    )


def _sensor_columns(name: str, files: Sequence[SensorTime]) -> dict[str, Any]:
    unknown = [np.nan] * _POSE
    poses: list[float] = []
    for one in files:
        for pose in (one.ego_from_sensor, one.world_from_ego):
            poses += unknown if pose is None else pose.values()
    return {
        f"{name}_paths": [one.path for one in files],
        f"{name}_timestamps_us": [one.timestamp_us for one in files],
        f"{name}_poses": poses,
    }


def _sensors(row: Mapping[str, Any], name: str) -> tuple[SensorTime, ...]:
    poses = np.asarray(row[f"{name}_poses"], dtype=np.float64).reshape(-1, 2, _POSE)
    return tuple(
        SensorTime(str(path), int(time), _pose(poses[k, 0]), _pose(poses[k, 1]))
        for k, (path, time) in enumerate(
            zip(row[f"{name}_paths"], row[f"{name}_timestamps_us"], strict=True)
        )
    )


def _pose(values: FloatArray) -> SensorPose | None:
    if np.isnan(values).any():
        return None
    w, x, y, z, *place = values.tolist()
    return SensorPose((w, x, y, z), (place[0], place[1], place[2]))
