"""Lidar points of a key frame onto six photographs: ours against nuscenes-devkit's
``map_pointcloud_to_image`` in a loop over the cameras, one core.

    OMP_NUM_THREADS=1 python experiments/benchmarks/pop3d_projection.py

With EAGLERAY_DATA set, the real key frame of ``nuscenes_frame``, else one of the toy world. Both
read the sweep from its file. The devkit keeps points farther than one pixel from the border,
POP-3D those inside of it; what both keep must have equal coordinates.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from nuscenes.nuscenes import NuScenesExplorer
from PIL import Image
from record import write_record

from eagleray_toyworld.rendering.lidar import sweep as lidar_sweep
from eagleray_toyworld.worlds.street import street_scene
from eagleray_vision.driving.frame_json import read_frame_json
from eagleray_vision.driving.key_frame import CameraTime, KeyFrame, SensorTime
from eagleray_vision.driving.lidar import read_sweep
from eagleray_vision.driving.nuscenes import CAMERAS
from eagleray_vision.driving.pose import SensorPose, pose_of_matrix
from eagleray_vision.driving.projection import Matches, project_frame
from eagleray_vision.driving.visibility import ZBuffer

SIZE_HW = (900, 1600)
REPEATS = 60
YAWS_DEG = (0.0, -55.0, 55.0, 180.0, 110.0, -110.0)


def turn(roll_deg: float, yaw_deg: float) -> tuple[float, float, float, float]:
    """Return the quaternion of a turn about x, then about z."""
    a, b = math.radians(roll_deg) / 2, math.radians(yaw_deg) / 2
    x, z = (math.cos(a), math.sin(a)), (math.cos(b), math.sin(b))
    return (z[0] * x[0], z[0] * x[1], z[1] * x[1], z[1] * x[0])


def key_frame(folder: Path) -> KeyFrame:
    """Write a sweep of the toy world, return a key frame of a rig like that of nuScenes."""
    sweep = lidar_sweep(street_scene(0, 0))
    x, y, z = sweep.points_m.T  # the toy world's lidar looks along x, that of nuScenes along y
    points = np.stack([-y, x, z, sweep.intensity, sweep.ring], axis=1).astype(np.float32)
    (folder / "lidar.pcd.bin").write_bytes(points.tobytes())
    cameras = []
    for k, (name, yaw) in enumerate(zip(CAMERAS, YAWS_DEG, strict=True)):
        Image.new("RGB", SIZE_HW[::-1]).save(folder / f"{name}.jpg")
        focal = 809.0 if name == "CAM_BACK" else 1266.0
        pose = SensorPose(turn(-90.0, yaw - 90.0), (1.5, 0.1 * k, 1.5))
        vehicle = SensorPose(turn(0.0, 110.0 + 0.02 * k), (411.3 + 0.05 * k, 1180.9, 0.0))
        intrinsic = (focal, 0.0, 816.0, 0.0, focal, 491.0, 0.0, 0.0, 1.0)
        cameras.append(CameraTime(f"{name}.jpg", 0, pose, vehicle, name=name, intrinsic=intrinsic))
    lidar = SensorTime(
        "lidar.pcd.bin",
        0,
        SensorPose(turn(0.0, -90.0), (0.94, 0.0, 1.84)),
        SensorPose(turn(0.0, 110.0), (411.25, 1180.9, 0.0)),
    )
    return KeyFrame(
        token="t", scene="", split="", timestamp_us=0, lidar=lidar, cameras=tuple(cameras)
    )


def real_key_frame(folder: Path, data: Path) -> KeyFrame:
    """Return the real key frame, with the poses that its matrices amount to."""
    stated = read_frame_json(data / "frame.json")
    (folder / stated.lidar.path).write_bytes((data / stated.lidar.path).read_bytes())
    cameras = []
    for one in stated.cameras:
        calibration, _ = (
            one.ego_from_sensor,
            Image.new("RGB", SIZE_HW[::-1]).save(folder / one.path),
        )
        lidar_from_camera = np.linalg.inv(stated.camera_from_lidar(one))
        world = (
            stated.lidar.world_from_sensor @ lidar_from_camera @ np.linalg.inv(calibration.matrix)
        )
        vehicle = pose_of_matrix(world, one.name)
        cameras.append(replace(one, world_from_ego=vehicle, stated_camera_from_lidar=None))
    return replace(stated, cameras=tuple(cameras))


def devkit(frame: KeyFrame, folder: Path) -> NuScenesExplorer:
    """Return the devkit's explorer over the rows of this one key frame."""
    tables: dict[tuple[str, str], dict[str, Any]] = {}
    for name, one in (("lidar", frame.lidar), *((c.name, c) for c in frame.cameras)):
        calibration, vehicle = one.poses
        tables["sample_data", name] = {
            "filename": one.path,
            "sensor_modality": "lidar" if name == "lidar" else "camera",
            "calibrated_sensor_token": name,
            "ego_pose_token": name,
        }
        tables["calibrated_sensor", name] = {
            "rotation": calibration.rotation_wxyz,
            "translation": calibration.translation_m,
            "camera_intrinsic": one.matrix.tolist() if isinstance(one, CameraTime) else [],
        }
        tables["ego_pose", name] = {
            "rotation": vehicle.rotation_wxyz,
            "translation": vehicle.translation_m,
        }
    nusc = SimpleNamespace(
        dataroot=str(folder), get=lambda table, token: tables[table, token], colormap={}
    )
    return NuScenesExplorer(nusc)


def equal(ours: Any, theirs: np.ndarray) -> bool:
    """Return whether the points that the devkit keeps have the same coordinates in ours."""
    u, v = ours.uv.T
    height, width = SIZE_HW
    kept = (u > 1) & (v > 1) & (u < width - 1) & (v < height - 1)
    return np.array_equal(ours.uv[kept].T, theirs[:2])


def fastest(run: Callable[[], Any]) -> float:
    """Return the CPU seconds of the fastest of many runs."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


def main() -> None:
    """Measure and record."""
    sizes = dict.fromkeys(CAMERAS, SIZE_HW)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = Path(os.environ.get("EAGLERAY_DATA", "none")) / "nuscenes_frame"
        frame = real_key_frame(folder, real) if real.is_dir() else key_frame(folder)
        explorer = devkit(frame, folder)
        times: dict[str, list[float]] = {"ours": [], "devkit": [], "z_buffer": []}
        ours: dict[str, Matches] = {}

        def project() -> None:
            ours.update(project_frame(frame, read_sweep(folder / frame.lidar.path), sizes))

        def look() -> dict[str, np.ndarray]:
            return {c: explorer.map_pointcloud_to_image("lidar", c)[0] for c in sizes}

        def hide() -> None:
            for camera in frame.cameras:
                ZBuffer().visible(ours[camera.name], camera.matrix, SIZE_HW)

        times = {
            name: fastest(run)
            for name, run in {"ours": project, "devkit": look, "z_buffer": hide}.items()
        }
        theirs, points = look(), read_sweep(folder / frame.lidar.path)
    if not all(equal(ours[c], theirs[c]) for c in CAMERAS):
        raise SystemExit("coordinates differ")
    results: dict[str, Any] = {f"{k}_ms": 1e3 * v for k, v in times.items()}
    results["ratio"] = results["devkit_ms"] / results["ours_ms"]
    results["points"] = len(points)
    results["matches"] = sum(len(one.points) for one in ours.values())
    results["coordinates"] = "equal"
    results["sweep"] = "real nuScenes key frame" if real.is_dir() else "toy world"
    print(results)
    write_record("pop3d_projection", results, packages=["nuscenes-devkit"])


if __name__ == "__main__":
    main()
