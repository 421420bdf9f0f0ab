"""Validation inside training: every rank scores its units, rank 0 computes over all of them in unit
order.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from eagleray.task import Benchmark, Dataset, InputError, SettingsError, Task

_log = logging.getLogger(__name__)


def find_benchmark(task: Task, name: str) -> Benchmark:
    """Return a task's benchmark by name.

    Raises:
        SettingsError: There is none of that name.
    """
    known = {b.name: b for b in task.benchmarks()}
    if name not in known:
        raise SettingsError(
            f"train.validate_on.benchmark is {name!r}, but task {task.name!r} has "
            f"{sorted(known) or 'none'}"
        )
    return known[name]


def validate(
    task: Task,
    model: nn.Module,
    benchmark: Benchmark,
    data: Dataset,
    *,
    units: int | None,
    batch_size: int,
) -> dict[str, float]:
    """Return the benchmark's scalar metrics of the model as it is (collective, alike on all ranks).

    Args:
        task: Predicts, scores and computes.
        model: Whole weights on this rank; its training mode is restored.
        benchmark: What to score.
        data: The benchmark's units.
        units: Only the first so many; None for all.
        batch_size: Units per prediction.

    Units that cannot be read are left out and counted as ``rejected``.
    """
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    count = min(units or len(data), len(data))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            own = _score(task, model, benchmark, data, range(rank, count, world_size), batch_size)
    finally:
        model.train(was_training)
    rows = _gather(own, world_size)
    values: list[dict[str, float]] = [{}]
    if rank == 0:
        metrics = task.compute(benchmark.name, [rows[i] for i in sorted(rows)])
        values = [{k: float(v) for k, v in metrics.values.items()}]
        if len(rows) < count:
            values[0]["rejected"] = float(count - len(rows))
    if world_size > 1:
        dist.broadcast_object_list(values, src=0)
    return values[0]


def _score(
    task: Task,
    model: nn.Module,
    benchmark: Benchmark,
    data: Dataset,
    units: Sequence[int],
    batch_size: int,
) -> dict[int, Mapping[str, Any]]:
    rows: dict[int, Mapping[str, Any]] = {}
    for start in range(0, len(units), batch_size):
        samples = {}
        for i in units[start : start + batch_size]:
            try:
                samples[i] = data.load(i, np.random.default_rng(0))
            except InputError as error:
                _log.warning("validation leaves out %s: %s", data.key(i), error)
        predictions = task.predict(model, list(samples.values())) if samples else ()
        for (i, sample), prediction in zip(samples.items(), predictions, strict=True):
            rows[i] = task.score(benchmark.name, sample, prediction)
    return rows


def _gather(own: dict[int, Mapping[str, Any]], world_size: int) -> dict[int, Mapping[str, Any]]:
    if world_size == 1:
        return own
    parts: list[dict[int, Mapping[str, Any]] | None] = [None] * world_size
    dist.all_gather_object(parts, own)
    return {i: row for part in parts if part is not None for i, row in part.items()}
