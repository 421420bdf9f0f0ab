"""When to validate in training, on which weights, and which checkpoint is the best so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from eagleray.task import Benchmark, Dataset, SettingsError
from eagleray.train.average import MovingAverage
from eagleray.train.job import Place, TrainJob
from eagleray.train.snapshot import fill_model
from eagleray.train.strategies import Strategy
from eagleray.train.validate import find_benchmark, validate


class Validator:
    """Validates the weights that would be published.

    A moving average, or weights sharded by ZeRO 3, are evaluated in a second instance of the model;
    plain weights where they are.

    Args:
        job: Names the benchmark.
        place: This rank.

    Raises:
        SettingsError: The benchmark is unknown or has no map-style data.
    """

    def __init__(self, job: TrainJob, place: Place) -> None:
        self._job, self._place = job, place
        self._settings = job.experiment.train.validate_on
        self._benchmark: Benchmark | None = None
        self._data: Dataset | None = None
        self._copy: nn.Module | None = None
        if self._settings.benchmark is not None:
            self._benchmark = find_benchmark(job.task, self._settings.benchmark)
            data = job.task.dataset(self._benchmark.source, job.rows)
            if not isinstance(data, Dataset):
                raise SettingsError(
                    f"train.validate_on.benchmark {self._benchmark.name!r} has no map-style data; "
                    "choose another"
                )
            self._data = data

    def is_due(self, step: int, *, at_end: bool) -> bool:
        """Return whether to validate after so many steps of the phase."""
        return self._benchmark is not None and (at_end or step % self._settings.every == 0)

    def run(self, strategy: Strategy, average: MovingAverage | None) -> dict[str, float]:
        """Return the benchmark's metrics (collective, alike on all ranks)."""
        benchmark, data = self._required()
        strategy.sync_buffers()
        model = strategy.model
        if average is not None or strategy.is_sharded:
            if self._copy is None:
                self._copy = self._job.task.build().to(self._place.device)
            model = self._copy
            fill_model(model, strategy, average)
        return validate(
            self._job.task,
            model,
            benchmark,
            data,
            units=self._settings.units,
            batch_size=self._job.experiment.evaluate.batch_size,
        )

    def score(
        self, values: Mapping[str, Any], best: float | None
    ) -> tuple[str, float | None, bool]:
        """Return the ranking metric's name, its value and whether it beats the best so far.

        Raises:
            SettingsError: The metric is not among the values.
        """
        benchmark, _ = self._required()
        metric = self._settings.metric or benchmark.metric
        if metric not in values:
            raise SettingsError(
                f"the best checkpoint is chosen by {metric!r}, but benchmark {benchmark.name!r} "
                f"computes {', '.join(sorted(values))}; set train.validate_on.metric to one of them"
            )
        value = float(values[metric])
        if value != value:
            return metric, None, False
        asked = self._settings.higher_is_better
        is_higher = benchmark.higher_is_better if asked is None else asked
        sign = 1.0 if is_higher else -1.0
        return metric, value, best is None or sign * value > sign * best

    def _required(self) -> tuple[Benchmark, Dataset]:
        if self._benchmark is None or self._data is None:
            raise SettingsError("train.validate_on.benchmark is not set")
        return self._benchmark, self._data
