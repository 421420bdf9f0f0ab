"""Evaluation: predict, score, compute and picture on the first units of every benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

from eagleray.check.data import check_movable, load_samples, open_data
from eagleray.check.findings import CheckReport
from eagleray.check.training import check_modes, training_modes
from eagleray.evaluate.stage import encode_png, layer_files
from eagleray.prepare import with_upstream
from eagleray.prepare.columns import arrow_schema, row_at, to_parquet, to_table
from eagleray.task import (
    Benchmark,
    Dataset,
    EaglerayError,
    Evaluation,
    Inference,
    Metrics,
    Record,
    Rows,
)

_COUNTS = (0, 1, 4)
"""Numbers of units that ``compute`` is tried on."""


@dataclass
class Pictures:
    """Photographs that a benchmark's pictures show: they stand for a user's own files."""

    inputs: list[bytes] = field(default_factory=list)


def check_evaluation(
    task: Evaluation,
    model: nn.Module,
    rows: Mapping[str, Rows],
    num_items: int,
    report: CheckReport,
) -> Pictures:
    """Check a task's benchmarks; return the pictures called ``input`` as PNG."""
    benchmarks: Sequence[Benchmark] = ()
    pictures = Pictures()
    with report.checking("benchmarks are listed", "evaluation"):
        benchmarks = list(task.benchmarks())
        names = [benchmark.name for benchmark in benchmarks]
        if len(set(names)) < len(names):
            report.add("benchmarks are listed", "evaluation", f"a name is given twice: {names}")
        unknown = sorted({part for one in benchmarks for part in one.mean_of} - set(names))
        if unknown:
            report.add("benchmarks are listed", "evaluation", f"means of unknown ones: {unknown}")
    for benchmark in (one for one in benchmarks if not one.mean_of):
        _check_benchmark(task, model, benchmark, rows, num_items, report, pictures)
    return pictures


def _check_benchmark(
    task: Evaluation,
    model: nn.Module,
    benchmark: Benchmark,
    rows: Mapping[str, Rows],
    num_items: int,
    report: CheckReport,
    pictures: Pictures,
) -> None:
    where = f"benchmark {benchmark.name}"
    check = "its stages and settings are known"
    read: dict[str, Rows] = {}
    with report.checking(check, where):
        labels = task.stages_of(benchmark.source)
        unknown = sorted(set(labels) - {stage.label for stage in task.stages()})
        if unknown:
            report.add(check, where, f"stages_of() names stages that there are not: {unknown}")
        read = {label: rows[label] for label in with_upstream(list(task.stages()), labels)}
        task = task.on_benchmark(benchmark)
    if not report.is_clean(where):
        return
    data = open_data(task, benchmark.source, read, where, report)
    if data is None:
        return
    if not isinstance(data, Dataset):
        report.add(
            "data can be opened",
            where,
            f"dataset({benchmark.source!r}) gives {type(data).__name__}; a benchmark needs a "
            "Dataset",
        )
        return
    keys, samples = load_samples(data, num_items, where, report)
    if not samples:
        return
    check_movable(samples[0], "a sample of load()", where, report)
    predictions = predicted(task, model, samples, where, report)
    if predictions is None:
        return
    scored: list[Record] = []
    with report.checking("score fits the schema", where):
        for key, sample, prediction in zip(keys, samples, predictions, strict=True):
            scored.append(Record(key, task.score(benchmark.name, sample, prediction)))
        stored = _stored_rows(scored, benchmark)
        _check_compute(task, benchmark, stored, where, report)
        tuple(task.diagnostics(benchmark.name, iter(stored)))
    with report.checking("pictures are RGB", where):
        for sample, prediction in zip(samples, predictions, strict=True):
            shown = task.picture(sample, prediction)
            _check_pictures(shown, where, report)
            layers = task.layers(sample, prediction)
            if layers is not None:
                layer_files("unit", layers)
            if "input" in shown:
                pictures.inputs.append(encode_png(shown["input"]))


def predicted(
    task: Inference, model: nn.Module, samples: Sequence[Any], where: str, report: CheckReport
) -> Sequence[Any] | None:
    """Return one prediction per sample, None with a finding."""
    model.eval()
    modes = training_modes(model)
    predictions: Sequence[Any] | None = None
    check = "predict gives one per sample"
    with report.checking(check, where):
        with torch.inference_mode():
            predictions = list(task.predict(model, list(samples)))
        if len(predictions) != len(samples):
            report.add(
                check,
                where,
                f"predict() gives {len(predictions)} predictions for {len(samples)} samples",
            )
            predictions = None
    check_modes(model, modes, "predict()", where, report)
    return predictions


def _stored_rows(scored: list[Record], benchmark: Benchmark) -> list[Mapping[str, Any]]:
    """Return rows as ``compute`` gets them, read back from Parquet."""
    schema = arrow_schema(benchmark.schema)
    content = to_parquet([to_table([record], "", schema) for record in scored], schema)
    table = pq.read_table(BytesIO(content))
    return [row_at(table, index) for index in range(len(table))]


def _check_compute(
    task: Evaluation,
    benchmark: Benchmark,
    rows: Sequence[Mapping[str, Any]],
    where: str,
    report: CheckReport,
) -> None:
    for count in sorted({min(count, len(rows)) for count in _COUNTS}):
        check = f"compute works on {count} units"
        with report.checking(check, where):
            try:
                metrics = task.compute(benchmark.name, iter(rows[:count]))
            except EaglerayError:
                if count == len(rows):
                    raise
                continue  # too few units may be refused, in words
            if not isinstance(metrics, Metrics):
                report.add(check, where, f"compute() gives {type(metrics).__name__}, no Metrics")
                return
            if benchmark.metric not in metrics.values:
                report.add(
                    check,
                    where,
                    f"the benchmark is ranked by {benchmark.metric!r}, but compute() gives "
                    f"{sorted(metrics.values)}",
                )
                return
            values = {name: float(value) for name, value in metrics.values.items()}
            json.dumps(
                {c: {k: float(v) for k, v in p.items()} for c, p in metrics.per_class.items()}
            )
            if count == len(rows) and not np.isfinite(values[benchmark.metric]):
                report.skip(f"{where}, value of {benchmark.metric}", "it is not a number on these")


def _check_pictures(shown: Any, where: str, report: CheckReport) -> None:
    check = "pictures are RGB"
    if not isinstance(shown, Mapping):
        report.add(check, where, f"picture() gives {type(shown).__name__}; give pictures by name")
        return
    sizes = {}
    for name, image in shown.items():
        kind = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
            report.add(check, where, f"picture {name!r} is {kind}; it must be uint8 (H, W, 3)")
            return
        if image.shape[2] != 3:
            report.add(check, where, f"picture {name!r} is {kind}; it must be uint8 (H, W, 3)")
            return
        sizes[name] = image.shape[:2]
    if len(set(sizes.values())) > 1:
        report.add(check, where, f"pictures of one unit must have one size, found {sizes}")
