"""Key frames of tables, pickles and JSON files: equal rows, and what is said of bad ones."""

import collections
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.eagleray_vision.driving.small_tables import NUM_SAMPLES, small_tables, write_tables

from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.frame_json import frame_json_of, read_frame_json
from eagleray_vision.driving.info_pickle import info_of, read_info_pickle
from eagleray_vision.driving.key_frame import KEY_FRAME_SCHEMA, KeyFrame, key_frame_of_row
from eagleray_vision.driving.nuscenes import CAMERAS, OFFICIAL_SPLITS, scenes_of
from eagleray_vision.driving.nuscenes_tables import read_table_frames


def frames_of(root: Path, **settings) -> list[KeyFrame]:
    return list(read_table_frames(root, "v1.0-mini", **settings))


@pytest.fixture
def tables() -> dict[str, list[dict]]:
    return small_tables()


def row_of(tables, table: str, token: str) -> dict:
    return next(row for row in tables[table] if row["token"] == token)


def test_tables_are_joined(tmp_path, tables):
    frames = frames_of(write_tables(tmp_path, tables), num_sweeps=3)
    assert [one.token for one in frames[:NUM_SAMPLES]] == [
        f"scene-0061/sample{k}" for k in range(3)
    ]
    assert [one.split for one in frames] == ["mini_train"] * 3 + ["mini_val"] * 3
    second = frames[1]
    assert [one.name for one in second.cameras] == list(CAMERAS)
    assert [one.path for one in second.sweeps] == [
        "sweeps/LIDAR_TOP/scene-0061/sample0/sweep1",
        "sweeps/LIDAR_TOP/scene-0061/sample0/sweep0",
        "samples/LIDAR_TOP/scene-0061/sample0/LIDAR_TOP",
    ]
    assert frames[0].sweeps == ()
    assert second.lidarseg_path == "lidarseg/scene-0061/sample1/LIDAR_TOP"
    assert second.cameras[2].timestamp_us == 1_500_003 and second.cameras[2].size_hw == (900, 1600)
    assert second.lidar.world_from_ego.translation_m == (400.0 + 15.0, 1180.0, 0.0)


def test_sources_give_equal_rows(tmp_path, tables):
    frames = frames_of(write_tables(tmp_path, tables), split="mini_train", num_sweeps=2)
    tables_rows = [one.to_row() for one in frames]
    assert set(tables_rows[0]) == set(KEY_FRAME_SCHEMA)
    infos = tmp_path / "nuscenes_infos_mini_train.pkl"
    infos.write_bytes(pickle.dumps({"infos": [info_of(one) for one in frames], "metadata": {}}))
    pickled = read_info_pickle(infos, split="mini_train", num_sweeps=2)
    files = []
    for number, frame in enumerate(frames):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(frame_json_of(frame)))
    for other in ([*pickled], [read_frame_json(path) for path in files]):
        for one, expected in zip(other, tables_rows, strict=True):
            row = one.to_row()
            for column, value in expected.items():
                assert (
                    np.array_equal(row[column], value, equal_nan=True)
                    if isinstance(value, list) and column.endswith(("poses", "lidar"))
                    else row[column] == value
                ), column
    assert [key_frame_of_row(row) for row in tables_rows] == frames


def test_pickle_of_seen_cameras_alone(tmp_path, tables):
    frame = frames_of(write_tables(tmp_path, tables))[0]
    info = info_of(frame)
    kept = {"data_path", "sensor2lidar_rotation", "sensor2lidar_translation", "cam_intrinsic"}
    info["cams"] = {n: {k: c[k] for k in kept} for n, c in info["cams"].items()}
    bare = {key: info[key] for key in ("token", "lidar_path", "cams")}
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps([bare], protocol=2))
    (found,) = read_info_pickle(path)
    again = key_frame_of_row(found.to_row())
    assert again == found and found.lidar.ego_from_sensor is None
    for one, expected in zip(again.cameras, frame.cameras, strict=True):
        np.testing.assert_allclose(
            again.image_from_lidar(one), frame.image_from_lidar(expected), rtol=1e-9, atol=1e-7
        )


@pytest.mark.parametrize(
    ("table", "token", "change", "said"),
    [
        ("sample_data", "scene-0061/sample1/CAM_BACK", {"ego_pose_token": "gone"}, "gone"),
        ("sample_data", "scene-0061/sample1/CAM_BACK", {"calibrated_sensor_token": "no"}, "no"),
        ("sample_data", "scene-0061/sample1/CAM_BACK", {"is_key_frame": False}, "sample1 has no"),
        ("sample_data", "scene-0061/sample1/LIDAR_TOP", {"prev": "lost"}, "lost"),
        ("sample", "scene-0061/sample1", {"next": "nowhere"}, "nowhere"),
        ("sample", "scene-0061/sample1", {"next": "scene-0061/sample0"}, "returns to"),
        ("calibrated_sensor", "c2", {"rotation": [1.0, 1.0, 0.0, 0.0]}, "c2: the rotation"),
        ("calibrated_sensor", "c2", {"camera_intrinsic": []}, "c2: camera_intrinsic"),
        (
            "ego_pose",
            "scene-0061/sample1/CAM_BACK/pose",
            {"rotation": [0, 0, 0, 0.5]},
            "length 0.5",
        ),
        ("ego_pose", "scene-0061/sample1/CAM_BACK/pose", {"rotation": [0, 0, 0]}, "ego_pose.json"),
        ("scene", "scene-0061/t", {"name": "scene-9999"}, "scene-0061"),
        ("sample", "scene-0061/sample1", {"token": "scene-0061/sample0"}, "is there twice"),
        (
            "ego_pose",
            "scene-0061/sample1/CAM_BACK/pose",
            {"token": "scene-0061/sample0/CAM_BACK/pose"},
            "is there twice",
        ),
    ],
)
def test_wrong_tables_are_refused_by_name(tmp_path, tables, table, token, change, said):
    row_of(tables, table, token).update(change)
    root = write_tables(tmp_path, tables)
    with pytest.raises(DrivingDataError, match=said) as caught:
        frames_of(root, scenes=["scene-0061"], num_sweeps=2)
    assert ".json" in str(caught.value)


def test_a_few_scenes_are_read_alone(tmp_path, tables):
    row_of(tables, "calibrated_sensor", "c7")["rotation"] = [0.0] * 4  # a radar: not used
    root = write_tables(tmp_path, tables)
    assert {one.scene for one in frames_of(root, scenes=["scene-0103"])} == {"scene-0103"}
    with pytest.raises(DrivingDataError, match="lacks 1 of 2 scenes"):
        frames_of(root, scenes=["scene-0103", "scene-0001"])
    with pytest.raises(DrivingDataError, match=r"tables there: v1\.0-mini"):
        list(read_table_frames(root, "v1.0-test"))


def test_splits_are_those_of_the_devkit():
    devkit = pytest.importorskip("nuscenes.utils.splits").create_splits_scenes()
    for split in OFFICIAL_SPLITS:
        assert sorted(scenes_of(split)) == sorted(devkit[split])


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


class Sneaky:
    def __reduce__(self):
        return np.ndarray, ((1 << 40,),)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([Evil()], r"system"),
        ([Sneaky()], r"numpy\.ndarray as a function"),
        ([collections.deque()], r"collections\.deque"),
        ({"data_list": []}, "mmdet3d 0.x"),
        ([{"token": "a"}], "key frame 0 a lacks"),
    ],
)
def test_wrong_pickles_are_refused(tmp_path, content, said):
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DrivingDataError, match=said):
        list(read_info_pickle(path))


def test_damaged_pickle_and_doubled_token(tmp_path, tables):
    frame = frames_of(write_tables(tmp_path, tables))[0]
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps([info_of(frame)] * 2))
    with pytest.raises(DrivingDataError, match="there twice"):
        list(read_info_pickle(path))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DrivingDataError, match="cannot be read as a pickle"):
        list(read_info_pickle(path))


def test_frame_json_of_matrices(tmp_path):
    seen = np.eye(4)
    seen[:3, 3] = (0.1, 0.2, 0.3)
    content = {
        "sample_token": "own",
        "timestamp": 12.5,
        "lidar": {"file": "a.bin"},
        "lidar2ego": np.diag([-1.0, -1.0, 1.0, 1.0]).tolist(),
        "cams": {"left": {"file": "l.jpg", "K": np.eye(3).tolist(), "lidar2cam": seen.tolist()}},
    }
    path = tmp_path / "own.json"
    path.write_text(json.dumps(content))
    frame = read_frame_json(path, split="train")
    assert frame.timestamp_us == 12_500_000 and frame.split == "train"
    assert np.array_equal(frame.camera_from_lidar(frame.cameras[0]), seen)
    np.testing.assert_allclose(
        frame.lidar.ego_from_sensor.rotation, np.diag([-1.0, -1.0, 1.0]), atol=1e-12
    )
    seen[0, 0] = 2.0
    content["cams"]["left"]["lidar2cam"] = seen.tolist()
    path.write_text(json.dumps(content))
    with pytest.raises(DrivingDataError, match="own: left: lidar2cam: is no rigid"):
        read_frame_json(path)
    del content["cams"]["left"]["lidar2cam"]
    path.write_text(json.dumps(content))
    with pytest.raises(DrivingDataError, match="lacks lidar2cam, or both"):
        read_frame_json(path)


@pytest.mark.parametrize("seed", range(20))
def test_quaternion_of_a_matrix(seed):
    from eagleray_vision.driving.pose import SensorPose, pose_of_matrix

    q = np.random.default_rng(seed).normal(size=4)
    q[0] *= seed % 2  # half turns too
    q /= np.linalg.norm(q)
    pose = SensorPose(tuple(q), (1.0, 2.0, 3.0))
    np.testing.assert_allclose(pose_of_matrix(pose.matrix, "").matrix, pose.matrix, atol=1e-12)
    devkit = pytest.importorskip("pyquaternion").Quaternion(q)
    assert np.array_equal(pose.rotation, devkit.rotation_matrix)
