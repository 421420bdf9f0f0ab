"""Key frames from the tables of nuScenes v1.0, read once and with little memory.

Of the two tables with millions of rows only what key frames and their sweeps refer to is kept, so a
list of a few scenes costs little more than the reading of the text.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.key_frame import CameraTime, KeyFrame, SensorTime
from eagleray_vision.driving.nuscenes import (
    CAMERAS,
    LIDAR,
    OFFICIAL_SPLITS,
    VERSION_SPLITS,
    scenes_of,
)
from eagleray_vision.driving.pose import SensorPose, numbers, pose_of
from eagleray_vision.json_rows import read_rows

T = TypeVar("T")
_NUM_NAMED = 5


class _Row(msgspec.Struct, gc=False):
    token: str


class _SceneRow(_Row, gc=False):
    name: str
    first_sample_token: str
    nbr_samples: int = 0


class _SampleRow(_Row, gc=False):
    scene_token: str
    timestamp: int
    next: str


class _SensorRow(_Row, gc=False):
    channel: str


class _CalibrationRow(_Row, gc=False):
    sensor_token: str
    translation: list[float]
    rotation: list[float]
    camera_intrinsic: list[list[float]] = []


class _DataRow(_Row, gc=False):
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    filename: str
    timestamp: int
    is_key_frame: bool
    prev: str = ""
    height: int | None = 0
    width: int | None = 0


class _PoseRow(_Row, gc=False):
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]


class _LidarsegRow(_Row, gc=False):
    sample_data_token: str
    filename: str


@dataclass
class _Poses:
    """Vehicle poses of the files that are used, 7 numbers each."""

    values: array[float] = field(default_factory=lambda: array("d"))
    places: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, token: str) -> SensorPose:
        begin = 7 * self.places[token]
        w, x, y, z, *place = self.values[begin : begin + 7]
        return SensorPose((w, x, y, z), (place[0], place[1], place[2]))


def read_table_frames(
    root: Path,
    version: str,
    *,
    scenes: Sequence[str] | None = None,
    split: str = "",
    num_sweeps: int = 0,
    cameras: Sequence[str] = CAMERAS,
) -> Iterator[KeyFrame]:
    """Yield the key frames of nuScenes' tables, scene by scene in the order of the table.

    Args:
        root: Folder with ``samples/`` and the folder of the tables.
        version: Folder of the tables (``v1.0-mini``).
        scenes: Names of scenes; None = those of the split that the tables hold, or all.
        split: An official split, or what the scenes are called; empty = each scene's official one.
        num_sweeps: Sweeps before each key frame.
        cameras: Which cameras, in which order.

    Raises:
        DrivingDataError: A table is missing or damaged, a scene is not in it, a token dangles or is
            there twice, a quaternion is no rotation.
    """
    tables = _tables_of(root, version)
    chosen = _chosen_scenes(tables, scenes, split)
    samples = _samples_of(tables, chosen.values())
    channels, calibrations = _calibrations(tables)
    data, previous = _sensor_files(tables, samples, channels, cameras, num_sweeps)
    wanted = {row.ego_pose_token for row in (*data.values(), *previous.values())}
    poses = _vehicle_poses(tables, wanted)
    labels = _lidarseg(tables)
    linker = _Linker(
        tables, data, previous, calibrations, poses, labels, num_sweeps, tuple(cameras)
    )
    for name, scene in chosen.items():
        for sample in _chain(tables, scene, samples):
            yield linker.frame(sample, name, split or official_split(name, version))


def count_table_frames(
    root: Path, version: str, *, scenes: Sequence[str] | None = None, split: str = ""
) -> int:
    """Return how many key frames ``read_table_frames`` gives, as the table of scenes states it.

    Raises:
        DrivingDataError: The table is missing or damaged, or a scene is not in it.
    """
    chosen = _chosen_scenes(_tables_of(root, version), scenes, split)
    return sum(scene.nbr_samples for scene in chosen.values())


def _tables_of(root: Path, version: str) -> Path:
    tables = root / version
    if not tables.is_dir():
        there = sorted(p.name for p in root.glob("v1.0-*")) if root.is_dir() else []
        raise DrivingDataError(
            f"{tables} does not exist; tables there: {', '.join(there) or 'none'}. Unpack the "
            "archive with the metadata of that version, or name another version"
        )
    return tables


def official_split(scene: str, version: str) -> str:
    """Return the official split of a scene within a version; empty where it has none."""
    for split in VERSION_SPLITS.get(version, OFFICIAL_SPLITS):
        if scene in scenes_of(split):
            return split
    return ""


class _Linker:
    """Joins the rows of one sample to a key frame."""

    def __init__(
        self,
        tables: Path,
        data: Mapping[tuple[str, str], _DataRow],
        previous: Mapping[str, _DataRow],
        calibrations: Mapping[str, _CalibrationRow],
        poses: _Poses,
        labels: Mapping[str, str],
        num_sweeps: int,
        cameras: tuple[str, ...],
    ) -> None:
        self._tables, self._data, self._previous = tables, data, previous
        self._calibrations, self._poses, self._labels = calibrations, poses, labels
        self._num_sweeps, self._cameras = num_sweeps, cameras
        self._checked: dict[str, SensorPose] = {}

    def frame(self, sample: _SampleRow, scene: str, split: str) -> KeyFrame:
        """Return the key frame of a sample."""
        lidar = self._file(sample, LIDAR)
        cameras = []
        for name in self._cameras:
            row = self._file(sample, name)
            one = self._sensor(row)
            cameras.append(
                CameraTime(
                    one.path,
                    one.timestamp_us,
                    one.ego_from_sensor,
                    one.world_from_ego,
                    name=name,
                    intrinsic=self._intrinsic(row),
                    size_hw=(row.height or 0, row.width or 0),
                )
            )
        return KeyFrame(
            token=sample.token,
            scene=scene,
            split=split,
            timestamp_us=sample.timestamp,
            lidar=self._sensor(lidar),
            cameras=tuple(cameras),
            sweeps=tuple(self._sensor(row) for row in self._before(lidar)),
            lidarseg_path=self._labels.get(lidar.token, ""),
        )

    def _file(self, sample: _SampleRow, channel: str) -> _DataRow:
        row = self._data.get((sample.token, channel))
        if row is None:
            raise DrivingDataError(
                f"{self._tables / 'sample_data.json'}: sample {sample.token} has no key frame of "
                f"{channel}; unpack the tables again"
            )
        return row

    def _before(self, lidar: _DataRow) -> Iterator[_DataRow]:
        row = lidar
        for _ in range(self._num_sweeps):
            if not row.prev:
                return
            if row.prev not in self._previous:
                raise _dangling(self._tables / "sample_data.json", row.token, "prev", row.prev)
            row = self._previous[row.prev]
            yield row

    def _sensor(self, row: _DataRow) -> SensorTime:
        if row.ego_pose_token not in self._poses.places:
            where = self._tables / "sample_data.json"
            raise _dangling(where, row.token, "ego_pose_token", row.ego_pose_token)
        calibration = self._calibration(row)
        pose = self._poses[row.ego_pose_token]
        return SensorTime(row.filename, row.timestamp, calibration, pose)

    def _calibration(self, row: _DataRow) -> SensorPose:
        token = row.calibrated_sensor_token
        if token not in self._checked:
            stated = self._calibrations[token]
            self._checked[token] = pose_of(
                stated.rotation, stated.translation, self._place_of(token)
            )
        return self._checked[token]

    def _intrinsic(self, row: _DataRow) -> tuple[float, ...]:
        token = row.calibrated_sensor_token
        flat = [value for line in self._calibrations[token].camera_intrinsic for value in line]
        return numbers(flat, 9, f"{self._place_of(token)}: camera_intrinsic")

    def _place_of(self, token: str) -> str:
        return f"{self._tables / 'calibrated_sensor.json'}: {token}"


def _rows(tables: Path, table: str, row_type: type[T]) -> Iterator[T]:
    for rows in read_rows(tables / f"{table}.json", row_type, DrivingDataError):
        yield from rows


def _by_token(tables: Path, table: str, rows: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in rows:
        if row.token in found:
            raise _doubled(tables / f"{table}.json", row.token)
        found[row.token] = row
    return found


def _chosen_scenes(tables: Path, scenes: Sequence[str] | None, split: str) -> dict[str, _SceneRow]:
    rows = {row.name: row for row in _rows(tables, "scene", _SceneRow)}
    if scenes is None:
        if not split:
            return rows
        if split not in OFFICIAL_SPLITS:
            raise DrivingDataError(
                f"{split!r} is no split of nuScenes ({', '.join(OFFICIAL_SPLITS)}); list its scenes"
            )
        scenes = [name for name in scenes_of(split) if name in rows]
        if not scenes:
            raise DrivingDataError(
                f"{tables / 'scene.json'} has no scene of {split}; name the version that holds them"
            )
    missing = [name for name in scenes if name not in rows]
    if missing:
        raise DrivingDataError(
            f"{tables / 'scene.json'} lacks {len(missing)} of {len(scenes)} scenes "
            f"({', '.join(missing[:_NUM_NAMED])}); it has {len(rows)}. Name the version that holds "
            "them, or list other scenes"
        )
    wanted = set(scenes)
    return {name: row for name, row in rows.items() if name in wanted}


def _samples_of(tables: Path, scenes: Iterable[_SceneRow]) -> dict[str, _SampleRow]:
    wanted = {scene.token for scene in scenes}
    rows = (row for row in _rows(tables, "sample", _SampleRow) if row.scene_token in wanted)
    return _by_token(tables, "sample", rows)


def _chain(
    tables: Path, scene: _SceneRow, samples: Mapping[str, _SampleRow]
) -> Iterator[_SampleRow]:
    token, owner, met = scene.first_sample_token, scene.token, set[str]()
    while token:
        if token not in samples:
            raise _dangling(tables / "sample.json", owner, "next sample", token)
        if token in met:
            raise DrivingDataError(
                f"{tables / 'sample.json'}: the chain of scene {scene.name} returns to {token}"
            )
        met.add(token)
        yield samples[token]
        owner, token = token, samples[token].next


def _calibrations(tables: Path) -> tuple[dict[str, str], dict[str, _CalibrationRow]]:
    """Return the channel of each calibrated sensor, and its row."""
    channels = {
        row.token: row.channel
        for row in _by_token(tables, "sensor", _rows(tables, "sensor", _SensorRow)).values()
    }
    rows: dict[str, _CalibrationRow] = _by_token(
        tables, "calibrated_sensor", _rows(tables, "calibrated_sensor", _CalibrationRow)
    )
    for row in rows.values():
        if row.sensor_token not in channels:
            where = tables / "calibrated_sensor.json"
            raise _dangling(where, row.token, "sensor_token", row.sensor_token)
    return {row.token: channels[row.sensor_token] for row in rows.values()}, rows


def _sensor_files(
    tables: Path,
    samples: Mapping[str, _SampleRow],
    channels: Mapping[str, str],
    cameras: Sequence[str],
    num_sweeps: int,
) -> tuple[dict[tuple[str, str], _DataRow], dict[str, _DataRow]]:
    """Return key frames by (sample, channel), and all sweeps of the lidar by token."""
    wanted, where = {*cameras, LIDAR}, tables / "sample_data.json"
    data: dict[tuple[str, str], _DataRow] = {}
    previous: dict[str, _DataRow] = {}
    for row in _rows(tables, "sample_data", _DataRow):
        channel = channels.get(row.calibrated_sensor_token)
        if channel is None:
            raise _dangling(
                where, row.token, "calibrated_sensor_token", row.calibrated_sensor_token
            )
        if channel not in wanted or row.sample_token not in samples:
            continue
        if channel == LIDAR and num_sweeps:
            if row.token in previous:
                raise _doubled(where, row.token)
            previous[row.token] = row
        if row.is_key_frame:
            if (row.sample_token, channel) in data:
                raise DrivingDataError(
                    f"{where}: sample {row.sample_token} has two key frames of {channel} "
                    f"({data[row.sample_token, channel].token}, {row.token})"
                )
            data[row.sample_token, channel] = row
    return data, previous


def _vehicle_poses(tables: Path, wanted: set[str]) -> _Poses:
    poses, where = _Poses(), tables / "ego_pose.json"
    for row in _rows(tables, "ego_pose", _PoseRow):
        if row.token in wanted:
            if row.token in poses.places:
                raise _doubled(where, row.token)
            pose = pose_of(row.rotation, row.translation, f"{where}: {row.token}")
            poses.places[row.token] = len(poses.places)
            poses.values.extend(pose.values())
    return poses


def _lidarseg(tables: Path) -> dict[str, str]:
    """Return the label file of each sweep; none for a version without labels."""
    if not (tables / "lidarseg.json").exists():
        return {}
    rows = _rows(tables, "lidarseg", _LidarsegRow)
    return {row.sample_data_token: row.filename for row in rows}


def _dangling(where: Path, token: str, column: str, value: str) -> DrivingDataError:
    return DrivingDataError(
        f"{where}: {token} refers by {column} to {value}, which does not exist; unpack the tables "
        "again"
    )


def _doubled(where: Path, token: str) -> DrivingDataError:
    return DrivingDataError(f"{where}: {token} is there twice; unpack the tables again")
