"""How long the device waits for decoding and writing while Seamless predicts a folder.

    python experiments/benchmarks/seamseg_predict.py [--photos 200] [--workers 2] [--shortest 256]

Photographs are synthetic textures of 1024 x 768 pixels, stored as JPEG of quality 90. Every worker
decodes and resizes them in threads before the device, and fuses, paints, encodes and writes in
threads behind it: an overlay (JPEG) and a COCO panoptic PNG per photograph, at its full size. The
network is the ResNet-50 one of the Cityscapes configuration with random weights, at a quarter of
the paper's resolution, so that a core needs about two seconds for a photograph; the smaller the
input, the harder the goal, since decoding and writing stay what they are. All detections are
pasted, since random weights are sure of none.

A worker's time runs from its first decoding to its last written file. What of it the device does
not spend on predicting is waiting: for the first photograph of a shard, for a writer, for the last
files, for the next shard. Goal: at most 10 %.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from prettytable import PrettyTable
from record import write_record

from eagleray import Experiment

SIZE_WH = (1024, 768)
JPEG_QUALITY = 90
LIMIT_WAITING = 0.10
FORMATS = ("overlay", "coco_panoptic")
_OCTAVES = (4, 16, 64, 256)


def write_photos(folder: Path, count: int) -> int:
    """Write textures of several octaves; returns their mean size in bytes."""
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        picture = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.float32)
        for cells in _OCTAVES:
            noise = rng.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8)
            large = Image.fromarray(noise).resize(SIZE_WH, Image.Resampling.BICUBIC)
            picture += np.asarray(large, np.float32) / len(_OCTAVES)
        image = Image.fromarray(picture.astype(np.uint8))
        image.save(folder / f"{number:04d}.jpg", quality=JPEG_QUALITY)
    return sum(path.stat().st_size for path in folder.iterdir()) // count


def predict(folder: Path, photos: Path, workers: int, shortest_px: int, batch_size: int) -> float:
    """Predict all photographs; returns the seconds of the whole command."""
    values = {
        "task": "seamseg",
        "storage": str(folder / "storage"),
        "device": "cpu",
        "evaluate": {"workers": workers, "batch_size": batch_size},
        "settings": {
            "preset": "cityscapes_r50",
            "faithful": False,
            "input": {"shortest_px": shortest_px},
            "network": {"body": {"num_frozen": 0}},
            "fusion": {"score_threshold": 0.0},
        },
    }
    experiment = Experiment.from_values(values)
    begin = time.perf_counter()
    summary = experiment.predict([photos], str(folder / "out"), FORMATS, "initial")
    if summary.rejected:
        raise SystemExit(f"rejected {summary.rejected[0]}")
    return time.perf_counter() - begin


def worker_times(log: Path) -> dict[str, float]:
    """Return what one worker spent its time on, in seconds."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    spans = {
        what: sorted((line["begin_s"], line["end_s"]) for line in lines if line["what"] == what)
        for what in ("load", "device", "export")
    }
    seconds = {f"{what}_s": sum(end - begin for begin, end in spans[what]) for what in spans}
    wall = max(line["end_s"] for line in lines) - min(line["begin_s"] for line in lines)
    pauses = [after[0] - before[1] for before, after in pairwise(spans["device"])]
    return {
        "photos": len(spans["export"]),
        "wall_s": wall,
        **seconds,
        "waiting_s": wall - seconds["device_s"],
        "waiting_between_batches_s": sum(pauses),
    }


def show(workers: list[dict[str, float]]) -> None:
    """Print a table with a row per worker."""
    table = PrettyTable(["worker", *workers[0], "waiting"], align="r")
    for number, worker in enumerate(workers):
        share = f"{worker['waiting_s'] / worker['wall_s']:.1%}"
        table.add_row([number, *(f"{value:.2f}" for value in worker.values()), share])
    print(table)


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=200, help="photographs")
    parser.add_argument("--workers", type=int, default=2, help="workers, one core each")
    parser.add_argument("--shortest", type=int, default=256, help="shorter side of the input, px")
    parser.add_argument("--batch", type=int, default=1, help="photographs per forward pass")
    parser.add_argument("--no-record", action="store_true", help="do not write results/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        mean_bytes = write_photos(folder / "photos", options.photos)
        seconds = predict(
            folder, folder / "photos", options.workers, options.shortest, options.batch
        )
        logs = sorted((folder / "out" / ".eagleray" / "log").iterdir())
        workers = [worker_times(log) for log in logs]
    show(workers)
    total: dict[str, Any] = {key: sum(worker[key] for worker in workers) for key in workers[0]}
    waiting = total["waiting_s"] / total["wall_s"]
    results = {
        "photos": options.photos,
        "photo_wh": SIZE_WH,
        "photo_bytes": mean_bytes,
        "network": f"cityscapes_r50, random weights, shorter side {options.shortest} px",
        "formats": FORMATS,
        "batch_size": options.batch,
        "workers": [{key: round(value, 3) for key, value in one.items()} for one in workers],
        "command_s": round(seconds, 1),
        "device_s_per_photo": round(total["device_s"] / options.photos, 4),
        "waiting_share": round(waiting, 4),
        "limit_waiting_share": LIMIT_WAITING,
    }
    verdict = "met" if waiting <= LIMIT_WAITING else "MISSED"
    print(f"waiting {waiting:.1%}, limit {LIMIT_WAITING:.0%}: {verdict}")
    if not options.no_record:
        print(write_record("seamseg_predict", results, packages=["pillow", "ray", "pyarrow"]))


if __name__ == "__main__":
    main()
