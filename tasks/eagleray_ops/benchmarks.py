"""Benchmarks of OPS: COCO-Stuff, and the panoramas that it was never trained on.

Every benchmark brings the words of its data set, so one call evaluates several of them with one
trained model. Stanford2D3D is three folds, each a benchmark, and one more that is
their mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import Benchmark, InputError, Metrics, PublishedResult
from eagleray_ops.settings import OpsSettings
from eagleray_ops.stages import (
    MATTERPORT3D_VAL,
    RERP_VAL,
    VAL,
    WILDPASS_VAL,
    area_source,
)
from eagleray_ops.training_words import training_words
from eagleray_vision.datasets.indoor_panoramas import AREAS, MATTERPORT3D, STANFORD2D3D
from eagleray_vision.datasets.wildpass import WILDPASS
from eagleray_vision.metrics.mean_iou import (
    MeanIou,
    compute_mean_iou,
    confusion_matrix,
    mean_accuracy,
)
from eagleray_vision.metrics.panorama_iou import (
    ROW_SCHEMA,
    PanoramaStatistics,
    compute_panorama_iou,
    panorama_statistics,
)
from eagleray_vision.panoptic.label_space import VOID_CLASS
from eagleray_vision.samples.semantic import SemanticPrediction, SemanticSample

COCO_VAL, COCO_RERP = "coco_val", "coco_val_rerp"
WILDPASS_NAME, MATTERPORT3D_NAME, STANFORD2D3D_NAME = "wildpass", "matterport3d", "stanford2d3d"
METRIC = "miou"

_COCO_SCHEMA = {"confusion": "list<int64>"}
_PERCENT = 100.0
_RULE = (
    "Mean IoU over the data set, 255 left out, classes that never occur left out; argmax at the "
    "size of the labels."
)


def fold_name(fold: int) -> str:
    """Return the name of the benchmark of a fold of Stanford2D3D, 1 to 3."""
    return f"{STANFORD2D3D_NAME}_fold{fold}"


def ops_benchmarks(
    settings: OpsSettings, published: Mapping[str, Sequence[PublishedResult]]
) -> tuple[Benchmark, ...]:
    """Return all benchmarks; the first one is that of validation.

    Args:
        settings: Settings of the experiment.
        published: Published numbers by the benchmark's name.
    """
    sizes, inference = settings.input, settings.inference
    resized = f"Short side {sizes.short_edge_px}, long side at most {sizes.long_edge_px}"
    windows = f"windows of {inference.window_px} by steps of {inference.stride_px}"
    whole = {"inference": {"window_px": sizes.long_edge_px, "stride_px": sizes.long_edge_px}}

    def coco(name: str, source: str, what: str) -> Benchmark:
        names = training_words(settings)
        return Benchmark(
            name,
            source,
            METRIC,
            f"{what}, {len(names)} classes. {resized}, the whole image at once. {_RULE}",
            _COCO_SCHEMA,
            vocabulary=names,
            published=tuple(published.get(name, ())),
            use={"vocabulary": names, **whole},
        )

    def panoramas(name: str, source: str, what: str, names: tuple[str, ...]) -> Benchmark:
        return Benchmark(
            name,
            source,
            METRIC,
            f"{what}. {resized}, {windows}. {_RULE}",
            ROW_SCHEMA,
            vocabulary=names,
            published=tuple(published.get(name, ())),
            use={"vocabulary": names},
        )

    stanford = STANFORD2D3D.class_names
    found = [coco(COCO_VAL, VAL, "COCO-Stuff 164k, validation split")]
    if settings.rerp.mode == "offline":
        found.append(coco(COCO_RERP, RERP_VAL, "The same, projected by RERP without shuffling"))
    found.append(
        panoramas(
            WILDPASS_NAME,
            WILDPASS_VAL,
            "WildPASS, 500 annular street panoramas, 8 classes",
            WILDPASS.class_names,
        )
    )
    found.append(
        panoramas(
            MATTERPORT3D_NAME,
            MATTERPORT3D_VAL,
            "360FV-Matterport, validation panoramas, 20 classes",
            MATTERPORT3D.class_names,
        )
    )
    folds = [
        panoramas(
            fold_name(fold),
            area_source(area),
            f"Stanford2D3D, fold {fold} ({area}), 13 classes",
            stanford,
        )
        for fold, area in enumerate(AREAS, start=1)
    ]
    what = "Stanford2D3D, 13 classes: the mean of the three folds' results"
    mean = panoramas(STANFORD2D3D_NAME, "", what, stanford)
    return (*found, *folds, replace(mean, mean_of=tuple(one.name for one in folds)))


def score_image(
    sample: SemanticSample, prediction: SemanticPrediction, benchmark: str, num_classes: int
) -> dict[str, Any]:
    """Return the row of one image: confusion matrices, on panoramas by where the pixels are.

    Args:
        sample: The image with its labels.
        prediction: What was predicted.
        benchmark: Name of the benchmark.
        num_classes: Number of classes.

    Raises:
        InputError: The image has no labels.
    """
    if sample.truth is None:
        raise InputError(f"{sample.key}: the image has no labels to score against")
    truth, found = sample.truth, prediction.classes
    if benchmark in (COCO_VAL, COCO_RERP):
        counts = confusion_matrix(truth, found, num_classes, VOID_CLASS)
        return {"confusion": counts.ravel().tolist()}
    statistics = panorama_statistics(truth, found, num_classes, VOID_CLASS)
    return statistics.to_row()


def compute_split(
    rows: Iterable[Mapping[str, Any]],
    benchmark: str,
    classes: Sequence[str],
    trained: Collection[str] = (),
) -> Metrics:
    """Turn the rows of a benchmark into metrics, in percent.

    Args:
        rows: Rows of `score_image`; they are gone through once.
        benchmark: Name of the benchmark.
        classes: Names of the classes.
        trained: Words that were trained on.

    Returns:
        ``miou``, ``pixel_accuracy``, ``mean_accuracy``, ``miou_new_words`` (classes whose names
        were not trained on), and both mean IoUs with ``_shuffled_words`` (see `_open_words`); on
        panoramas also ``miou_area`` (pixels count with their area on the sphere), ``miou_seam`` and
        ``miou_elsewhere``, and ``miou_latitude_60_90`` and so on; what has no labeled pixel is left
        out.
    """
    count = len(classes)
    if benchmark in (COCO_VAL, COCO_RERP):
        shape = (count, count + 1)
        matrix = sum(
            (np.asarray(row["confusion"], np.int64).reshape(shape) for row in rows),
            start=np.zeros(shape, np.int64),
        )
        iou = compute_mean_iou([matrix])
        values = {**_usual(iou, mean_accuracy(matrix)), **_open_words(matrix, classes, trained)}
        return Metrics(values, _per_class(iou, classes))
    total: PanoramaStatistics | None = None
    for row in rows:
        one = PanoramaStatistics.from_row(row, count)
        total = one if total is None else total + one
    return _panorama_metrics([] if total is None else [total], classes, trained)


def sum_confusion(
    rows: Iterable[Mapping[str, Any]], benchmark: str, num_classes: int
) -> npt.NDArray[np.int64]:
    """Return pixels by true and predicted class ``(C, C + 1)`` over all rows of a benchmark."""
    total = np.zeros((num_classes, num_classes + 1), np.int64)
    for row in rows:
        if benchmark in (COCO_VAL, COCO_RERP):
            total += np.asarray(row["confusion"], np.int64).reshape(total.shape)
        else:
            total += PanoramaStatistics.from_row(row, num_classes).bands.sum(axis=0)
    return total


def _panorama_metrics(
    statistics: Sequence[PanoramaStatistics], classes: Sequence[str], trained: Collection[str]
) -> Metrics:
    found = compute_panorama_iou(statistics)
    matrix = sum((one.bands.sum(axis=0) for one in statistics), start=np.int64(0))
    values = {
        **_usual(found.total, found.mean_accuracy),
        **_open_words(np.asarray(matrix), classes, trained),
        "miou_area": _PERCENT * found.area.mean,
    }
    for name, iou in (("seam", found.seam), ("elsewhere", found.elsewhere)):
        if iou is not None:
            values[f"miou_{name}"] = _PERCENT * iou.mean
    for (low, high), iou in found.bands.items():
        values[f"miou_latitude_{low}_{high}"] = _PERCENT * iou.mean
    return Metrics(values, _per_class(found.total, classes))


def _open_words(
    matrix: npt.NDArray[np.int64], classes: Sequence[str], trained: Collection[str]
) -> dict[str, float]:
    """Return mean IoU over names that were not trained on, and what shuffled words would give.

    With the rows of two words exchanged a network answers the one for the other, so words that are
    shuffled in a circle are columns of the confusion matrix that are: the mean over all such turns
    is what a network gets whose masks are as good and whose words mean nothing.
    """
    new = [index for index, name in enumerate(classes) if name not in trained]
    turned = [
        np.concatenate([np.roll(matrix[:, :-1], shift, axis=1), matrix[:, -1:]], axis=1)
        for shift in range(1, len(classes))
    ]
    named = {"": [matrix], "_shuffled_words": turned}
    values: dict[str, float] = {}
    for ending, matrices in named.items():
        if not matrices:
            continue
        each = np.array([compute_mean_iou([one]).per_class for one in matrices])
        # the classes that the truth has, so that both kinds of number are over the same ones
        there = matrix.sum(axis=1) > 0
        if ending:
            values[f"miou{ending}"] = _PERCENT * float(np.nanmean(each[:, there]))
        chosen = [index for index in new if there[index]]
        if trained and chosen:
            values[f"miou_new_words{ending}"] = _PERCENT * float(np.nanmean(each[:, chosen]))
    return values


def _usual(iou: MeanIou, accuracy: float) -> dict[str, float]:
    return {
        "miou": _PERCENT * iou.mean,
        "pixel_accuracy": _PERCENT * iou.pixel_accuracy,
        "mean_accuracy": _PERCENT * accuracy,
    }


def _per_class(iou: MeanIou, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    return {
        name: {"iou": _PERCENT * float(value)}
        for name, value in zip(classes, iou.per_class, strict=True)
        if not np.isnan(value)
    }
