"""What a small POP-3D learns of generated drives, on streets that it has never seen.

    eagleray prepare experiments/pop3d/toyworld_data.yaml
    python experiments/pop3d/toyworld_results.py [oracle toy_clip shuffled ...]

Trains and evaluates ``toyworld.yaml`` with oracle features, features of the toy CLIP (``MaskClip``
over ``read_clip("toy")``), oracle features of other classes, and the toy CLIP's in two smaller
codecs; runs that are there are read, not trained again. Beside them stands the mean occupancy of
the training streets. Named variants only are trained; once there are an oracle's and a toy CLIP's
``results/toyworld.json`` is written, which names those that are missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from eagleray.api import Experiment
from eagleray.experiment.load import make_experiment, read_values
from eagleray_pop3d.occupancy_iou import count_labels, occupancy_iou
from eagleray_pop3d.settings import Pop3dSettings
from eagleray_pop3d.stored_features import features_of_row
from eagleray_pop3d.voxels import FREE_LABEL, evaluation_labels, observed_labels
from eagleray_vision.codecs import codec_of_json
from eagleray_vision.driving.key_frame import key_frame_of_row
from eagleray_vision.driving.lidar import read_lidarseg, read_sweep
from eagleray_vision.driving.lidarseg import evaluated_classes
from eagleray_vision.driving.nuscenes_tables import read_table_frames
from eagleray_vision.driving.original_files import feature_file

HERE = Path(__file__).parent
ORACLE = "data/toyworld/pop3d/oracle"
TOY_CLIP = {"extractor": "maskclip", "weights": "toy", "long_px": 400, "short_px": 225}
STORED = {"extractor": "files", "folder": "data/toyworld/pop3d/toy_clip"}
VARIANTS: dict[str, dict[str, Any]] = {
    "oracle": {"extractor": "files", "folder": ORACLE, "codec": "fp16"},
    "toy_clip": {**TOY_CLIP, "codec": "fp16"},
    "shuffled": {"extractor": "files", "folder": f"{ORACLE}_shuffled", "codec": "fp16"},
    "uint8": {**STORED, "codec": "uint8"},
    "pq64": {**STORED, "codec": "pq64"},
}
CODECS = ("uint8", "pq64")
"""Variants that are compared with the toy CLIP's features in fp16."""
OCCUPANCY = (
    *("miou_points", "miou_points_visible", "geometric_iou"),
    *("miou_present", "miou_16", "miou_17"),
)


def experiment_of(variant: str, *, inline: bool = False) -> Experiment:
    """Return the experiment of a variant; inline one process does the work of both."""
    values = read_values(HERE / "toyworld.yaml")
    values["run"] = variant
    values["settings"]["features"] = VARIANTS[variant]
    # Only the toy CLIP knows colors, and so the queries; the oracle's words are classes.
    asked = VARIANTS[variant]["extractor"] == "maskclip"
    values["settings"]["truth"]["targets"] = asked
    benchmarks = ["occupancy", *(["retrieval_val", "retrieval_val_targets"] if asked else [])]
    values["evaluate"]["benchmarks"] = benchmarks
    if inline:
        values["train"].update(strategy="single", num_workers=1)
    return Experiment(make_experiment(values), inline=inline)


def result_of(variant: str, work: Path, *, inline: bool = False) -> dict[str, Any]:
    """Train and evaluate a variant, or read what was found before."""
    part = work / f"{variant}.json"
    if part.is_file():
        stored: dict[str, Any] = json.loads(part.read_text())
        return stored
    if variant in ("oracle", "shuffled"):
        write_oracle(is_shuffled=variant == "shuffled")
    if variant in CODECS and not Path(STORED["folder"]).is_dir():
        write_toy_clip()
    experiment = experiment_of(variant, inline=inline)
    with experiment.session():
        experiment.prepare()
        begin, busy = time.perf_counter(), time.process_time()
        if not experiment.train().finished:
            raise InterruptedError("training was stopped; the same command goes on from there")
        trained, processor = time.perf_counter() - begin, time.process_time() - busy
        results = {one.benchmark: one for one in experiment.evaluate()}
    occupancy = results["occupancy"]
    found: dict[str, Any] = {
        "features": VARIANTS[variant],
        "steps": experiment.settings.train.phases[0].steps,
        "workers": experiment.settings.train.num_workers,
        "train_s": round(trained, 1),
        # Of this process: all of the training where one process does it, nothing where workers do.
        "train_processor_s": round(processor, 1) if inline else None,
        "key_frames": occupancy.units,
        "occupancy": {name: _rounded(occupancy.values[name]) for name in OCCUPANCY},
        "iou_points": {
            name: _rounded(one["iou_points"])
            for name, one in occupancy.per_class.items()
            if one.get("iou_points") is not None
        },
    }
    for name in ("retrieval_val", "retrieval_val_targets"):
        if name in results:
            found[name] = {
                "queries": results[name].units,
                **{key: _rounded(value) for key, value in results[name].values.items()},
            }
    work.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(found, indent=1))
    return found


def write_oracle(*, is_shuffled: bool) -> None:
    """Write the oracle's features where they are not there."""
    if not Path(f"{ORACLE}_shuffled" if is_shuffled else ORACLE).is_dir():
        command = [str(HERE / "oracle_features.py"), str(HERE / "toyworld.yaml")]
        subprocess.run(
            [sys.executable, *command, *(["--shuffled"] if is_shuffled else [])], check=True
        )


def write_toy_clip() -> None:
    """Write the features of the variant ``toy_clip`` as files, so that each codec is given the same
    ones and none computes them again.
    """
    rows = experiment_of("toy_clip").prepare().rows
    features = rows["features:train"]
    codec = codec_of_json(features.fitted()["codec"])
    for token in features.keys():  # noqa: SIM118 (Rows is no mapping)
        stored, frame = (
            features_of_row(features[token]),
            key_frame_of_row(rows["key_frames:train"][token]),
        )
        vectors = codec.decode(stored.codes).numpy()
        for place, camera in enumerate(frame.cameras):
            for file, content in feature_file(camera, vectors[stored.cameras == place]).items():
                path = Path(STORED["folder"]) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def mean_occupancy_iou(settings: Pop3dSettings) -> dict[str, float]:
    """Return the geometric IoU, in percent, of what the training streets have on average: the
    voxels that are occupied in more than a share of the key frames that observe them, by the share
    that is best on the training streets themselves.
    """
    grid, data = settings.network.grid, settings.data
    occupied, observed = np.zeros(grid.size_xyz), np.zeros(grid.size_xyz)
    for frame in read_table_frames(data.folder, data.version, split=data.train.split):
        points = read_sweep(data.folder / frame.lidar.path, frame.token)[:, :3]
        labels = observed_labels([(points, np.zeros(3))], grid)
        occupied += labels == 1
        observed += labels <= 1
    share = occupied / np.maximum(observed, 1)
    thresholds = np.linspace(0.02, 0.9, 45)
    ious = []
    for threshold in thresholds:
        said = share >= threshold
        either = occupied.sum() + (observed - occupied)[said].sum()
        ious.append(occupied[said].sum() / either)
    best = float(thresholds[int(np.argmax(ious))])
    said = np.where(share >= best, 1, FREE_LABEL).astype(np.uint8)
    counts = []
    for frame in read_table_frames(data.folder, data.version, split=data.val.split):
        points = read_sweep(data.folder / frame.lidar.path, frame.token)[:, :3]
        raw = read_lidarseg(data.folder / frame.lidarseg_path, len(points), frame.token)
        counts.append(count_labels(evaluation_labels(points, evaluated_classes(raw), grid), said))
    return {
        "share": round(best, 2),
        "geometric_iou": _rounded(100 * occupancy_iou(counts).geometric),
    }


def judged(found: dict[str, Any], mean_iou: float) -> dict[str, Any]:
    """Return the questions that the numbers answer, each with its bound; those of variants that
    were not run are left out.
    """
    points = {name: one["occupancy"]["miou_points"] for name, one in found.items()}
    clip, targets = found["toy_clip"]["retrieval_val"], found["toy_clip"]["retrieval_val_targets"]
    answers = {
        "oracle, mIoU of points": (points["oracle"], 25.0),
        "toy CLIP, part of the oracle": (points["toy_clip"] / points["oracle"], 0.6),
        "oracle, geometric IoU over the mean's": (
            found["oracle"]["occupancy"]["geometric_iou"] / mean_iou,
            1.2,
        ),
        "retrieval visible over its base rate": (
            clip["map_visible"] / clip["base_rate_visible"],
            3.0,
        ),
        "retrieval visible over the target features'": (
            clip["map_visible"] / targets["map_visible"],
            0.7,
        ),
    }
    for codec in CODECS:
        if codec in points:
            name = f"{codec} against fp16, mIoU of points"
            answers[name] = (points[codec] - points["toy_clip"], -2.0)
    return {
        name: {"value": round(value, 3), "at_least": bound, "holds": bool(value >= bound)}
        for name, (value, bound) in answers.items()
    }


def _rounded(value: float | None) -> float:
    return float("nan") if value is None else round(value, 2)


def main() -> None:
    """Train what is named, and write the record once everything is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", choices=[*VARIANTS, []], help="by default all")
    parser.add_argument("--work", type=Path, default=Path("storage/pop3d_toyworld"))
    parser.add_argument("--inline", action="store_true", help="one process, without Ray")
    arguments = parser.parse_args()
    for variant in arguments.variants or VARIANTS:
        found = result_of(variant, arguments.work, inline=arguments.inline)
        print(
            variant, json.dumps(found["occupancy"]), f"trained in {found['train_s']} s", flush=True
        )
    there = [variant for variant in VARIANTS if (arguments.work / f"{variant}.json").is_file()]
    if not {"oracle", "toy_clip"} <= set(there):
        return
    every = {variant: result_of(variant, arguments.work) for variant in there}
    settings = experiment_of("oracle").settings.settings
    mean = mean_occupancy_iou(settings)
    record = {
        "what": "POP-3D in small on generated drives; 40 key frames of 10 streets never seen, "
        "percent; CPU; the toy CLIP and the oracle are stand-ins",
        "variants": every,
        "not_run": [variant for variant in VARIANTS if variant not in every],
        "mean_occupancy_of_training_streets": mean,
        "judged": judged(every, mean["geometric_iou"]),
    }
    target = HERE / "results" / "toyworld.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["judged"], indent=1))


if __name__ == "__main__":
    main()
