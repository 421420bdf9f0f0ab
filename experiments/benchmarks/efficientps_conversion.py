"""Time of writing a frame in EfficientPS' converted layout, beside the official panoptic PNG alone.

    python experiments/benchmarks/efficientps_conversion.py [--frames 3] [--repeats 5]

From one ``*_instanceIds.png`` of 2048 x 1024 pixels, on one core, in turns within one process;
processor time. Official: ``cityscapesscripts.preparation.createPanopticImgs``, from file to
panoptic PNG and JSON. Ours: the map of classes, the polygons of the things and the panoptic PNG,
with the entries of both JSONs, as the plugin's stage writes them; the photograph is left out.
Frames are those of the toy world and, where EAGLERAY_DATA is set, the labels of the real frame
enlarged. That both write the same pixels is tested with the original's own output
(``tests/parity/test_efficientps_converted_folder.py``). The aim is a ratio of at most 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cityscapes_conversion import SIZE_HW, frames, official, seconds
from prettytable import PrettyTable
from record import write_record

from eagleray_efficientps.conversion.converted_frame import convert_frame
from eagleray_vision.panoptic.label_image import (
    deep_ids_png,
    encode_png,
    read_deep_ids,
    rgb_ids_png,
)

BUDGET = 1.0
"""Largest accepted ratio of our time to the official script's."""


def ours(path: Path, folder: Path) -> None:
    """Write what the converted layout holds of one frame, but for the photograph."""
    frame = convert_frame(read_deep_ids(path), "frame")
    (folder / "stuff.png").write_bytes(encode_png(frame.stuff_map))
    (folder / "panoptic.png").write_bytes(rgb_ids_png(frame.panoptic_ids))
    entries = {"annotations": frame.annotations, "segments_info": frame.segments}
    (folder / "ours.json").write_text(json.dumps(entries))


def measure(name: str, ids: np.ndarray[Any, Any], repeats: int) -> dict[str, Any]:
    """Time one frame."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = folder / "gtFine" / "val" / "toy" / "toy_000000_000000_gtFine_instanceIds.png"
        path.parent.mkdir(parents=True)
        (folder / "out").mkdir()
        path.write_bytes(deep_ids_png(ids))
        calls: dict[str, Callable[[], Any]] = {
            "official": lambda: official(folder),
            "ours": lambda: ours(path, folder),
        }
        for call in calls.values():
            call()
        runs = {kind: [seconds(call) for _ in range(repeats)] for kind, call in calls.items()}
    pairs = zip(runs["ours"], runs["official"], strict=True)
    return {
        "frame": name,
        "things": int((np.unique(ids) >= 1000).sum()),
        "cpu_s": runs,
        "median_cpu_s": {kind: statistics.median(found) for kind, found in runs.items()},
        "ratio": statistics.median(mine / theirs for mine, theirs in pairs),
    }


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=3, help="frames of the toy world")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each")
    options = parser.parse_args()
    rows = [measure(name, ids, options.repeats) for name, ids in frames(options.frames).items()]
    table = PrettyTable(["frame", "things", "official ms", "ours ms", "ratio"])
    for row in rows:
        times = [f"{1000 * row['median_cpu_s'][kind]:.0f}" for kind in ("official", "ours")]
        table.add_row([row["frame"], row["things"], *times, f"{row['ratio']:.2f}"])
    print(table)
    results = {"size_hw": SIZE_HW, "budget_ratio": BUDGET, "frames": rows}
    packages = ["cityscapesscripts", "pillow"]
    print("written to", write_record("efficientps_conversion", results, packages=packages))


if __name__ == "__main__":
    main()
