"""Benchmarks: held-out views, objects and parts by click, Replica instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from eagleray.task import Benchmark, Metrics
from eagleray_omniseg3d.data import TEST, ClickSample, InstanceSample
from eagleray_omniseg3d.evaluation.image_quality import psnr_from_mse, ssim
from eagleray_omniseg3d.evaluation.replica_protocol import ObjectScore
from eagleray_omniseg3d.model.view_rendering import RenderedView, ViewSample
from eagleray_omniseg3d.predict import ClickPrediction
from eagleray_omniseg3d.published import REPLICA_INSTANCES, SYNTHETIC_NERF
from eagleray_omniseg3d.settings import OmniSeg3DSettings

VIEWS, OBJECTS, PARTS, REPLICA = "views", "object_clicks", "part_clicks", "replica_instances"
_PERCENT = 100.0

_VIEW_SCHEMA = {"mse": "float64", "ssim": "float64"}
_CLICK_SCHEMA = {
    "iou": "float64",
    "accuracy": "float64",
    "reference_iou": "float64",
    "threshold": "float64",
    "num_views": "int32",
}
_REPLICA_SCHEMA = {
    "iou": "float64",
    "threshold": "float64",
    "reference": "int32",
    "num_views": "int32",
}

_CLICK_PROTOCOL = (
    "One click per {what}, at the pixel deepest inside it in the training view that shows most of "
    "it; features are compared by their cosine. The threshold with the best IoU there is kept for "
    "all other views. A {what}'s IoU is the mean over the held-out views that show it; where no "
    "held-out view is labelled, the IoU in the clicked view. mIoU is the mean over {what}s."
)


def scene_benchmarks(settings: OmniSeg3DSettings) -> list[Benchmark]:
    """Return the benchmarks that the scene's truth allows."""
    found = []
    has_semantics = "semantics" in settings.phases
    if settings.data.labels and has_semantics:
        found.append(_click_benchmark(OBJECTS, "object"))
    if settings.data.part_labels and has_semantics:
        found.append(_click_benchmark(PARTS, "part"))
    is_synthetic = settings.data.format == "nerf_synthetic"
    found.append(
        Benchmark(
            VIEWS,
            TEST,
            "psnr",
            "Held-out views rendered at the training size; PSNR (dB) and SSIM per view, averaged.",
            _VIEW_SCHEMA,
            published=SYNTHETIC_NERF if is_synthetic else (),
        )
    )
    is_replica = settings.data.format in ("replica", "replica_small")
    if is_replica and settings.data.labels and has_semantics:
        found.append(
            Benchmark(
                REPLICA,
                REPLICA,
                "miou",
                "Per object the view that shows most of it prompts with its pixels (positive) and "
                "the rest (negative); the threshold is the best one there; IoU over all other "
                "views, averaged over objects. An object seen once scores 0. Published: mean of 8 "
                "scenes.",
                _REPLICA_SCHEMA,
                published=REPLICA_INSTANCES,
            )
        )
    return found


def score_view(sample: ViewSample, view: RenderedView) -> Mapping[str, Any]:
    """Return the row of a rendered view."""
    if sample.rgb is None:
        raise ValueError(f"view {sample.name} has no truth to score against")
    truth = sample.rgb.astype(np.float64) / 255.0
    image = view.rgb.astype(np.float64)
    return {"mse": float(np.square(image - truth).mean()), "ssim": ssim(image, truth)}


def score_click(sample: ClickSample, prediction: ClickPrediction) -> Mapping[str, Any]:
    """Return the row of a clicked object."""
    pairs = [(m, t) for m, (_, t) in zip(prediction.masks, sample.targets, strict=True)]
    return {
        "iou": float(np.mean([_iou(mask, truth) for mask, truth in pairs])),
        "accuracy": float(np.mean([(mask == truth).mean() for mask, truth in pairs])),
        "reference_iou": _iou(prediction.reference_mask, sample.reference_mask),
        "threshold": prediction.threshold,
        "num_views": len(pairs),
    }


def score_replica(sample: InstanceSample, score: ObjectScore) -> Mapping[str, Any]:
    """Return the row of an object of the Replica protocol."""
    return {
        "iou": score.iou,
        "threshold": score.threshold,
        "reference": score.reference_idx,
        "num_views": score.num_views,
    }


def compute_metrics(benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
    """Average the rows of a benchmark: dB for views, percent for masks."""
    table = list(rows)
    if benchmark == VIEWS:
        psnr = [psnr_from_mse(row["mse"]) for row in table]
        return Metrics({"psnr": _mean(psnr), "ssim": _mean([row["ssim"] for row in table])})
    values = {"miou": _PERCENT * _mean([row["iou"] for row in table])}
    if benchmark in (OBJECTS, PARTS):
        values["accuracy"] = _PERCENT * _mean([row["accuracy"] for row in table])
        values["reference_miou"] = _PERCENT * _mean([row["reference_iou"] for row in table])
    return Metrics(values)


def _click_benchmark(name: str, what: str) -> Benchmark:
    return Benchmark(name, name, "miou", _CLICK_PROTOCOL.format(what=what), _CLICK_SCHEMA)


def _iou(mask: Any, truth: Any) -> float:
    union = int((mask | truth).sum())
    return float((mask & truth).sum() / union) if union else 1.0


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
