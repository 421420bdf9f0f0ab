"""Made-up tables of nuScenes v1.0 with the fields that the real ones have, and no sensor files."""

import json
import math
from pathlib import Path

from eagleray_vision.driving.nuscenes import CAMERAS, LIDAR

SCENES = ("scene-0061", "scene-0103")
NUM_SAMPLES = 3
CHANNELS = (LIDAR, *CAMERAS, "RADAR_FRONT")


def turn(angle: float) -> list[float]:
    return [math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)]


def small_tables() -> dict[str, list[dict]]:
    """Two scenes of three samples; the lidar has two sweeps between key frames."""
    tables: dict[str, list[dict]] = {
        name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "sensor", "lidarseg")
    }
    tables["calibrated_sensor"] = []
    for k, channel in enumerate(CHANNELS):
        is_camera = channel.startswith("CAM")
        tables["sensor"].append({"token": f"s{k}", "channel": channel, "modality": "x"})
        tables["calibrated_sensor"].append(
            {
                "token": f"c{k}",
                "sensor_token": f"s{k}",
                "translation": [0.1 * k, 0.2, 1.5],
                "rotation": turn(0.3 * k),
                "camera_intrinsic": [[1200.0, 0, 800.0], [0, 1200.0, 450.0], [0, 0, 1.0]]
                if is_camera
                else [],
            }
        )
    for scene in SCENES:
        _add_scene(tables, scene)
    return tables


def _add_scene(tables: dict[str, list[dict]], scene: str) -> None:
    names = [f"{scene}/sample{k}" for k in range(NUM_SAMPLES)]
    tables["scene"].append(
        {
            "token": f"{scene}/t",
            "name": scene,
            "description": 'Said "}, {" and left \\',
            "first_sample_token": names[0],
            "last_sample_token": names[-1],
            "nbr_samples": NUM_SAMPLES,
        }
    )
    before = ""
    for k, name in enumerate(names):
        tables["sample"].append(
            {
                "token": name,
                "timestamp": 1_000_000 + 500_000 * k,
                "scene_token": f"{scene}/t",
                "prev": names[k - 1] if k else "",
                "next": names[k + 1] if k + 1 < NUM_SAMPLES else "",
            }
        )
        for number, channel in enumerate(CHANNELS):
            token = f"{name}/{channel}"
            _add_file(tables, token, name, number, 1_000_000 + 500_000 * k + number, key=True)
            if channel == LIDAR:
                tables["sample_data"][-1]["prev"] = before
                before = token
                tables["lidarseg"].append(
                    {"token": token, "sample_data_token": token, "filename": f"lidarseg/{token}"}
                )
        for sweep in range(2):
            token = f"{name}/sweep{sweep}"
            time = 1_000_000 + 500_000 * k + 100_000 * (sweep + 1)
            if k + 1 < NUM_SAMPLES:
                _add_file(tables, token, names[k + 1], 0, time, key=False)
                tables["sample_data"][-1]["prev"] = before
                before = token


def _add_file(tables: dict, token: str, sample: str, number: int, time: int, *, key: bool) -> None:
    channel, is_camera = CHANNELS[number], CHANNELS[number].startswith("CAM")
    folder = "samples" if key else "sweeps"
    tables["sample_data"].append(
        {
            "token": token,
            "sample_token": sample,
            "ego_pose_token": f"{token}/pose",
            "calibrated_sensor_token": f"c{number}",
            "filename": f"{folder}/{channel}/{token}",
            "fileformat": "jpg" if is_camera else "pcd",
            "width": 1600 if is_camera else 0,
            "height": 900 if is_camera else 0,
            "timestamp": time,
            "is_key_frame": key,
            "next": "",
            "prev": "",
        }
    )
    angle = 1e-7 * time
    tables["ego_pose"].append(
        {
            "token": f"{token}/pose",
            "timestamp": time,
            "rotation": turn(angle),
            "translation": [400.0 + 1e-5 * time, 1180.0, 0.0],
        }
    )


def write_tables(root: Path, tables: dict[str, list[dict]], version: str = "v1.0-mini") -> Path:
    folder = root / version
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))
    return root
