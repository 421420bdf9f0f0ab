"""Writes stores of made-up runs in the real layout, for measuring and testing what reads them.

Curves, results and pictures are drawn from a seed; nothing was trained. The pictures show street
scenes of a few colored areas, the predictions with mistakes that shrink with the run's quality.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from PIL import Image

from eagleray.evaluate.stage import layer_files
from eagleray.prepare import Manifest, Reject, ShardMarker, StageFolder
from eagleray.prepare.columns import arrow_schema, to_parquet, to_table
from eagleray.prepare.marker import CommittedFile
from eagleray.runs.diagnostics import write_diagnostics
from eagleray.runs.run_folder import RunFolder, run_below, runs_store
from eagleray.storage import Store
from eagleray.task import (
    CurvesDiagnostic,
    Diagnostic,
    LabelLayer,
    LabelLayers,
    MatrixDiagnostic,
    Record,
    TableDiagnostic,
)

Image8 = npt.NDArray[np.uint8]

_SKY, _ROAD, _BUILDING, _TREE, _CAR = range(5)
_PALETTE = np.array(
    [(70, 130, 180), (128, 64, 128), (70, 70, 70), (107, 142, 35), (0, 0, 142)], np.uint8
)
_LOOKS = np.array(
    [(168, 200, 228), (92, 92, 96), (176, 148, 120), (64, 110, 58), (190, 40, 44)], np.uint8
)
_CLASSES = ("sky", "road", "building", "vegetation", "car")
_SCHEMA = {"miou": "float64", "pixels": "int64", "confusion": "list<int64>"}
_TASKS = ("seamseg", "efficientps", "ops", "pop3d", "omniseg3d")
_PUBLISHED = {"miou": 0.775, "pq": 0.603}


@dataclass(frozen=True)
class FakeRun:
    """What a made-up run is like.

    Args:
        experiment: Folder of the run.
        run: Name of the run.
        task: The task that it names.
        seed: Everything is drawn from it.
        points: Training lines that it logged.
        pictures: Pictures of its evaluation, three per unit.
        state: What its summary says.
    """

    experiment: str
    run: str
    task: str = "seamseg"
    seed: int = 0
    points: int = 1000
    pictures: int = 9
    state: str = "trained"
    layers: int = 0
    """Classes of the labels that lie over its pictures; 0: none."""


def large_runs(runs: int, points: int, pictures: int) -> list[FakeRun]:
    """Return the descriptions of a large store's runs: experiments of some fifty runs each."""
    per_run = 3 * -(-pictures // (3 * runs))
    return [
        FakeRun(
            experiment=f"{_TASKS[i // 50 % len(_TASKS)]}-{i // 50:02d}",
            run=f"main-{i:08x}",
            task=_TASKS[i // 50 % len(_TASKS)],
            seed=i,
            points=points,
            pictures=per_run,
            state="failed" if i % 37 == 36 else "trained",
        )
        for i in range(runs)
    ]


def write_run(storage: str, fake: FakeRun, side_px: int = 96) -> RunFolder:
    """Write one run.

    Args:
        storage: Folder or URI of the store.
        fake: What it is like.
        side_px: Height of its pictures; they are twice as wide.

    Returns:
        The run's folder.
    """
    run = run_below(runs_store(storage), f"{fake.experiment}/{fake.run}")
    rng = np.random.default_rng(fake.seed)
    quality = float(rng.uniform(0.55, 0.8))
    lr = float(10 ** rng.uniform(-3, -1))
    _put(run, "experiment.yaml", yaml.safe_dump(_settings(fake, lr)).encode())
    _put(run, "environment.json", _json(_environment(fake)))
    last = _write_metrics(run, fake, quality, lr, rng)
    result = _write_evaluation(run, fake, quality, side_px)
    _put(run, f"evaluation/val/{result['checkpoint']}.json", _json(result))
    if fake.layers:
        write_diagnostics(run, "val", result["checkpoint"], made_up_diagnostics(quality))
    _put(run, "log/0.log", b"step 0: begins\nstep 10: <b>goes on</b>\n")
    short = {key: value for key, value in result.items() if key != "per_class"}
    summary = {
        "task": fake.task,
        "experiment": fake.experiment,
        "state": fake.state,
        "step": fake.points,
        "train": last,
        "results": {"val/best": short},
    }
    if fake.state == "failed":
        summary["error"] = "CUDA out of memory"
    _put(run, "summary.json", _json(summary))
    return run


def draw_scene(
    rng: np.random.Generator, mistakes: float, side_px: int = 96
) -> tuple[Image8, Image8, Image8]:
    """Return a street scene as input, truth and prediction, uint8 (H, W, 3) each.

    Args:
        rng: Draws the scene.
        mistakes: Share of the area that is predicted wrongly, about.
        side_px: Height; the width is twice that.
    """
    height, width = side_px, 2 * side_px
    labels = np.full((height, width), _SKY)
    labels[int(height * 0.6) :] = _ROAD
    for _ in range(6):
        _box(
            labels,
            rng,
            (0.15, 0.45),
            0.62,
            (0.08, 0.25),
            _BUILDING if rng.random() < 0.6 else _TREE,
        )
    for _ in range(3):
        _box(labels, rng, (0.55, 0.65), 0.85, (0.06, 0.16), _CAR)
    shade = np.linspace(1.1, 0.8, height)[:, None, None]
    grain = rng.normal(0, 5, (height // 4, width // 4, 1)).repeat(4, 0).repeat(4, 1)
    grain = np.pad(grain, ((0, height % 4), (0, width % 4), (0, 0)), mode="edge")
    picture = np.clip(_LOOKS[labels] * shade + grain, 0, 255).astype(np.uint8)
    predicted = labels.copy()
    while (predicted != labels).mean() < mistakes:
        _box(predicted, rng, (0.1, 0.7), 0.95, (0.03, 0.12), int(rng.integers(5)))
    return picture, _PALETTE[labels], _PALETTE[predicted]


def _box(
    labels: npt.NDArray[np.int64],
    rng: np.random.Generator,
    top: tuple[float, float],
    bottom: float,
    width: tuple[float, float],
    label: int,
) -> None:
    height_px, width_px = labels.shape
    left = int(rng.uniform(0, width_px))
    right = left + max(2, int(rng.uniform(*width) * width_px))
    first = int(rng.uniform(*top) * height_px)
    last = int(rng.uniform((first / height_px + bottom) / 2, bottom) * height_px)
    labels[first : max(last, first + 2), left:right] = label


def _settings(fake: FakeRun, lr: float) -> dict[str, Any]:
    phase = {
        "name": "main", "steps": fake.points, "batch_size": 8, "optimizer": "sgd", "lr": lr,
        "momentum": 0.9, "weight_decay": 0.0001, "schedule": {"kind": "poly", "power": 0.9},
    }  # fmt: skip
    return {
        "task": fake.task,
        "name": fake.experiment,
        "run": "main",
        "seed": fake.seed,
        "settings": {"faithful": True, "crop_px": [1024, 2048], "backbone": "resnet50"},
        "train": {"strategy": "ddp", "num_workers": 8, "phases": [phase]},
        "evaluate": {"checkpoint": "best", "pictures": fake.pictures // 3},
    }


def _environment(fake: FakeRun) -> dict[str, Any]:
    return {
        "seed": fake.seed,
        "python": "3.11.2",
        "packages": {"torch": "2.15.0", "ray": "2.60.0"},
        "revision": hashlib.sha1(str(fake.seed).encode()).hexdigest(),
        "cpus": 64,
        "memory_gb": 512.0,
        "gpus": ["made up"] * 8,
    }


def _write_metrics(
    run: Store, fake: FakeRun, quality: float, lr: float, rng: np.random.Generator
) -> dict[str, float]:
    lines: list[str] = []
    noise = rng.normal(0, 0.05, (fake.points, 2))
    for step in range(1, fake.points + 1):
        done = step / fake.points
        loss = 0.25 + 2.2 * float(np.exp(-6 * quality * done)) + float(noise[step - 1, 0])
        common = {"phase": "main", "step": step, "total_step": step, "time": 1.79e9 + 0.4 * step}
        values = {
            "loss": loss,
            "lr": lr * (1 - done) ** 0.9,
            "loss/mask": loss * 0.6,
            "loss/class": loss * 0.4,
            "items_per_s": 20 + float(noise[step - 1, 1]),
            "wait_fraction": abs(float(noise[step - 1, 1])),
        }
        lines.append(json.dumps({"kind": "train", **common, **values}))
        if step % max(1, fake.points // 10) == 0:
            miou = quality * (1 - float(np.exp(-5 * done)))
            lines.append(json.dumps({"kind": "validate", **common, "miou": miou}))
    for first in range(0, len(lines), 200):
        segment = "\n".join(lines[first : first + 200]) + "\n"
        _put(run, f"metrics/0001-{first:08d}.jsonl", segment.encode())
    return {"loss": loss, "items_per_s": 20.0} if lines else {}


def _write_evaluation(run: Store, fake: FakeRun, quality: float, side_px: int) -> dict[str, Any]:
    fingerprint = hashlib.sha256(f"{fake.experiment}/{fake.run}".encode()).hexdigest()[:16]
    stage = StageFolder(_QuickStore(f"{run.uri}/evaluation/val/{fingerprint}"))
    schema = arrow_schema(_SCHEMA)
    tables, files = [], []
    for idx in range(max(1, fake.pictures // 3)):
        rng = np.random.default_rng([fake.seed, idx])
        mistakes = float(np.clip(1 - quality + rng.normal(0, 0.1), 0.01, 0.6))
        key = f"scene-{idx:04d}"
        row = {"miou": 1 - mistakes, "pixels": 2 * side_px**2, "confusion": [idx] * 25}
        tables.append(to_table([Record(key, row)], key, schema))
        if 3 * idx + 3 <= fake.pictures:
            scene = draw_scene(rng, mistakes, side_px)
            for name, image in zip(("input", "truth", "prediction"), scene, strict=True):
                files.append(_write_picture(stage, key, name, image))
            if fake.layers:
                files += _write_layers(stage, key, rng, side_px, fake.layers)
    data = to_parquet(tables, schema)
    marker = ShardMarker.of(
        "0",
        data,
        items=len(tables) + 1,
        rows=len(tables),
        rejected=(Reject("scene-broken", "InputError: the file is empty"),),
        files=tuple(files),
    )
    stage.commit_shard(marker, data)
    stage.commit_manifest(Manifest("listing", "", (marker.entry,)))
    stage.set_current("listing")
    per_class = {
        name: {"iou": float(np.clip(quality + 0.05 * (2 - idx), 0, 1))}
        for idx, name in enumerate(_CLASSES)
    }
    published = [
        {"metric": name, "value": value, "source": "made up", "model": "", "recalled": False}
        for name, value in _PUBLISHED.items()
    ]
    return {
        "benchmark": "val",
        "protocol": "A made-up split.",
        "checkpoint": "best",
        "metric": "miou",
        "higher_is_better": True,
        "values": {"miou": quality, "pq": quality * 0.8},
        "per_class": per_class,
        "published": published,
        "units": len(tables),
        "rejected": 1,
        "rows": fingerprint,
    }


def draw_layers(rng: np.random.Generator, side_px: int, classes: int) -> LabelLayers:
    """Return made-up segments of so many classes over a picture of ``draw_scene``."""
    layers = {}
    for name in ("truth", "prediction"):
        ids = np.zeros((side_px, 2 * side_px), np.int64)
        for number in range(classes):
            row = int(rng.integers(side_px - side_px // 4))
            column = int(rng.integers(2 * side_px - side_px // 4))
            ids[row : row + side_px // 4, column : column + side_px // 4] = number + 1
        scores = rng.uniform(0.5, 1, classes).tolist() if name == "prediction" else []
        layers[name] = LabelLayer(ids, range(classes), scores)
    names = [*_CLASSES, *(f"class {number}" for number in range(len(_CLASSES), classes))]
    colors = np.concatenate([_PALETTE, rng.integers(40, 220, (classes, 3), dtype=np.uint8)])
    return LabelLayers(names[:classes], colors[:classes], layers)


def _write_layers(
    stage: StageFolder, key: str, rng: np.random.Generator, side_px: int, classes: int
) -> list[CommittedFile]:
    files = []
    for path, content in layer_files(key, draw_layers(rng, side_px, classes)).items():
        files.append(CommittedFile.of("0", key, path, content))
        stage.write_file(files[-1], content)
    return files


def made_up_diagnostics(quality: float) -> list[Diagnostic]:
    """Return a diagnostic of each kind for the made-up classes."""
    count = len(_CLASSES)
    wrong = (1 - quality) / count
    matrix = [[1000 * (quality * (i == j) + wrong) for j in range(count + 1)] for i in range(count)]
    recall = np.linspace(0, 100, 30)
    lines = {
        name: (tuple(recall.tolist()), tuple((100 - (1 - quality) * recall / (i + 1)).tolist()))
        for i, name in enumerate(("all things", "car"))
    }
    kinds = {name: (40.0 - i, 3.0 + i, None) for i, name in enumerate(_CLASSES)}
    return [
        MatrixDiagnostic(
            "Confusion of pixels", _CLASSES, (*_CLASSES, "void"), tuple(map(tuple, matrix))
        ),
        TableDiagnostic("What became of the segments", ("matched", "missed", "split"), kinds),
        CurvesDiagnostic("Precision over recall", "recall in %", "precision in %", lines),
    ]


def _write_picture(stage: StageFolder, key: str, name: str, image: Image8) -> CommittedFile:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    content = buffer.getvalue()
    file = CommittedFile.of("0", key, f"pictures/{key}.{name}.png", content)
    stage.write_file(file, content)
    return file


class _QuickStore(Store):
    """A store that does not wait for the disk, which would take most of the time."""

    def write(self, path: str, content: bytes | Iterable[bytes]) -> None:
        if not self.is_local:
            super().write(path, content)
            return
        target = self.local_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else b"".join(content))

    def create(self, path: str, content: bytes) -> bool:
        self.write(path, content)
        return True


def _put(folder: Store, path: str, content: bytes) -> None:
    _QuickStore(folder.uri).write(path, content)


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
