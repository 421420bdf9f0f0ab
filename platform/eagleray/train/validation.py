"""Validation inside training: when, on which weights, and which checkpoint is the best so far.

Every rank scores its units, rank 0 computes over all of them in unit order.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from eagleray.contract.task import require
from eagleray.devices import device_of, to_device
from eagleray.prepare.streamed import ask_rows
from eagleray.task import BaseTask, Benchmark, Dataset, Evaluation, InputError, SettingsError
from eagleray.train.job import Place, TrainJob
from eagleray.train.phase_setup import PhasePlan
from eagleray.train.strategies.base import MovingAverage, Strategy, fill_model

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """What one validation gave, alike on all ranks.

    Args:
        values: The benchmark's metrics.
        metric: Name of the metric that checkpoints are ranked by.
        value: Its value.
        is_best: Whether it beats the best so far; never if it is not a number.
    """

    values: dict[str, float]
    metric: str
    value: float
    is_best: bool


class Validator:
    """Validates the weights that would be published.

    A moving average, or weights sharded by ZeRO 3, are evaluated in a second instance of the model;
    plain weights where they are.

    Args:
        job: Says how to validate.
        place: This rank.
        benchmark: Name of the task's benchmark.

    Raises:
        SettingsError: The benchmark is unknown or has no map-style data.
    """

    def __init__(self, job: TrainJob, place: Place, benchmark: str) -> None:
        self._job, self._place = job, place
        self._settings = job.experiment.train.validate_on
        self._benchmark = find_benchmark(job.task, benchmark)
        self._copy: nn.Module | None = None
        data = job.task.dataset(self._benchmark.source, job.rows)
        if not isinstance(data, Dataset):
            raise SettingsError(
                f"train.validate_on.benchmark {benchmark!r} has no map-style data; choose another"
            )
        self._data = data

    def is_due(self, plan: PhasePlan, step: int, *, at_end: bool) -> bool:
        """Return whether to validate after so many steps of the phase."""
        asked = self._settings
        is_border = plan.is_border(step, asked.every, asked.every_epochs)
        return at_end or (is_border and step >= asked.from_step)

    def run(
        self, strategy: Strategy, average: MovingAverage | None, best: float | None
    ) -> Validation:
        """Validate (collective).

        Args:
            strategy: Holds the weights.
            average: Moving average of the weights, if there is one.
            best: Best value of the ranking metric so far.

        Raises:
            SettingsError: The ranking metric is not among the values.
        """
        strategy.sync_buffers()
        model = strategy.model
        if average is not None or strategy.is_sharded:
            if self._copy is None:
                self._copy = self._job.task.build().to(self._place.device)
            model = self._copy
            fill_model(model, strategy, average)
        values = validate(
            require(self._job.task, Evaluation).on_benchmark(self._benchmark),
            model,
            self._benchmark,
            self._data,
            units=self._settings.units,
            batch_size=self._job.experiment.evaluate.batch_size,
            ask=self._ask,
        )
        return self._rank(values, best)

    def _ask(self, units: Sequence[int]) -> None:
        """Ask for the rows of the units that this rank scores next."""
        ask_rows(self._job.rows, self._data, units[: self._job.experiment.prepare.ahead])

    def _rank(self, values: dict[str, float], best: float | None) -> Validation:
        metric = self._settings.metric or self._benchmark.metric
        if metric not in values:
            raise SettingsError(
                f"the best checkpoint is chosen by {metric!r}, but benchmark "
                f"{self._benchmark.name!r} computes {', '.join(sorted(values))}; set "
                "train.validate_on.metric to one of them"
            )
        value, asked = float(values[metric]), self._settings.higher_is_better
        is_higher = self._benchmark.higher_is_better if asked is None else asked
        sign = 1.0 if is_higher else -1.0
        is_best = not math.isnan(value) and (best is None or sign * value > sign * best)
        return Validation(values, metric, value, is_best)


def find_benchmark(task: BaseTask, name: str) -> Benchmark:
    """Return a task's benchmark by name.

    Raises:
        SettingsError: There is none of that name.
    """
    known = {b.name: b for b in require(task, Evaluation).benchmarks()}
    if name not in known:
        raise SettingsError(
            f"train.validate_on.benchmark is {name!r}, but task {task.name!r} has "
            f"{sorted(known) or 'none'}"
        )
    if known[name].mean_of:
        raise SettingsError(
            f"train.validate_on.benchmark is {name!r}, a mean without units of its own; validate "
            f"on one of {', '.join(known[name].mean_of)}"
        )
    return known[name]


def validate(
    task: Evaluation,
    model: nn.Module,
    benchmark: Benchmark,
    data: Dataset,
    *,
    units: int | None,
    batch_size: int,
    ask: Callable[[Sequence[int]], None] = lambda units: None,
) -> dict[str, float]:
    """Return the benchmark's scalar metrics of the model as it is (collective, alike on all ranks).

    Args:
        task: Predicts, scores and computes.
        model: Whole weights on this rank; the mode of each of its modules is restored.
        benchmark: What to score.
        data: The benchmark's units.
        units: Only the first so many; None for all.
        batch_size: Units per prediction.
        ask: Told the units that are still to be scored, before each batch.

    Units that cannot be read are left out and counted as ``rejected``.

    Raises:
        InputError: No unit could be read.
    """
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    count = min(units or len(data), len(data))
    # One by one: what a task froze at the phase's beginning (batch norm) stays in eval mode.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            own_units = range(rank, count, world_size)
            own = _score(task, model, benchmark, data, own_units, batch_size, ask)
    finally:
        for module, was_training in modes:
            module.training = was_training
    rows = _gather(own, world_size)
    values: list[dict[str, float]] = [{}]
    if rank == 0:
        if not rows:
            raise InputError(
                f"validation on benchmark {benchmark.name!r} has no units to score: it has "
                f"{count}, none of which could be read"
            )
        try:
            metrics = task.compute(benchmark.name, [rows[i] for i in sorted(rows)])
        except Exception as error:
            error.add_note(f"while {benchmark.name!r} was computed over {len(rows)} units")
            raise
        values = [{k: float(v) for k, v in metrics.values.items()}]
        if len(rows) < count:
            values[0]["rejected"] = float(count - len(rows))
    if world_size > 1:
        dist.broadcast_object_list(values, src=0)
    return values[0]


def _score(
    task: Evaluation,
    model: nn.Module,
    benchmark: Benchmark,
    data: Dataset,
    units: Sequence[int],
    batch_size: int,
    ask: Callable[[Sequence[int]], None],
) -> dict[int, Mapping[str, Any]]:
    rows: dict[int, Mapping[str, Any]] = {}
    for start in range(0, len(units), batch_size):
        ask(units[start:])
        samples = {}
        for i in units[start : start + batch_size]:
            try:
                samples[i] = data.load(i, np.random.default_rng(0))
            except InputError as error:
                _log.warning("validation leaves out %s: %s", data.key(i), error)
        moved = to_device(list(samples.values()), device_of(model))
        predictions = task.predict(model, moved) if samples else ()
        for (i, sample), prediction in zip(samples.items(), predictions, strict=True):
            rows[i] = task.score(benchmark.name, sample, prediction)
    return rows


def _gather(own: dict[int, Mapping[str, Any]], world_size: int) -> dict[int, Mapping[str, Any]]:
    if world_size == 1:
        return own
    parts: list[dict[int, Mapping[str, Any]] | None] = [None] * world_size
    dist.all_gather_object(parts, own)
    return {i: row for part in parts if part is not None for i, row in part.items()}
