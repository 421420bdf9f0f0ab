"""Train on a real key frame with two workers, kill them once, go on, and ask for cars.

    EAGLERAY_DATA=... python experiments/pop3d/real_frame_training.py

Lays out ``real_frame.yaml``'s data from ``nuscenes_frame``: the key frame twice, so that each
worker has one; features of a STAND-IN (class probabilities of a Cityscapes network times CLIP's
text rows, ``stand_in.py``), since MaskCLIP+ cannot be had; queries whose truth are the points in
human boxes. The network has seen the key frame that it is asked of: this shows that the system
works on real photographs, nothing of how well POP-3D does. The data are nuScenes'
(non-commercial), so pictures of them stay outside of the repository; ``results/real_frame.json``
has numbers only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from stand_in import CityscapesInWords, class_texts

from eagleray.api import Experiment
from eagleray_vision.driving.frame_json import read_frame_json
from eagleray_vision.driving.lidar import read_sweep
from eagleray_vision.driving.original_files import feature_file
from eagleray_vision.driving.projection import project_frame
from eagleray_vision.images.reading import read_rgb

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from record import write_record

HERE = Path(__file__).parent
ROOT = Path("data/real_frame")
QUERIES = {"car": 4, "truck": 10, "person": 7}
"""Words and the number of their human boxes."""
COPIES = 2


def lay_out(data: Path) -> None:
    """Write the folder that the experiment reads."""
    source = data / "nuscenes_frame"
    (ROOT / "frames").mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.*"):
        target = ROOT / path.name
        if path.suffix in (".jpg", ".bin") and not target.exists():
            target.symlink_to(path.resolve())
    content = json.loads((source / "frame.json").read_text())
    for number in range(COPIES):
        stated = {**content, "sample_token": f"key_frame_{number}", "split": "train"}
        (ROOT / "frames" / f"key_frame_{number}.json").write_text(json.dumps(stated))
    names = json.loads((data / "small_models" / "cityscapes19_names.json").read_text())
    np.save(ROOT / "words.npy", class_texts(data).numpy())
    (ROOT / "words_names.json").write_text(json.dumps(names))
    boxes = np.fromfile(source / "lidar_label_from_boxes.uint8.bin", dtype=np.uint8)
    write_queries(boxes)
    write_features(data)


def write_queries(boxes: NDArray[np.uint8]) -> None:
    """Write queries in the form of the retrieval benchmark."""
    folder = ROOT / "retrieval_benchmark"
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    lines = []
    for text, number in QUERIES.items():
        name = f"annotations/{text}.npy"
        np.save(folder / name, (boxes == number).astype(np.uint8))
        lines.append(f"key_frame_0;val;{name};;{text}\n")
    (folder / "retrieval_anns_val.csv").write_text("".join(lines))


def write_features(data: Path) -> None:
    """Write the stand-in's features at all matches, a file per photograph."""
    frame = read_frame_json(ROOT / "frames" / "key_frame_0.json")
    points = read_sweep(ROOT / frame.lidar.path, frame.token)
    images = {one.name: read_rgb(ROOT / one.path) for one in frame.cameras}
    sizes = {name: (image.shape[0], image.shape[1]) for name, image in images.items()}
    matches, network = project_frame(frame, points, sizes), CityscapesInWords(data)
    for camera in frame.cameras:
        pixels = torch.from_numpy(matches[camera.name].pixels)
        prepared = network.prepare(images[camera.name])
        vectors = network.at_pixels(prepared, pixels, sizes[camera.name]).numpy()
        for file, content in feature_file(camera, vectors).items():
            path = ROOT / "stand_in_features" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def train_killed_once(experiment: Experiment, command: list[str]) -> int:
    """Train by the command line, kill the whole job behind its first checkpoint, and train on;
    return the step that it went on from.
    """
    job = subprocess.Popen(command, start_new_session=True)
    while job.poll() is None and not experiment.run_folder.folders("checkpoints"):
        time.sleep(1.0)
    if job.poll() is None:
        os.killpg(job.pid, 9)
        job.wait()
    reached = len(experiment.run_folder.folders("checkpoints"))
    subprocess.run(command, check=True)
    return reached


def main() -> None:
    """Lay out, train, ask, and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only-layout", action="store_true", help="write the data and end")
    parser.add_argument("--no-record", action="store_true", help="print only")
    arguments = parser.parse_args()
    lay_out(Path(os.environ["EAGLERAY_DATA"]))
    if arguments.only_layout:
        return
    path = HERE / "real_frame.yaml"
    experiment = Experiment.from_file(path)
    begin = time.perf_counter()
    experiment.prepare()
    command = [str(Path(sys.executable).parent / "eagleray"), "train", str(path)]
    killed_at = train_killed_once(experiment, command)
    trained = time.perf_counter() - begin
    ours, targets = experiment.evaluate()
    found = {
        text: {
            "ap_visible": round(ours.per_class[text]["ap_visible"] or 0.0, 2),
            "ap_visible_of_stand_in": round(targets.per_class[text]["ap_visible"] or 0.0, 2),
        }
        for text in QUERIES
    }
    results = {
        "features": "STAND-IN: Cityscapes classes in words; the key frame was trained on",
        "queries": found,
        "base_rate_visible": round(ours.values["base_rate_visible"] or 0.0, 3),
        "car_part_of_stand_in": round(
            found["car"]["ap_visible"] / found["car"]["ap_visible_of_stand_in"], 3
        ),
        "checkpoints_when_killed": killed_at,
        "seconds": round(trained, 1),
    }
    print(json.dumps(results, indent=1))
    if not arguments.no_record:
        print(write_record("real_frame", results, folder=HERE / "results"))


if __name__ == "__main__":
    main()
