"""Panoptic quality of street-sized maps straight from PNG, against decoding those PNGs and nothing
else.

    python experiments/benchmarks/panoptic_quality.py [--images 12] [--segments 33]

One thread, processor time. Beside it: the official evaluation as cityscapesscripts carries it, and
torchmetrics. All of them are checked to agree before anything is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cityscapesscripts.evaluation.evalPanopticSemanticLabeling import pq_compute_single_core
from PIL import Image
from prettytable import PrettyTable
from record import write_record
from torchmetrics.detection import PanopticQuality

from eagleray_vision.metrics.panoptic_quality import compute_panoptic_quality, panoptic_statistics
from eagleray_vision.panoptic.coco_panoptic import read_segments
from eagleray_vision.panoptic.label_image import read_rgb_ids, rgb_ids_png

SIZE_HW = (1024, 2048)
NUM_CLASSES = 19
NUM_STUFF = 11
SLOW_IMAGES = 2
"""Images given to torchmetrics, which takes seconds for each."""


def street(rng: np.random.Generator, num_segments: int) -> np.ndarray[Any, Any]:
    """Draw a map of ellipses over road and sky, with random 24-bit ids and some void."""
    rows, columns = np.ogrid[: SIZE_HW[0], : SIZE_HW[1]]
    ids = rng.choice(np.arange(1, 1 << 24), size=num_segments, replace=False)
    found = np.full(SIZE_HW, ids[0])
    found[SIZE_HW[0] * 3 // 5 :] = ids[1]
    found[-40:] = 0
    for one in ids[2:]:
        y, x = rng.integers(0, SIZE_HW[0] - 80), rng.integers(0, SIZE_HW[1])
        height, width = rng.integers(20, 260, size=2)
        inside = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1
        found[inside] = one
    return found


def make_pairs(folder: Path, num_images: int, num_segments: int) -> list[dict[str, Any]]:
    """Write truth and prediction PNGs; the prediction is the truth shifted, two segments
    relabeled.
    """
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(num_images):
        truth = street(rng, num_segments)
        predicted = np.roll(truth, 5, axis=1)
        pair: dict[str, Any] = {}
        classes: dict[int, int] = {}
        for side, ids in (("gt", truth), ("pred", predicted)):
            (folder / side).mkdir(exist_ok=True)
            path = folder / side / f"{number}.png"
            path.write_bytes(rgb_ids_png(ids))
            found, areas = np.unique(ids[ids > 0], return_counts=True)
            for one in found.tolist():
                classes.setdefault(one, int(rng.integers(0, NUM_CLASSES)))
            changed = dict.fromkeys(found[:2].tolist(), 0) if side == "pred" else {}
            pair[side] = path
            pair[f"{side}_segments"] = [
                {
                    "id": one,
                    "category_id": changed.get(one, classes[one]),
                    "area": area,
                    "iscrowd": 0,
                }
                for one, area in zip(found.tolist(), areas.tolist(), strict=True)
            ]
        pairs.append(pair)
    return pairs


def decode_only(pairs: list[dict[str, Any]]) -> None:
    """Decode every PNG with Pillow and look at nothing."""
    for pair in pairs:
        for side in ("gt", "pred"):
            with Image.open(pair[side]) as image:
                image.load()


def ours(pairs: list[dict[str, Any]]) -> tuple[np.ndarray[Any, Any], float | None]:
    """Evaluate from PNG with eagleray."""
    units = [
        panoptic_statistics(
            read_rgb_ids(pair["gt"]),
            read_segments(pair["gt_segments"]),
            read_rgb_ids(pair["pred"]),
            read_segments(pair["pred_segments"]),
            range(NUM_CLASSES),
        )
        for pair in pairs
    ]
    quality = compute_panoptic_quality(units, np.arange(NUM_CLASSES) >= NUM_STUFF)
    return quality.total.sum_iou, quality.overall.pq


def official(pairs: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """Evaluate from PNG with the official code (cityscapesscripts' copy of panopticapi)."""
    folder = pairs[0]["gt"].parent.parent
    categories = {
        k: {"id": k, "name": str(k), "isthing": int(k >= NUM_STUFF)} for k in range(NUM_CLASSES)
    }
    annotations = [
        tuple(
            {
                "image_id": pair[side].stem,
                "file_name": pair[side].name,
                "segments_info": [dict(one) for one in pair[f"{side}_segments"]],
            }
            for side in ("gt", "pred")
        )
        for pair in pairs
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        found = pq_compute_single_core(0, annotations, folder / "gt", folder / "pred", categories)
    return np.array([found[k].iou for k in range(NUM_CLASSES)])


def with_torchmetrics(pairs: list[dict[str, Any]]) -> None:
    """Evaluate from PNG with torchmetrics."""
    metric = PanopticQuality(
        things=set(range(NUM_STUFF, NUM_CLASSES)),
        stuffs=set(range(NUM_STUFF)),
        allow_unknown_preds_category=True,
    )
    for pair in pairs:
        sides = []
        for side in ("pred", "gt"):
            ids = read_rgb_ids(pair[side]).astype(np.int64)
            listed = np.array([entry["id"] for entry in pair[f"{side}_segments"]])
            classes = np.array([entry["category_id"] for entry in pair[f"{side}_segments"]])
            order = np.argsort(listed)
            place = np.searchsorted(listed[order], ids).clip(max=len(listed) - 1)
            category = np.where(ids > 0, classes[order][place], NUM_CLASSES)
            sides.append(torch.from_numpy(np.stack([category, ids], axis=-1)[None]))
        metric.update(*sides)
    metric.compute()


def seconds_per_image(
    run: Callable[[list[dict[str, Any]]], Any], pairs: list[dict[str, Any]]
) -> list[float]:
    """Time every image on its own."""
    run(pairs[:1])
    times = []
    for pair in pairs:
        begin = time.process_time()
        run([pair])
        times.append(time.process_time() - begin)
    return times


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=12, help="image pairs")
    parser.add_argument("--segments", type=int, default=33, help="segments per image")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pairs = make_pairs(Path(folder), arguments.images, arguments.segments)
        difference = float(np.abs(ours(pairs)[0] - official(pairs)).max())
        if difference > 1e-9:
            raise SystemExit(f"results differ from the official ones by {difference}")
        runs: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
            "decoding alone": decode_only,
            "eagleray, from PNG": ours,
            "official, from PNG": official,
            "torchmetrics, from PNG": with_torchmetrics,
        }
        times = {
            name: seconds_per_image(run, pairs[:SLOW_IMAGES] if run is with_torchmetrics else pairs)
            for name, run in runs.items()
        }
    baseline = statistics.median(times["decoding alone"])
    table = PrettyTable(["what", "median CPU ms", "best CPU ms", "times decoding"], align="r")
    table.align["what"] = "l"
    results: dict[str, Any] = {
        "images": arguments.images,
        "segments_per_image": arguments.segments,
        "size_hw_px": list(SIZE_HW),
        "largest_difference_to_official": difference,
        "threads": 1,
    }
    for name, measured in times.items():
        median = statistics.median(measured)
        table.add_row(
            [name, f"{median * 1e3:.1f}", f"{min(measured) * 1e3:.1f}", f"{median / baseline:.2f}"]
        )
        results[name] = {
            "median_cpu_ms": median * 1e3,
            "best_cpu_ms": min(measured) * 1e3,
            "times_decoding": median / baseline,
        }
    print(table)
    print(f"largest difference to the official sums of IoU: {difference:.1e}")
    packages = ["pillow", "torchmetrics", "cityscapesscripts"]
    print("written to", write_record("panoptic_quality", results, packages=packages))


if __name__ == "__main__":
    main()
