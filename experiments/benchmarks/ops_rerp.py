"""Time of RERP beside py360convert, and of its stage beside the reading and writing of its files.

    python experiments/benchmarks/ops_rerp.py [--repeats 9]

One core, processor time, in turns within one process. *Projection*: image and label of a 640 x 640
crop (faithful, which is exact to the bit); py360convert turns the same cube (five faces empty) into
the panorama of 1280 x 2560 pixels, image bilinear, label nearest, of which the original keeps the
middle. Aim: a factor of at least 4. *Stage*: from photograph and label record to JPEG and PNG;
beside it decoding and encoding the same files. Aim: at most 2.5 times. Photographs are rendered by
the toy world at 480 x 640; where EAGLERAY_DATA is set, a real one comes too.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import py360convert
from PIL import Image
from prettytable import PrettyTable
from record import write_record

from eagleray.task import Item
from eagleray_ops.rerp import RerpDraw, rerp_projection
from eagleray_ops.settings import OpsSettings
from eagleray_ops.stages import TRAIN, RerpStage, jpeg, label_of, label_png
from eagleray_toyworld.frame_job import FrameJob
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.word_format import WordFormat
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.images.resizing import resize_rgb
from eagleray_vision.panoptic.label_image import deep_ids_png, read_deep_ids

CROP_PX = 640
LEAST_FACTOR = 4.0
MOST_OF_FILES = 2.5
REAL = "photos/dog.jpg"

Picture = np.ndarray[Any, Any]


def photographs() -> dict[str, tuple[Picture, Picture]]:
    """Return pictures with labels by name."""
    settings = WorldSettings(format="coco_stuff", height_px=480, width_px=640, seed=3)
    job = FrameJob(key="street", scene_idx=0, frame_idx=0)
    found = {"toy world": WordFormat(settings).frame(job)}
    if "EAGLERAY_DATA" in os.environ:
        photo = read_rgb(Path(os.environ["EAGLERAY_DATA"]) / REAL)
        labels = (photo.astype(int).sum(-1) // 96).astype(np.uint8)
        found["real photograph"] = (photo, labels)
    return found


class OneRow:
    """The row of one labeled photograph, as the label stage stores it."""

    def __init__(self, path: str, labels: Picture) -> None:
        known = np.unique(labels)
        numbers = np.zeros(256, np.int32)
        numbers[known] = np.arange(1, len(known) + 1)
        self.row = {
            "image_path": path,
            "id_map": deep_ids_png(numbers[labels]),
            "categories": [255, *known.tolist()],
        }

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Return the row."""
        return self.row


def projection_calls(photo: Picture, labels: Picture) -> dict[str, Callable[[], Any]]:
    """Return our projection and py360convert's, of the same crop."""
    image = np.ascontiguousarray(resize_rgb(photo, (CROP_PX, CROP_PX)))
    label = np.asarray(Image.fromarray(labels).resize((CROP_PX, CROP_PX), Image.Resampling.NEAREST))
    faces = [image, *[np.zeros_like(image)] * 5]
    label_faces = [label[..., None], *[np.full((CROP_PX, CROP_PX, 1), 255, np.uint8)] * 5]
    ours = rerp_projection(CROP_PX, RerpDraw(0, 0, None), faithful=True)
    size = (2 * CROP_PX, 4 * CROP_PX)
    return {
        "ours": lambda: (ours.image(image), ours.labels(label)),
        "py360convert": lambda: (
            py360convert.c2e(faces, *size, "bilinear", cube_format="list"),
            py360convert.c2e(label_faces, *size, "nearest", cube_format="list"),
        ),
    }


def stage_calls(photo: Picture, labels: Picture, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the stage on one photograph, and the reading and writing of its files."""
    content = io.BytesIO()
    Image.fromarray(photo).save(content, "JPEG", quality=95)
    (folder / "photo.jpg").write_bytes(content.getvalue())
    settings = OpsSettings.model_validate(
        {"data": {"root": str(folder)}, "rerp": {"mode": "offline"}}
    )
    stage = RerpStage(settings, TRAIN, shuffle=True)
    rows = OneRow("photo.jpg", labels)
    stage.setup("cpu", {label_of(TRAIN): rows}, {})  # type: ignore[dict-item]
    item = Item("photo", "", {})
    (record,) = stage.process([stage.load(item)])[0]
    image, label = record.files.values()
    decoded, classes = read_rgb(image), read_deep_ids(label).astype(np.uint8)

    def files() -> None:
        read_rgb(folder / "photo.jpg")
        read_deep_ids(rows["photo"]["id_map"])
        for name, data in (("a.jpg", jpeg(decoded)), ("a.png", label_png(classes))):
            (folder / name).write_bytes(data)

    def whole() -> None:
        (made,) = stage.process([stage.load(item)])[0]
        for name, data in zip(("b.jpg", "b.png"), made.files.values(), strict=True):
            (folder / name).write_bytes(data)

    return {"stage": whole, "files": files}


def seconds(call: Callable[[], Any]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def in_turns(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Time calls in turns, after one round that fills caches."""
    for call in calls.values():
        call()
    runs: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            runs[name].append(seconds(call))
    return runs


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the ratios of neighboring runs."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def measure(name: str, photo: Picture, labels: Picture, repeats: int) -> dict[str, Any]:
    """Time one photograph."""
    projection = in_turns(projection_calls(photo, labels), repeats)
    with tempfile.TemporaryDirectory() as temporary:
        stage = in_turns(stage_calls(photo, labels, Path(temporary)), repeats)
    runs = {**projection, **stage}
    return {
        "photograph": name,
        "size_hw": list(photo.shape[:2]),
        "cpu_s": runs,
        "median_cpu_ms": {key: 1000 * statistics.median(one) for key, one in runs.items()},
        "factor_of_py360convert": ratio(runs["py360convert"], runs["ours"]),
        "stage_of_files": ratio(runs["stage"], runs["files"]),
    }


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each")
    options = parser.parse_args()
    rows = [measure(name, *one, options.repeats) for name, one in photographs().items()]
    names = ("ours", "py360convert", "stage", "files")
    table = PrettyTable(["photograph", *(f"{one} ms" for one in names), "factor", "stage / files"])
    for row in rows:
        ms = [f"{row['median_cpu_ms'][one]:.1f}" for one in names]
        ratios = [f"{row['factor_of_py360convert']:.1f}", f"{row['stage_of_files']:.2f}"]
        table.add_row([row["photograph"], *ms, *ratios])
    print(table)
    results = {
        "crop_px": CROP_PX,
        "least_factor": LEAST_FACTOR,
        "most_of_files": MOST_OF_FILES,
        "photographs": rows,
    }
    packages = ["py360convert", "opencv-python-headless", "scipy", "pillow"]
    print("written to", write_record("ops_rerp", results, packages=packages))


if __name__ == "__main__":
    main()
