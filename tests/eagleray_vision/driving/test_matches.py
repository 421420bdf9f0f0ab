"""Projection of stated matrices, the z-buffer, and files as the original stores them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.key_frame import CameraTime, KeyFrame, SensorTime
from eagleray_vision.driving.lidar import read_lidarseg, read_sweep
from eagleray_vision.driving.original_files import (
    feature_file,
    projection_files,
    read_features,
    read_projection,
)
from eagleray_vision.driving.pose import SensorPose
from eagleray_vision.driving.projection import Matches, project_frame
from eagleray_vision.driving.visibility import ZBuffer

SIZE = (90, 160)
INTRINSIC = (100.0, 0.0, 80.0, 0.0, 100.0, 45.0, 0.0, 0.0, 1.0)
LEFT_RIGHT = ("left", "right")


def camera(name: str, turned_deg: float) -> CameraTime:
    """Lidar axes x right, y forward, z up; the camera is turned about the vertical."""
    c, s = math.cos(math.radians(turned_deg)), math.sin(math.radians(turned_deg))
    seen = np.array([[c, -s, 0, 0.1], [0, 0, -1, -0.3], [s, c, 0, -0.4]])
    return CameraTime(
        f"samples/{name}/a.jpg",
        0,
        None,
        None,
        name=name,
        intrinsic=INTRINSIC,
        stated_camera_from_lidar=tuple(seen.ravel()),
    )


FRAME = KeyFrame(
    token="tok",
    scene="",
    split="",
    timestamp_us=0,
    lidar=SensorTime("l.bin", 0, None, None),
    cameras=(camera("left", -40.0), camera("right", 40.0)),
)
SIZES = dict.fromkeys(LEFT_RIGHT, SIZE)


def test_stated_matrices_against_a_loop():
    points = np.random.default_rng(0).normal(0, 15, (3000, 5)).astype(np.float32)
    found = project_frame(FRAME, points, SIZES)
    for one in FRAME.cameras:
        seen = FRAME.camera_from_lidar(one)
        expected = []
        for row, point in enumerate(points[:, :3].astype(np.float64)):
            x, y, z = (seen[:3, :3] @ point + seen[:3, 3]).astype(np.float32).astype(np.float64)
            if z > 1 and 0 < 100 * x / z + 80 < 159 and 0 < 100 * y / z + 45 < 89:
                expected.append((row, 100 * x / z + 80, 100 * y / z + 45, z))
        matches = found[one.name]
        assert len(expected) > 50 and matches.points.tolist() == [row for row, *_ in expected]
        np.testing.assert_allclose(matches.uv, [(u, v) for _, u, v, _ in expected], atol=1e-9)
        np.testing.assert_allclose(matches.depth_m, [z for *_, z in expected])


def test_poses_for_all_cameras_or_for_none():
    mixed = replace(FRAME.cameras[0], stated_camera_from_lidar=None)
    with pytest.raises(DrivingDataError, match="tok: some cameras"):
        project_frame(
            replace(FRAME, cameras=(mixed, FRAME.cameras[1])), np.ones((1, 5), np.float32), SIZES
        )
    with pytest.raises(DrivingDataError, match=r"l\.bin: the pose"):
        project_frame(replace(FRAME, cameras=(mixed,)), np.ones((1, 5), np.float32), SIZES)
    pose = SensorPose((1.0, 0, 0, 0), (0.0, 0, 0))
    known = replace(FRAME, cameras=(mixed,), lidar=SensorTime("l.bin", 0, pose, pose))
    with pytest.raises(DrivingDataError, match=r"left/a\.jpg: the pose"):
        project_frame(known, np.ones((1, 5), np.float32), SIZES)


def test_points_behind_a_wall_are_hidden_and_ground_is_not():
    """A lidar 1.5 m above the camera looks over a low wall at 10 m onto ground behind it."""
    beams, sides = np.deg2rad(np.arange(-30.0, 1.0, 1.33)), np.deg2rad(np.arange(-30, 30, 0.33))
    elevation, azimuth = (a.ravel() for a in np.meshgrid(beams, sides))
    direction = np.stack(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.cos(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    height, wall_m, wall_top = 3.0, 10.0, 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(direction[2] < 0, height / -direction[2], np.inf)
        reach = wall_m / direction[1]
    top = height + reach * direction[2]
    is_wall = (top < wall_top) & (reach < ground)
    reach = np.minimum(np.where(is_wall, reach, ground), 60.0)
    xyz = (direction * reach).T
    rows = np.concatenate([xyz, np.zeros((len(xyz), 2))], axis=1).astype(np.float32)
    # The camera 1.5 m below the lidar, looking along y: the wall hides ground up to the horizon.
    seen = np.array([[1.0, 0, 0, 0], [0, 0, -1, -1.5], [0, 1, 0, 0]])
    front = replace(FRAME.cameras[0], stated_camera_from_lidar=tuple(seen.ravel()))
    intrinsic = (1266.0, 0.0, 800.0, 0.0, 1266.0, 450.0, 0.0, 0.0, 1.0)
    frame = replace(FRAME, cameras=(replace(front, intrinsic=intrinsic),))
    matches = project_frame(frame, rows, {"left": (900, 1600)})["left"]
    behind = matches.depth_m > wall_m + 0.5
    kept = ZBuffer().visible(matches, frame.cameras[0].matrix, (900, 1600))
    assert behind.sum() > 100 and kept[behind].mean() < 0.12
    assert kept[~behind].mean() > 0.99
    open_ground = matches[~behind]
    alone = ZBuffer().visible(open_ground, frame.cameras[0].matrix, (900, 1600))
    assert alone.mean() > 0.999


def test_files_are_read_as_they_were_written(tmp_path):
    points = np.random.default_rng(1).normal(0, 15, (500, 5)).astype(np.float32)
    one = FRAME.cameras[0]
    matches = project_frame(FRAME, points, SIZES)["left"]
    features = np.random.default_rng(2).random((len(matches.points), 4), dtype=np.float32)
    files = projection_files(one, matches) | feature_file(one, features)
    assert sorted(files) == ["left/a.pth.npy", "left/a__pixels.npy", "left/a__points.npy"]
    (tmp_path / "left").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    stored = read_projection(tmp_path, one, num_points=500, size_hw=SIZE, token="tok")
    assert np.array_equal(stored.points, matches.points)
    assert np.array_equal(stored.pixels, matches.pixels) and stored.pixels.dtype == np.int64
    count = len(matches.points)
    assert np.array_equal(read_features(tmp_path, one, count, "tok"), features)
    with pytest.raises(DrivingDataError, match=r"rows .* the sweep has 3"):
        read_projection(tmp_path, one, num_points=3, size_hw=SIZE, token="tok")
    with pytest.raises(DrivingDataError, match="tok: pixels outside"):
        read_projection(tmp_path, one, num_points=500, size_hw=(2, 2), token="tok")
    with pytest.raises(DrivingDataError, match="one row per match"):
        read_features(tmp_path, one, count + 1, "tok")
    torch.save(torch.from_numpy(features) + 1, tmp_path / "left" / "a_fts.pth")
    assert np.array_equal(read_features(tmp_path, one, count, "tok"), features)
    (tmp_path / "left" / "a.pth.npy").unlink()
    assert np.array_equal(read_features(tmp_path, one, count, "tok"), features + 1)
    (tmp_path / "left" / "a_fts.pth").write_bytes(b"no tensor")
    with pytest.raises(DrivingDataError, match="neither a NumPy array nor a tensor"):
        read_features(tmp_path, one, count, "tok")
    (tmp_path / "left" / "a_fts.pth").unlink()
    with pytest.raises(DrivingDataError, match="has no features"):
        read_features(tmp_path, one, count, "tok")
    np.save(tmp_path / "left" / "a__points.npy", matches.points[:-1])
    with pytest.raises(DrivingDataError, match="tok has shape"):
        read_projection(tmp_path, one, num_points=500, size_hw=SIZE, token="tok")


def test_bad_sweeps_and_labels(tmp_path):
    points = np.ones((7, 5), np.float32)
    path = tmp_path / "l.bin"
    points[2, 3] = np.nan  # an intensity may be anything
    path.write_bytes(points.tobytes())
    assert len(read_sweep(path)) == 7
    points[4, 1], points[6, 2] = np.inf, np.nan
    path.write_bytes(points.tobytes())
    with pytest.raises(DrivingDataError, match=r"frame tok: 2 of 7 points .*row 4"):
        read_sweep(path, "tok")
    path.write_bytes(points.tobytes()[:-3])
    with pytest.raises(DrivingDataError, match=r"l\.bin of key frame tok: 137 bytes"):
        read_sweep(path, "tok")
    with pytest.raises(DrivingDataError, match="cannot be read"):
        read_sweep(tmp_path / "none.bin", "tok")
    path.write_bytes(bytes([0, 31, 24]))
    assert read_lidarseg(path, 3).tolist() == [0, 31, 24]
    with pytest.raises(DrivingDataError, match="labels of 3 points, the sweep has 4"):
        read_lidarseg(path, 4)
    path.write_bytes(bytes([0, 32]))
    with pytest.raises(DrivingDataError, match="id 32"):
        read_lidarseg(path, 2)


@pytest.mark.parametrize(("below", "above"), [(0, 0), (3, 1), (2, 1), (13, 7), (1, 4), (20, 0)])
def test_how_far_a_near_point_hides(below, above):
    """One near point, and one far point in every cell around it."""
    step = np.deg2rad(0.15) * 1000.0
    offsets = np.arange(-25, 26)
    far = np.array([(400.0 + x * step, 400.0 + y * step) for y in offsets for x in offsets])
    near = np.array([[400.0, 400.0]])
    uv = np.concatenate([near, far]) // step * step + 0.5 * step  # the middles of cells
    depth = np.array([5.0, *[50.0] * len(far)], dtype=np.float32)
    matches = Matches(np.arange(len(uv)), uv, depth)
    z_buffer = ZBuffer(beside_deg=0.3, below_deg=0.15 * below, above_deg=0.15 * above)
    kept = z_buffer.visible(matches, np.diag([1000.0, 1000.0, 1.0]), (800, 800))
    hidden = ~kept[1:].reshape(51, 51)
    expected = np.zeros((51, 51), dtype=bool)
    expected[25 - above : 25 + below + 1, 23:28] = True
    assert kept[0] and np.array_equal(hidden, expected)
