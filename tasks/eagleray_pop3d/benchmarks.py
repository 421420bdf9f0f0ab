"""Benchmarks: occupancy against labeled sweeps, retrieval by words, Occ3D
(docs/originals/pop3d.md, sections 6 to 8 and 14).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eagleray.task import Benchmark, InputError, Metrics
from eagleray_pop3d.asking import average_precisions
from eagleray_pop3d.data import EvaluationSample, queries_file
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.occ3d import NUM_LABELS as OCC3D_LABELS
from eagleray_pop3d.occ3d import (
    NUM_SEMANTIC,
    RAY_TOLERANCES_M,
    count_rays,
    count_voxels,
    lidar_rays,
    ray_iou,
    semantic_iou,
)
from eagleray_pop3d.occupancy_iou import NUM_LABELS, count_labels, occupancy_iou
from eagleray_pop3d.predict import FramePrediction
from eagleray_pop3d.published import OCC3D, OCCUPANCY, RETRIEVAL, RETRIEVAL_TARGETS
from eagleray_pop3d.settings import TruthSettings
from eagleray_pop3d.voxels import (
    FREE_LABEL,
    IGNORED_LABEL,
    agnostic_labels,
    evaluation_labels,
    majority_labels,
)
from eagleray_vision.driving.lidarseg import CLASS_NAMES, NUM_CLASSES
from eagleray_vision.metrics.mean_iou import confusion_matrix

VAL: Final = "val"
RETRIEVAL_SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val",),
    "test": ("test",),
    "valtest": ("val", "test"),
}
"""Splits of key frames that each retrieval benchmark asks."""
_RETRIEVAL, _OCC3D, _OCCUPANCY = "retrieval_", "occ3d", "occupancy"
_TARGETS = "_targets"
_COUNTS = "list<int64>"
_QUERY_COLUMNS: Mapping[str, str] = {
    "query": "string",
    "ap": "float64",
    "ap_visible": "float64",
    "base_rate": "float64",
    "base_rate_visible": "float64",
}
_PERCENT = 100.0
_MASKS = ("camera", "both", "all")
_LIDAR_HEIGHT_M = 1.84
"""Of nuScenes' lidar above the vehicle's origin: where rays of RayIoU begin."""


def pop3d_benchmarks(truth: TruthSettings) -> list[Benchmark]:
    """Return the benchmarks that can be evaluated: occupancy always, others where their truth is
    named, queries of the splits that have a list.
    """
    found = [
        Benchmark(
            _OCCUPANCY,
            VAL,
            "miou_17",
            "Voxels against the classes of one labeled sweep and the free space on the way to its "
            "points; free where the occupancy says so, else the class of the likeliest word. "
            "miou_17: 16 classes and free space, a class that the split lacks counts 100 (the "
            "original's number); miou_present: mean over the classes that it has; miou_agnostic: "
            "free and occupied (the original's val_miou_vox_agn). Points: class of "
            "the feature at each labeled lidar point, all and those that a camera sees.",
            {
                "voxels": _COUNTS,
                "agnostic": _COUNTS,
                "points": _COUNTS,
                "points_visible": _COUNTS,
            },
            vocabulary=CLASS_NAMES[1 : NUM_CLASSES + 1],
            published=OCCUPANCY,
        )
    ]
    if truth.retrieval:
        found += [
            Benchmark(
                f"{_RETRIEVAL}{name}",
                f"{_RETRIEVAL}{name}",
                "map",
                "Average precision of lidar points by the product of their feature and the query, "
                "mean over queries; visible: over the points that cameras see, one per camera.",
                dict(_QUERY_COLUMNS),
                published=RETRIEVAL[name],
            )
            for name in _listed_splits(truth)
        ]
    if truth.retrieval and truth.targets:
        found += [
            Benchmark(
                f"{_RETRIEVAL}{name}{_TARGETS}",
                f"{_RETRIEVAL}{name}{_TARGETS}",
                "map_visible",
                "The same queries answered by the features that training learns, at the points "
                "that cameras see, one per camera; no network takes part.",
                dict(_QUERY_COLUMNS),
                published=RETRIEVAL_TARGETS[name],
            )
            for name in _listed_splits(truth)
        ]
    if truth.occ3d:
        found.append(
            Benchmark(
                _OCC3D,
                _OCC3D,
                "miou",
                "Occ3D-nuScenes: voxels of 0.4 m in the vehicle's frame, read off the planes at "
                "their centers; mean IoU of 17 labels in the cameras' mask (miou), in both masks, "
                "and everywhere; RayIoU at 1, 2 and 4 m from the lidar's place.",
                {**{f"voxels_{mask}": _COUNTS for mask in _MASKS}, "rays": _COUNTS},
                vocabulary=("others", *CLASS_NAMES[1 : NUM_CLASSES + 1]),
                published=OCC3D,
            )
        )
    return found


def score_frame(
    benchmark: str, sample: EvaluationSample, prediction: FramePrediction, grid: GridSettings
) -> Mapping[str, Any]:
    """Return the row of one unit.

    Raises:
        InputError: The sample does not have what the benchmark compares with.
    """
    if benchmark == _OCCUPANCY:
        return _score_occupancy(sample, prediction, grid)
    if benchmark == _OCC3D:
        return _score_occ3d(sample, prediction)
    return _score_query(sample, prediction)


def compute_benchmark(benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
    """Return the metrics over all units' rows, in percent."""
    if benchmark == _OCCUPANCY:
        return _compute_occupancy(rows)
    if benchmark == _OCC3D:
        return _compute_occ3d(rows)
    return _compute_retrieval(rows)


def _score_occupancy(
    sample: EvaluationSample, prediction: FramePrediction, grid: GridSettings
) -> Mapping[str, Any]:
    if sample.classes is None or sample.visible is None:
        raise InputError(f"key frame {sample.frame.token} was read without labels")
    truth = evaluation_labels(sample.frame.points, sample.classes, grid)
    voxels = count_labels(truth, prediction.labels)
    agnostic = agnostic_labels(truth, majority_labels(sample.frame.points, sample.classes, grid))
    occupied = (prediction.labels != FREE_LABEL).astype(np.uint8)
    seen = np.unique(sample.visible)
    return {
        "voxels": voxels.ravel().tolist(),
        "agnostic": _count_states(agnostic, occupied).ravel().tolist(),
        "points": _count_points(sample.classes, prediction.point_labels),
        "points_visible": _count_points(sample.classes[seen], prediction.point_labels[seen]),
    }


def _count_states(
    truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    """Count voxels by true and predicted state, free and occupied, ``(2, 2)``."""
    seen = truth != IGNORED_LABEL
    return confusion_matrix(truth[seen], predicted[seen], 2)[:, :2]


def _count_points(classes: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8]) -> list[int]:
    labeled = classes > 0
    counts = confusion_matrix(classes[labeled] - 1, predicted[labeled] - 1, NUM_CLASSES)
    return counts[:, :NUM_CLASSES].ravel().tolist()


def _compute_occupancy(rows: Iterable[Mapping[str, Any]]) -> Metrics:
    voxels = np.zeros((NUM_LABELS, NUM_LABELS), dtype=np.int64)
    states = np.zeros((2, 2), dtype=np.int64)
    points = {"points": np.zeros((NUM_CLASSES, NUM_CLASSES), dtype=np.int64)}
    points["points_visible"] = points["points"].copy()
    for row in rows:
        voxels += np.asarray(row["voxels"]).reshape(voxels.shape)
        states += np.asarray(row["agnostic"]).reshape(states.shape)
        for name, total in points.items():
            total += np.asarray(row[name]).reshape(total.shape)
    iou = occupancy_iou([voxels])
    of_points = {name: _present_iou(total) for name, total in points.items()}
    names = CLASS_NAMES[1 : FREE_LABEL + 1]
    per_class: dict[str, dict[str, float]] = {
        name: {"iou": _PERCENT * float(iou.per_class[k])} for k, name in enumerate(names)
    }
    for k, name in enumerate(names[:NUM_CLASSES]):
        for kind, values in of_points.items():
            per_class[name][f"iou_{kind}"] = _PERCENT * float(values[k])
    return Metrics(
        {
            "miou_17": _PERCENT * iou.mean_17,
            "miou_16": _PERCENT * iou.mean_16,
            "miou_present": _PERCENT * iou.mean_present,
            "geometric_iou": _PERCENT * iou.geometric,
            "miou_agnostic": _PERCENT * _nan_mean(_present_iou(states)),
            "miou_points": _PERCENT * _nan_mean(of_points["points"]),
            "miou_points_visible": _PERCENT * _nan_mean(of_points["points_visible"]),
        },
        per_class,
    )


def _score_query(sample: EvaluationSample, prediction: FramePrediction) -> Mapping[str, Any]:
    if sample.truth is None or sample.visible is None or prediction.query_scores is None:
        raise InputError(f"key frame {sample.frame.token} was read without a query")
    seen = sample.truth[sample.visible]
    if sample.match_features is None:
        precision, visible = average_precisions(
            sample.truth, prediction.query_scores, sample.visible
        )
    else:
        # Features exist where cameras look, one per camera: there is no answer for all points.
        precision = visible = float("nan")
        if seen.any():
            every = np.arange(len(seen))
            visible, _ = average_precisions(seen, prediction.query_scores, every)
    return {
        "query": sample.query,
        "ap": precision,
        "ap_visible": visible,
        "base_rate": float(sample.truth.mean()),
        "base_rate_visible": float(seen.mean()) if len(seen) else float("nan"),
    }


def _compute_retrieval(rows: Iterable[Mapping[str, Any]]) -> Metrics:
    listed = list(rows)
    columns = {"map": "ap", "map_visible": "ap_visible", "base_rate": "base_rate"}
    columns["base_rate_visible"] = "base_rate_visible"
    values = {
        name: _PERCENT * _nan_mean(np.array([row[column] for row in listed], dtype=np.float64))
        for name, column in columns.items()
    }
    by_text: dict[str, list[Mapping[str, Any]]] = {}
    for row in listed:
        by_text.setdefault(row["query"], []).append(row)
    per_query = {
        text: {
            name: _PERCENT * _nan_mean(np.array([row[name] for row in same], dtype=np.float64))
            for name in ("ap", "ap_visible")
        }
        for text, same in by_text.items()
    }
    return Metrics(values, per_query)


def _score_occ3d(sample: EvaluationSample, prediction: FramePrediction) -> Mapping[str, Any]:
    truth = sample.occ3d
    if truth is None or prediction.place_labels is None:
        raise InputError(f"key frame {sample.frame.token} was read without Occ3D's truth")
    ours = prediction.place_labels.reshape(truth.labels.shape)
    masks = {
        "camera": truth.seen_by_cameras,
        "both": truth.seen_by_cameras & truth.seen_by_lidar,
        "all": None,
    }
    origin = np.array([0.0, 0.0, _LIDAR_HEIGHT_M])
    return {
        **{
            f"voxels_{name}": count_voxels(truth.labels, ours, mask).ravel().tolist()
            for name, mask in masks.items()
        },
        "rays": count_rays(truth.labels, ours, [origin], lidar_rays()).ravel().tolist(),
    }


def _compute_occ3d(rows: Iterable[Mapping[str, Any]]) -> Metrics:
    totals = {mask: np.zeros((OCC3D_LABELS, OCC3D_LABELS), dtype=np.int64) for mask in _MASKS}
    rays = np.zeros((2 + len(RAY_TOLERANCES_M), NUM_SEMANTIC), dtype=np.int64)
    for row in rows:
        for mask, total in totals.items():
            total += np.asarray(row[f"voxels_{mask}"]).reshape(total.shape)
        rays += np.asarray(row["rays"]).reshape(rays.shape)
    iou = {mask: semantic_iou(total) for mask, total in totals.items()}
    by_distance = ray_iou(rays)
    values = {
        "miou": _PERCENT * _nan_mean(iou["camera"]),
        "miou_both_masks": _PERCENT * _nan_mean(iou["both"]),
        "miou_no_mask": _PERCENT * _nan_mean(iou["all"]),
        "geometric_iou": _PERCENT * _geometric(totals["camera"]),
        "ray_iou": _PERCENT * _nan_mean(by_distance),
    }
    for distance, row in zip(RAY_TOLERANCES_M, by_distance, strict=True):
        values[f"ray_iou_{distance:g}m"] = _PERCENT * _nan_mean(row)
    names = ("others", *CLASS_NAMES[1 : NUM_CLASSES + 1])
    per_class = {
        name: {
            "iou": _PERCENT * float(iou["camera"][k]),
            "ray_iou": _PERCENT * _nan_mean(by_distance[:, k]),
        }
        for k, name in enumerate(names)
    }
    return Metrics(values, per_class)


def _geometric(counts: npt.NDArray[np.int64]) -> float:
    free = OCC3D_LABELS - 1
    either = counts.sum() - counts[free, free]
    return float(counts[:free, :free].sum() / either) if either else float("nan")


def _present_iou(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the IoUs of classes that occur; NaN for others."""
    seen, correct = counts.sum(axis=1), np.diag(counts)
    union = seen + counts.sum(axis=0) - correct
    return np.where(seen > 0, correct / np.maximum(union, 1), np.nan)


def _nan_mean(values: npt.NDArray[np.floating[Any]]) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")


def asks_targets(source: str) -> bool:
    """Return whether a benchmark's source has the extractor's features, not the network's."""
    return source.startswith(_RETRIEVAL) and source.endswith(_TARGETS)


def _listed_splits(truth: TruthSettings) -> list[str]:
    """Return the retrieval benchmarks whose splits have a list of queries."""
    folder = Path(truth.retrieval)
    return [
        name
        for name, splits in RETRIEVAL_SPLITS.items()
        if all(queries_file(folder, split).is_file() for split in splits)
    ]


def splits_of(source: str) -> Sequence[str]:
    """Return the splits of key frames that a benchmark's source reads."""
    if source.startswith(_RETRIEVAL):
        return RETRIEVAL_SPLITS[source.removeprefix(_RETRIEVAL).removesuffix(_TARGETS)]
    return (VAL,)
