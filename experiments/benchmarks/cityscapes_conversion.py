"""Time of converting a Cityscapes frame, beside the official script.

    python experiments/benchmarks/cityscapes_conversion.py [--frames 3] [--repeats 5]

From one ``*_instanceIds.png`` of 2048 x 1024 pixels to panoptic labels, on one core, in turns
within one process; processor time. Official: ``cityscapesscripts.preparation.createPanopticImgs``,
from file to PNG and JSON. Ours: the same files written (``cityscapes_panoptic_annotation``), and
what the Seamless stage does (PNG to a record of compact ids). Segments, areas, boxes and pixels are
checked to be equal first. Frames are those of the toy world, and, where EAGLERAY_DATA is set, the
labels of the real frame enlarged to the photograph's size. The aim is a factor of at least 3.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image
from prettytable import PrettyTable
from record import write_record

from eagleray_toyworld.formats.panoptic import street_panoptic_sample
from eagleray_vision.datasets.cityscapes import CityscapesSource
from eagleray_vision.datasets.source import LabeledImage
from eagleray_vision.panoptic.cityscapes import cityscapes_panoptic_annotation
from eagleray_vision.panoptic.label_image import deep_ids_png, read_deep_ids, rgb_ids_png
from eagleray_vision.panoptic.label_space import CITYSCAPES

SIZE_HW = (1024, 2048)
BUDGET = 3.0
"""Least accepted factor between the official script's time and ours."""
REAL = "cityscapes_sample/*_gtFine_instanceIds.png"


def toy_frame(index: int) -> np.ndarray[Any, Any]:
    """Render the instance ids of one street of the toy world."""
    _, id_map, segments = street_panoptic_sample(0, index, SIZE_HW, min_thing_px=32)
    table = np.zeros(len(segments) + 1, np.uint16)
    counts: dict[int, int] = {}
    for position, segment in enumerate(segments, start=1):
        label = CITYSCAPES.original_ids[segment.train_id]
        if segment.train_id < CITYSCAPES.num_stuff:
            table[position] = label
            continue
        table[position] = label * 1000 + counts.get(label, 0)
        counts[label] = counts.get(label, 0) + 1
    return table[id_map]


def frames(number: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return the frames by name."""
    found = {f"toy world {index}": toy_frame(index) for index in range(number)}
    if "EAGLERAY_DATA" in os.environ:
        for path in sorted(Path(os.environ["EAGLERAY_DATA"]).glob(REAL)):
            ids = read_deep_ids(path).astype(np.uint16)
            factor = SIZE_HW[0] // ids.shape[0]
            found["real frame, enlarged"] = ids.repeat(factor, 0).repeat(factor, 1)
    return found


def official(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Convert with cityscapesscripts; return the PNG and the entry of the JSON."""
    with contextlib.redirect_stdout(io.StringIO()):
        convert2panoptic(str(folder / "gtFine"), str(folder / "out"), setNames=["val"])
    content = json.loads((folder / "out" / "cityscapes_panoptic_val.json").read_text())
    (png,) = (folder / "out" / "cityscapes_panoptic_val").iterdir()
    return png.read_bytes(), content["annotations"][0]


def ours(path: Path, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Write the same two files with eagleray."""
    image_id = path.name.removesuffix("_gtFine_instanceIds.png")
    ids, entry = cityscapes_panoptic_annotation(read_deep_ids(path), image_id)
    png = rgb_ids_png(ids)
    (folder / entry["file_name"]).write_bytes(png)
    (folder / "ours.json").write_text(json.dumps({"annotations": [entry]}, indent=4))
    return png, entry


def record(path: Path) -> bytes:
    """Do what the Seamless stage does with one label: read, check, compact, encode."""
    label = LabeledImage("frame", path, path)
    return deep_ids_png(CityscapesSource(path.parent).read_label(label).id_map)


def check(path: Path, folder: Path) -> int:
    """Refuse to time results that differ; return the number of segments."""
    (their_png, theirs), (our_png, mine) = official(folder), ours(path, folder)
    pixels = [np.asarray(Image.open(io.BytesIO(png))) for png in (their_png, our_png)]
    if not np.array_equal(*pixels):
        raise SystemExit(f"{path.name}: the panoptic images differ")
    key = "id"
    if theirs["file_name"] != mine["file_name"] or theirs["image_id"] != mine["image_id"]:
        raise SystemExit(f"{path.name}: the entries are of different files")
    lists = [sorted(one["segments_info"], key=lambda s: s[key]) for one in (theirs, mine)]
    if lists[0] != lists[1]:
        raise SystemExit(f"{path.name}: segments, areas or boxes differ")
    panoptic = CityscapesSource(path.parent).read_label(LabeledImage("frame", path, path))
    if sorted(panoptic.segments().areas.tolist()) != sorted(s["area"] for s in lists[0]):
        raise SystemExit(f"{path.name}: the areas of the record differ")
    return len(lists[0])


def seconds(call: Callable[[], Any]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(name: str, ids: np.ndarray[Any, Any], repeats: int) -> dict[str, Any]:
    """Check and time one frame."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = folder / "gtFine" / "val" / "toy" / "toy_000000_000000_gtFine_instanceIds.png"
        path.parent.mkdir(parents=True)
        (folder / "out").mkdir()
        path.write_bytes(deep_ids_png(ids))
        segments = check(path, folder)
        calls: dict[str, Callable[[], Any]] = {
            "official": lambda: official(folder),
            "ours": lambda: ours(path, folder),
            "record": lambda: record(path),
            "decode": lambda: read_deep_ids(path),
        }
        runs: dict[str, list[float]] = {kind: [] for kind in calls}
        for _ in range(repeats):
            for kind, call in calls.items():
                runs[kind].append(seconds(call))
    median = {kind: statistics.median(found) for kind, found in runs.items()}
    pairs = zip(runs["official"], runs["ours"], runs["record"], strict=True)
    ratios = [(theirs / mine, theirs / stage) for theirs, mine, stage in pairs]
    return {
        "frame": name,
        "segments": segments,
        "cpu_s": runs,
        "median_cpu_s": median,
        "factor_same_files": statistics.median(one for one, _ in ratios),
        "factor_record": statistics.median(one for _, one in ratios),
    }


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=3, help="frames of the toy world")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each")
    options = parser.parse_args()
    rows = [measure(name, ids, options.repeats) for name, ids in frames(options.frames).items()]
    columns = ["frame", "segments", "decode ms", "official ms", "same files ms", "factor"]
    table = PrettyTable([*columns, "record ms", "factor of the record"])
    for row in rows:
        ms = {kind: f"{1000 * value:.0f}" for kind, value in row["median_cpu_s"].items()}
        written = [ms["official"], ms["ours"], f"{row['factor_same_files']:.1f}"]
        stored = [ms["record"], f"{row['factor_record']:.1f}"]
        table.add_row([row["frame"], row["segments"], ms["decode"], *written, *stored])
    print(table)
    results = {"size_hw": SIZE_HW, "budget_factor": BUDGET, "frames": rows}
    print(
        "written to",
        write_record("cityscapes_conversion", results, packages=["cityscapesscripts", "pillow"]),
    )


if __name__ == "__main__":
    main()
