"""Drives in nuScenes' layout: labels under projected points, equal sources, the devkit as it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.storage import Store
from eagleray.task import SettingsError
from eagleray_pop3d.occ3d import read_occ3d
from eagleray_toyworld.drive_format import DriveFormat, drive_scene, scene_name
from eagleray_toyworld.formats.nuscenes import (
    SampleName,
    camera_at_time,
    raw_labels,
    sample_files,
)
from eagleray_toyworld.rendering.lidar import SpinningLidar
from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.task import ToyworldTask
from eagleray_toyworld.worlds.roadworks import with_roadworks
from eagleray_toyworld.worlds.street import street_scene
from eagleray_vision.driving.frame_json import read_frame_json
from eagleray_vision.driving.info_pickle import read_info_pickle
from eagleray_vision.driving.key_frame import key_frame_of_row
from eagleray_vision.driving.lidar import read_lidarseg, read_sweep
from eagleray_vision.driving.lidarseg import CLASS_NAMES, RAW_NAMES, evaluated_classes
from eagleray_vision.driving.nuscenes import CAMERAS
from eagleray_vision.driving.nuscenes_tables import read_table_frames
from eagleray_vision.driving.occ3d_grid import FREE, RANGE_MIN_M, SIZE_XYZ, VOXEL_M
from eagleray_vision.driving.projection import project_frame
from eagleray_vision.driving.visibility import ZBuffer

SMALL = {
    "format": "nuscenes",
    "scenes": 2,
    "val_every": 2,
    "frames_per_scene": 2,
    "height_px": 45,
    "width_px": 80,
    "lidar_firings": 180,
    "sweeps_per_frame": 1,
    "roadworks": True,
}
SIZE = (45, 80)


def generate(root: Path, **settings) -> WorldSettings:
    asked = WorldSettings(**SMALL | settings | {"folder": str(root / "data")})
    options = RunOptions(device="cpu", inline=True)
    prepared = prepare_stages(
        ToyworldTask(asked), Store(str(root / "storage")), PrepareSettings(), options
    )
    assert prepared.rejected == 0
    return asked


@pytest.fixture(scope="module")
def drives(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("drives")
    generate(root)
    return root / "data"


def comparable(frame) -> dict:
    return {k: np.asarray(v).tolist() for k, v in frame.to_row().items() if "from_lidar" not in k}


def test_tables_pickles_and_json_give_equal_rows(drives):
    for split in ("mini_train", "mini_val"):
        of_tables = list(read_table_frames(drives, "v1.0-mini", split=split, num_sweeps=1))
        assert len(of_tables) == 2 and [len(f.sweeps) for f in of_tables] == [0, 1]
        infos = drives / f"nuscenes_infos_{split}.pkl"
        pickled = read_info_pickle(infos, split=split, num_sweeps=1)
        of_json = [
            read_frame_json(drives / "frames" / split / f"{one.token}.json") for one in of_tables
        ]
        for one, other, third in zip(of_tables, pickled, of_json, strict=True):
            assert comparable(one) == comparable(other) == comparable(third)


def test_files_are_there_and_labels_are_official(drives):
    tables = drives / "v1.0-mini"
    data = json.loads((tables / "sample_data.json").read_text())
    assert len(data) == 4 * 7 + 2 and all((drives / row["filename"]).is_file() for row in data)
    assert len({row["timestamp"] for row in data[:7]}) >= 6  # sensors at their own times
    categories = json.loads((tables / "category.json").read_text())
    assert [row["name"] for row in categories] == list(RAW_NAMES)
    used = set()
    for frame in read_table_frames(drives, "v1.0-mini"):
        points = read_sweep(drives / frame.lidar.path)
        raw = read_lidarseg(drives / frame.lidarseg_path, len(points))
        used |= set(raw.tolist())
        ground = points[np.isin(raw, (24, 26, 27))]
        assert abs(np.median(ground[:, 2]) + 1.84) < 0.3  # z up, the sensor above the ground
        road = points[raw == 24]  # the street runs along the lidar's y
        assert road[:, 1].std() > 1.1 * road[:, 0].std()
    named = {RAW_NAMES[k] for k in used}
    assert {"vehicle.car", "movable_object.barrier", "movable_object.trafficcone"} <= named
    assert {"vehicle.trailer", "vehicle.construction", "flat.driveable_surface"} <= named
    boxes = json.loads((tables / "sample_annotation.json").read_text())
    assert {len(b["size"]) for b in boxes} == {3} and min(b["num_lidar_pts"] for b in boxes) >= 1


def test_boxes_hold_their_points(drives):
    tables = drives / "v1.0-mini"
    frames = {f.token: f for f in read_table_frames(drives, "v1.0-mini")}
    inside = total = 0
    for box in json.loads((tables / "sample_annotation.json").read_text()):
        frame = frames[box["sample_token"]]
        points = read_sweep(drives / frame.lidar.path)[:, :3]
        world = frame.lidar.world_from_sensor
        placed = points @ world[:3, :3].T + world[:3, 3]
        w, _, _, z = box["rotation"]
        yaw = 2 * np.arctan2(z, w)
        turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
        local = np.abs((placed[:, :2] - box["translation"][:2]) @ turn.T)
        near = (local <= np.array(box["size"])[[1, 0]] / 2 + 0.15).all(axis=1)
        inside += min(int(near.sum()), box["num_lidar_pts"])
        total += box["num_lidar_pts"]
    assert inside > 0.95 * total


def test_queries_are_about_what_the_sweep_meets(drives):
    root = drives / "retrieval_benchmark"
    lines = (root / "retrieval_anns_all.csv").read_text().splitlines()
    assert lines
    frames = {f.token: f for f in read_table_frames(drives, "v1.0-mini")}
    for line in lines:
        token, split, annotation, matching, text = line.split(";")
        wanted = np.load(root / annotation)
        points = read_sweep(drives / frames[token].lidar.path)
        assert wanted.shape == (len(points),) and set(np.unique(wanted)) == {0, 1}
        matches = project_frame(frames[token], points, dict.fromkeys(CAMERAS, SIZE))
        expected = np.concatenate([matches[c].points for c in CAMERAS])
        assert np.array_equal(np.load(root / matching), expected)
        assert len(text.split()) >= 2 and split in ("train", "val")


@pytest.mark.slow
def test_points_carry_the_class_of_their_pixel():
    settings = WorldSettings(**SMALL | {"height_px": 225, "width_px": 400, "lidar_firings": 1080})
    agree = {"all": [], "visible": []}
    for scene_idx in range(2):
        (job, *_) = [j for j in DriveFormat(settings).jobs("train") if j.scene_idx == scene_idx]
        record = DriveFormat(settings).record(job, "train")
        frame = key_frame_of_row(json.loads(record.row["frame"]))
        points = np.frombuffer(record.files[frame.lidar.path], "<f4").reshape(-1, 5)
        raw = np.frombuffer(record.files[frame.lidarseg_path], np.uint8)
        classes = evaluated_classes(raw)
        scene = drive_scene(settings, scene_idx)
        for name, found in project_frame(
            frame, points, dict.fromkeys(CAMERAS, settings.size_hw)
        ).items():
            camera, own_s = camera_at_time(scene, name, 0.0, settings.size_hw)
            seen = raw_labels(scene, render(scene, camera, time_s=own_s).object_id)
            under = evaluated_classes(seen)[tuple(found.pixels.T)]
            same = under == classes[found.points]
            (one,) = (c for c in frame.cameras if c.name == name)
            kept = ZBuffer().visible(found, one.matrix, settings.size_hw)
            agree["all"].append(same)
            agree["visible"].append(same[kept])
    shares = {name: float(np.concatenate(parts).mean()) for name, parts in agree.items()}
    print(shares)
    assert shares["all"] >= 0.95 and shares["visible"] >= 0.99


@pytest.mark.slow
def test_the_devkit_opens_renders_and_projects(drives, tmp_path):
    nuscenes = pytest.importorskip("nuscenes.nuscenes")
    import matplotlib

    matplotlib.use("Agg")
    devkit = nuscenes.NuScenes("v1.0-mini", str(drives), verbose=False)
    assert [s["name"] for s in devkit.scene] == ["scene-0061", "scene-0103"]
    sample = devkit.sample[1]
    frame = next(f for f in read_table_frames(drives, "v1.0-mini") if f.token == sample["token"])
    points = read_sweep(drives / frame.lidar.path)
    ours = project_frame(frame, points, dict.fromkeys(CAMERAS, SIZE))
    for camera in CAMERAS:
        theirs, _, _ = devkit.explorer.map_pointcloud_to_image(
            sample["data"]["LIDAR_TOP"], sample["data"][camera]
        )
        u, v = ours[camera].uv.T
        kept = (u > 1) & (v > 1) & (u < SIZE[1] - 1) & (v < SIZE[0] - 1)
        assert np.array_equal(ours[camera].uv[kept].T, theirs[:2])
    for channel in ("CAM_FRONT", "LIDAR_TOP"):
        path = tmp_path / f"{channel}.png"
        devkit.render_sample_data(sample["data"][channel], out_path=str(path), verbose=False)
        assert path.stat().st_size > 1000
    devkit.render_pointcloud_in_image(
        sample["token"], show_lidarseg=True, out_path=str(tmp_path / "seg.png"), verbose=False
    )
    assert (tmp_path / "seg.png").stat().st_size > 1000
    devkit.get_sample_lidarseg_stats(sample["token"])  # prints them, or fails


@pytest.fixture(scope="module")
def voxels(tmp_path_factory):
    """One key frame with Occ3D's truth: folder, key frame, truth, and all files."""
    root = tmp_path_factory.mktemp("voxels")
    scene = drive_scene(WorldSettings(**SMALL), 1)
    name = SampleName(
        version="v1.0-mini", scene="scene-0103", split="mini_val", seed=0, scene_idx=1,
        frame_idx=0, frame_step_s=0.5,
    )  # fmt: skip
    lidar = SpinningLidar(num_azimuths=180)
    files, frame, _ = sample_files(scene, name, size_hw=SIZE, lidar=lidar, occ3d=True)
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    path = root / "gts" / frame.scene / frame.token / "labels.npz"
    return root, frame, read_occ3d(path, frame.token), files


def cells_of(points_m):
    cells = np.floor((points_m - RANGE_MIN_M) / VOXEL_M).astype(int)
    inside = ((cells >= 0) & (cells < SIZE_XYZ)).all(1)
    return tuple(cells[inside].T), inside


def test_voxels_hold_what_the_sweep_meets(voxels):
    """The lidar's points are an independent witness: cast on the solids, not cut into voxels."""
    root, frame, truth, _ = voxels
    points = read_sweep(root / frame.lidar.path)
    ego_from_lidar = frame.lidar.poses[0].matrix
    rays = points[:, :3].astype(float) @ ego_from_lidar[:3, :3].T
    lengths = np.linalg.norm(rays, axis=1)[:, None]
    met, inside = cells_of(rays * (1 + 0.01 / lengths) + ego_from_lidar[:3, 3])
    raw = read_lidarseg(root / frame.lidarseg_path, len(points), frame.token)
    labels = truth.labels[met]
    assert len(labels) > 1000 and (labels != FREE).mean() > 0.99
    assert (labels == evaluated_classes(raw)[inside]).mean() > 0.9
    assert truth.seen_by_lidar[met].all()
    passed, _ = cells_of(0.5 * rays + ego_from_lidar[:3, 3])
    assert truth.seen_by_lidar[passed].mean() > 0.97  # the others were cut at a corner
    assert (truth.labels[passed] == FREE).mean() > 0.9


def test_masks_of_voxels_are_nested_and_leave_out_what_is_hidden(voxels):
    truth = voxels[2]
    assert not (truth.seen_by_cameras & ~truth.seen_by_lidar).any()
    assert 0.3 < truth.seen_by_cameras.sum() / truth.seen_by_lidar.sum() < 1
    assert (truth.labels[:, :, 0] != FREE).all(), "below the street"
    assert not truth.seen_by_lidar[:, :, 0].any()
    assert truth.labels[100, 100, 2] == CLASS_NAMES.index("driveable_surface")
    assert (truth.labels[98:103, 98:103, 8:] == FREE).all()


def test_only_what_asks_for_voxels_has_them(voxels, drives):
    """The same key frame was generated without them."""
    _, frame, _, files = voxels
    (path,) = (name for name in files if name.startswith("gts/"))
    assert path == f"gts/scene-0103/{frame.token}/labels.npz"
    assert not (drives / "gts").exists()
    for name, content in files.items():
        assert name == path or (drives / name).read_bytes() == content


def test_version_without_labels(tmp_path):
    generate(tmp_path, scenes=1, frames_per_scene=1, nuscenes_version="v1.0-test", lidar_firings=90)
    (frame,) = read_table_frames(tmp_path / "data", "v1.0-test")
    assert frame.lidarseg_path == "" and frame.split == "test" and frame.scene == "scene-0077"
    assert not (tmp_path / "data" / "lidarseg").exists()
    boxes = json.loads((tmp_path / "data" / "v1.0-test" / "sample_annotation.json").read_text())
    assert boxes == []
    assert not (tmp_path / "data" / "gts").exists()


def test_streets_without_roadworks_stay_as_they_are():
    scene = street_scene(0, 3)
    with_more = with_roadworks(scene)
    assert with_more.objects[: len(scene.objects)] == scene.objects
    assert len(with_more.objects) == len(scene.objects) + 9


def test_more_scenes_than_the_version_has():
    settings = WorldSettings(**SMALL | {"scenes": 9, "val_every": 0})
    assert scene_name(settings, 7) == ("scene-1100", "mini_train")
    with pytest.raises(SettingsError, match=r"v1\.0-mini has 8 scenes of mini_train"):
        list(DriveFormat(settings).jobs("train"))
