"""Key frames out of tables of the size of nuScenes trainval: ours against the devkit.

    OMP_NUM_THREADS=1 python experiments/benchmarks/nuscenes_tables.py [--samples 34149]

Generated tables, 2.6 million rows each of ``sample_data`` and ``ego_pose`` at full size, in the
layout of the published files. Each reader is a process of its own; measured are its CPU seconds and
its largest resident memory, with the imports, beside those of the imports alone. Ours also joins
key frames with ten sweeps and all poses, which the devkit leaves to later.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from record import write_record

from eagleray_vision.driving.nuscenes import CAMERAS, LIDAR

VERSION = "v1.0-trainval"
CHANNELS = (LIDAR, *CAMERAS, *(f"RADAR_{k}" for k in range(5)))
SAMPLES, SAMPLES_PER_SCENE, FILES_PER_SAMPLE = 34_149, 40, 77
"""Key frames of trainval; 77 files per key frame make 2.63 million."""
QUATERNION = [0.5720320396729045, -0.0016977771610471074, 0.011798001930183783, -0.8201446642457809]


def token(kind: int, number: int) -> str:
    """Return 32 hexadecimal digits, as the real tokens have."""
    return f"{kind:02x}{(number * 0x9E3779B97F4A7C15) % (1 << 120):030x}"


def sensor_files(samples: int) -> Iterator[tuple[int, int, int, str]]:
    """Yield (number, sample, channel, previous file of the channel) of every file."""
    before = [""] * len(CHANNELS)
    number = 0
    for sample in range(samples):
        if sample % SAMPLES_PER_SCENE == 0:
            before = [""] * len(CHANNELS)
        for k in range(FILES_PER_SAMPLE):
            channel = k % len(CHANNELS)
            yield number, sample, channel, before[channel]
            before[channel] = token(4, number)
            number += 1


def rows_of(table: str, samples: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one of the two huge tables."""
    for number, sample, channel, before in sensor_files(samples):
        time_us = 1_532_402_927_612_460 + 6_500 * number
        if table == "ego_pose":
            yield {
                "token": token(5, number),
                "timestamp": time_us,
                "rotation": QUATERNION,
                "translation": [411.3039349319818 + 1e-6 * number, 1180.8903791765097, 0.0],
            }
            continue
        name, is_key = CHANNELS[channel], number % FILES_PER_SAMPLE < len(CHANNELS)
        stem = f"n015-2018-07-24-11-22-45+0800__{name}__{time_us}"
        is_camera = name.startswith("CAM")
        yield {
            "token": token(4, number),
            "sample_token": token(3, sample),
            "ego_pose_token": token(5, number),
            "calibrated_sensor_token": token(2, channel),
            "timestamp": time_us,
            "fileformat": "jpg" if is_camera else "pcd",
            "is_key_frame": is_key,
            "height": 900 if is_camera else 0,
            "width": 1600 if is_camera else 0,
            "filename": f"{'samples' if is_key else 'sweeps'}/{name}/{stem}.jpg",
            "prev": before,
            "next": "",
        }


def small_tables(samples: int) -> dict[str, list[dict[str, Any]]]:
    """Return all other tables."""
    scenes = -(-samples // SAMPLES_PER_SCENE)
    tables: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in ("category", "attribute", "visibility", "instance", "sample_annotation")
    }
    tables["log"] = [{"token": "log"}]
    tables["map"] = [{"token": "map", "log_tokens": ["log"], "filename": "maps/mask.png"}]
    tables["sensor"] = [
        {"token": token(1, k), "channel": name, "modality": "x"} for k, name in enumerate(CHANNELS)
    ]
    tables["calibrated_sensor"] = [
        {
            "token": token(2, k),
            "sensor_token": token(1, k),
            "translation": [1.7, 0.0159, 1.51],
            "rotation": QUATERNION,
            "camera_intrinsic": np.eye(3).tolist() if name.startswith("CAM") else [],
        }
        for k, name in enumerate(CHANNELS)
    ]
    tables["scene"] = [
        {
            "token": token(6, k),
            "name": f"scene-{k + 1:04d}",
            "log_token": "log",
            "first_sample_token": token(3, k * SAMPLES_PER_SCENE),
        }
        for k in range(scenes)
    ]
    tables["sample"] = [
        {
            "token": token(3, k),
            "timestamp": 1_532_402_927_612_460 + 500_500 * k,
            "scene_token": token(6, k // SAMPLES_PER_SCENE),
            "prev": "",
            "next": "" if (k + 1) % SAMPLES_PER_SCENE == 0 or k + 1 == samples else token(3, k + 1),
        }
        for k in range(samples)
    ]
    return tables


def write(root: Path, samples: int) -> None:
    """Write the tables as the published ones are written, a field per line."""
    folder = root / VERSION
    folder.mkdir()
    (root / "maps").mkdir()
    Image.new("L", (8, 8)).save(root / "maps" / "mask.png")
    for name, rows in small_tables(samples).items():
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))
    for name in ("sample_data", "ego_pose"):
        with (folder / f"{name}.json").open("w") as file:
            for k, row in enumerate(rows_of(name, samples)):
                file.write(("[\n" if k == 0 else ",\n") + json.dumps(row, indent=0))
            file.write("\n]")


def read(who: str, root: Path) -> dict[str, Any]:
    """Read the tables in this process; return CPU seconds, memory and how many key frames."""
    if who == "ours":
        from eagleray_vision.driving.nuscenes_tables import read_table_frames
    else:
        from nuscenes.nuscenes import NuScenes
    imports_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin, frames = time.process_time(), 0
    if who == "ours":
        for frame in read_table_frames(root, VERSION, num_sweeps=10):
            frames += len(frame.cameras) == len(CAMERAS)
    else:
        frames = len(NuScenes(VERSION, str(root), verbose=False).sample)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.process_time() - begin
    return {"seconds": seconds, "peak_mb": peak_mb, "imports_mb": imports_mb, "frames": frames}


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--read", nargs=2)
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(read(arguments.read[0], Path(arguments.read[1]))))
        return
    results: dict[str, Any] = {"samples": arguments.samples}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write(root, arguments.samples)
        results["rows"] = arguments.samples * FILES_PER_SAMPLE
        files = (root / VERSION).iterdir()
        results["tables_gb"] = sum(f.stat().st_size for f in files) / 1e9
        for who in ("ours", "devkit"):
            command = [sys.executable, __file__, "--read", who, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured = json.loads(done.stdout.splitlines()[-1])
            results |= {f"{who}_{key}": value for key, value in measured.items()}
    results["memory_ratio"] = results["ours_peak_mb"] / results["devkit_peak_mb"]
    results["time_ratio"] = results["ours_seconds"] / results["devkit_seconds"]
    print(results)
    write_record("nuscenes_tables", results, packages=["nuscenes-devkit", "msgspec"])


if __name__ == "__main__":
    main()
