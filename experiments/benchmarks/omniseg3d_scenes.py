"""OmniSeg3D from images to scored clicks: the generated room and the captured fox, as a whole.

    EAGLERAY_DATA=... python experiments/benchmarks/omniseg3d_scenes.py
    python experiments/benchmarks/omniseg3d_scenes.py room --picture click.png

Everything is done anew, in this process, on all cores: the room is generated, masks and patches are
made, both phases are trained, all benchmarks of the experiment are scored. Seconds are wall and CPU
time; the budget is 8 minutes of wall time per scene on two idle cores. Without EAGLERAY_DATA the
fox is left out.

The room also says what each stage allows at best: the same objects and parts, where every pixel of
a held-out view takes the truth of the nearest true surface point of the training views, once at the
rendered point (what the learned geometry allows) and once at the true one (what points allow).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import yaml
from record import write_record
from safetensors.torch import load_file
from scipy.spatial import KDTree

from eagleray import Experiment
from eagleray.evaluate.weights import find_weights
from eagleray.progress import PlainLines
from eagleray_omniseg3d.click.selection import prompt_at, similarities
from eagleray_omniseg3d.data import SceneData
from eagleray_omniseg3d.model.scene_model import SceneModel
from eagleray_omniseg3d.model.view_rendering import render_view
from eagleray_omniseg3d.picture import color_depth, tint, to_bytes
from eagleray_omniseg3d.predict import click_object
from eagleray_omniseg3d.scenes.pixels import read_view_depth
from eagleray_omniseg3d.scenes.rays import camera_directions, world_rays
from eagleray_omniseg3d.task import OmniSeg3DTask

FOLDER = Path(__file__).parents[1] / "omniseg3d"
SCENES = {"room": FOLDER / "toy_room.yaml", "fox": FOLDER / "fox.yaml"}
WALL_BUDGET_S = 480.0
_MIN_CEILING_PX = 20
_PICTURED_OBJECT = 8

FloatArray = npt.NDArray[np.floating[Any]]


def main() -> None:
    """Run the scenes, print and record what they reach."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", choices=[[], *SCENES], help="default: all")
    parser.add_argument("--picture", type=Path, help="write a click in the room as a PNG")
    arguments = parser.parse_args()
    names = arguments.scenes or list(SCENES)
    if "EAGLERAY_DATA" not in os.environ and "fox" in names:
        print("EAGLERAY_DATA is not set: the fox is left out")
        names = [name for name in names if name != "fox"]
    torch.set_num_threads(os.cpu_count() or 1)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            results[name] = run_scene(SCENES[name], Path(folder) / name, arguments.picture)
            print(yaml.safe_dump({name: results[name]}, sort_keys=False))
    if results:
        record = "omniseg3d_scenes" if len(names) > 1 else f"omniseg3d_{names[0]}"
        write_record(record, results, packages=["opencv-python-headless", "scipy"])


def run_scene(path: Path, folder: Path, picture: Path | None) -> dict[str, Any]:
    """Do one experiment from nothing and return its figures.

    Args:
        path: Its YAML.
        folder: Receives everything that is written.
        picture: Where the room's click is drawn.
    """
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    world = values["settings"]["data"].get("toyworld")
    if world is not None:
        world["folder"] = str(folder / "world")
    values |= {"name": path.stem, "storage": str(folder / "storage")}
    experiment = Experiment.from_values(values, inline=True, progress=PlainLines())
    figures: dict[str, Any] = {}
    with _timed(figures, "all"):
        with _timed(figures, "prepare"):
            prepared = experiment.prepare()
        with _timed(figures, "train"):
            experiment.train()
        with _timed(figures, "evaluate"):
            results = experiment.evaluate()
    for result in results:
        values = {k: v for k, v in result.values.items() if v is not None}
        figures[result.benchmark] = {k: round(v, 3) for k, v in values.items()}
    figures["clicks"] = _click_ious(experiment)
    figures["within_budget"] = figures["all_wall_s"] <= WALL_BUDGET_S
    figures["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    task = experiment.task
    if world is not None and isinstance(task, OmniSeg3DTask):
        model = task.build()
        weights = find_weights(experiment.run_folder, "last", task, experiment.settings.seed)
        model.load_state_dict(load_file(str(weights)))
        figures["ceilings"] = ceilings(task.data, model.eval())
        if picture is not None:
            objects = task.dataset("object_clicks", prepared.rows)
            draw_click(objects, model, picture)
    return figures


def _click_ious(experiment: Experiment) -> dict[str, float]:
    """Return the IoU (percent) of each clicked object that has a picture."""
    units = json.loads(experiment.run_folder.read("evaluation/object_clicks/units/best.json"))
    return {name: round(values["miou"], 1) for name, values in units.items()}


@torch.inference_mode()
def ceilings(data: SceneData, model: SceneModel) -> dict[str, float]:
    """Return mIoU (percent) of objects and parts with true labels in the place of features, over
    the held-out views, and the median error of their depth.
    """
    scene, settings = data.scene, data.settings
    patterns = {"objects": settings.data.labels, "parts": settings.data.part_labels}
    scale = settings.evaluation.image_scale
    train = [_view_points(data, i, scale) for i in scene.split("train")]
    tree = KDTree(np.concatenate(train))
    known = {
        name: np.concatenate(
            [_labels(data, i, pattern, scale).ravel() for i in scene.split("train")]
        )
        for name, pattern in patterns.items()
    }
    overlaps: dict[tuple[str, str, int], list[float]] = {}
    errors = []
    for index in scene.split("test"):
        view = scene.views[index]
        seen = render_view(
            model, data.sample(view, scale=scale, with_rgb=False), with_features=False
        )
        true_points = _view_points(data, index, scale)
        points = {"learned": seen.positions.reshape(-1, 3), "true": true_points}
        errors.append(np.linalg.norm(points["learned"] - points["true"], axis=1))
        for kind, positions in points.items():
            nearest = tree.query(positions)[1]
            for name, pattern in patterns.items():
                truth = _labels(data, index, pattern, scale).ravel()
                for label, count in zip(*np.unique(truth, return_counts=True), strict=True):
                    if label > 0 and count >= _MIN_CEILING_PX:
                        pair = known[name][nearest] == label, truth == label
                        iou = float((pair[0] & pair[1]).sum() / (pair[0] | pair[1]).sum())
                        overlaps.setdefault((kind, name, int(label)), []).append(iou)
    found = {"median_depth_error_m": float(np.median(np.concatenate(errors)) * scene.scale)}
    for kind, name in sorted({key[:2] for key in overlaps}):
        means = [np.mean(v) for key, v in overlaps.items() if key[:2] == (kind, name)]
        found[f"{name}_at_{kind}_points_miou"] = 100.0 * float(np.mean(means))
    return {name: round(value, 3) for name, value in found.items()}


@torch.inference_mode()
def draw_click(objects: Any, model: SceneModel, path: Path) -> None:
    """Draw one click in a held-out view: photograph, similarity, selection, truth.

    Args:
        objects: The clicked objects, a ``ClickedObjects``.
        model: The trained scene.
        path: PNG to write.
    """
    keys = [objects.key(i) for i in range(len(objects))]
    name = f"object_{_PICTURED_OBJECT:06d}"
    rng = np.random.default_rng(0)
    sample = objects.load(keys.index(name) if name in keys else 0, rng)
    prediction = click_object(model, sample, faithful=False)
    reference = render_view(model, sample.reference, faithful=False)
    prompt = prompt_at(sample.column, sample.row, reference.features, reference.positions)
    best = max(range(len(sample.targets)), key=lambda i: int(sample.targets[i][1].sum()))
    view, truth = sample.targets[best]
    seen = render_view(model, view, faithful=False)
    shape, dim = truth.shape, seen.features.shape[2]
    likeness = similarities(
        seen.features.reshape(-1, dim), seen.positions.reshape(-1, 3), prompt, normalize=True
    ).reshape(shape)
    clicked = np.ascontiguousarray(sample.reference.rgb)
    cv2.drawMarker(clicked, (sample.column, sample.row), (255, 40, 40), cv2.MARKER_CROSS, 9, 2)
    image = to_bytes(seen.rgb)
    panels = [clicked, image, color_depth(likeness), tint(image, prediction.masks[best])]
    row = np.concatenate([*panels, tint(image, truth)], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    enlarged = cv2.resize(row, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(path), np.ascontiguousarray(enlarged[:, :, ::-1]))


def _view_points(data: SceneData, index: int, scale: float) -> FloatArray:
    """Return the true surface points (n, 3) of a view, scene coordinates."""
    view = data.scene.views[index]
    sample = data.sample(view, scale=scale, with_rgb=False)
    depth = read_view_depth(data.scene, view)
    if depth is None:
        raise ValueError(f"view {view.name} has no depth")
    height, width = sample.size_hw
    shrunk = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
    matrix = torch.from_numpy(sample.camera_matrix).float()
    pose = torch.from_numpy(sample.world_from_cam).float()
    rays_o, rays_d = world_rays(camera_directions(matrix, sample.size_hw), pose)
    points: FloatArray = rays_o.numpy() + rays_d.numpy() * shrunk.reshape(-1, 1)
    return points


def _labels(data: SceneData, index: int, pattern: str, scale: float) -> npt.NDArray[np.int64]:
    labels = data.labels(data.scene.views[index], pattern, scale)
    if labels is None:
        raise ValueError(f"view {data.scene.views[index].name} has no labels {pattern!r}")
    return labels


@contextmanager
def _timed(figures: dict[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Note wall and CPU seconds, of this process and its ended children."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    yield figures
    figures[f"{name}_wall_s"] = round(time.perf_counter() - wall, 1)
    figures[f"{name}_cpu_s"] = round(_cpu_seconds() - cpu, 1)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


if __name__ == "__main__":
    main()
