"""The index as a stage: its items are the units of a split, its records what is kept of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from eagleray.devices import to_device
from eagleray.evaluate.arithmetic import Arithmetic, Precision
from eagleray.evaluate.stage import load_model
from eagleray.prepare.computed import rows_at
from eagleray.task import Item, Querying, Record, Resources, Rows, Settings, Stage


class IndexSettings(Settings):
    """What the rows of an index depend on, beside the weights."""

    task: str = Field(description="Name of the task.")
    settings: dict[str, Any] = Field(description="The task's settings.")
    split: str = Field(description="Split that is indexed.")
    prepared: dict[str, str] = Field(description="Listing of the prepared data by stage label.")
    units: int | None = Field(description="Number of first units, None = all.")
    precision: Precision = Field(description="Arithmetic.")


class IndexStage(Stage):
    """Predicts the units of one split with one checkpoint, and keeps what texts are compared with.

    Args:
        task: The task.
        weights: The checkpoint's ``model.safetensors``.
        settings: What the rows depend on.
        rows: Rows of the prepared stages by label.
        batch_size: Units per forward pass.
        gpus: GPUs per worker.
        arithmetic: How the model computes.
    """

    name = "index"

    def __init__(
        self,
        task: Querying,
        weights: Path,
        settings: IndexSettings,
        rows: Mapping[str, Rows],
        *,
        batch_size: int,
        gpus: float,
        arithmetic: Arithmetic,
    ) -> None:
        self._task, self._weights, self._settings = task, weights, settings
        self._rows, self._arithmetic = rows, arithmetic
        self.source = settings.split
        self.schema = dict(task.index_schema)
        self.fit_items = task.fit_units
        self.resources = Resources(batch_size=batch_size, gpus=gpus, seconds_per_item=1.0)

    def settings(self) -> IndexSettings:
        """Return what the rows depend on."""
        return self._settings

    def weights(self) -> Sequence[Path]:
        """Return the checkpoint: its checksum is part of the fingerprint."""
        return (self._weights,)

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the split's units."""
        units = self._task.query_units(self._settings.split, self._rows)
        total = len(units) if self._settings.units is None else self._settings.units
        for index in range(min(total, len(units))):
            key = units.key(index)
            yield Item(key, key, {"index": index})

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Open the data and load the checkpoint."""
        self._device, self._fitted = torch.device(device), fitted
        rows = rows_at(self._rows, self._device)
        self._units = self._task.query_units(self._settings.split, rows)
        self._model = load_model(self._task, self._weights, self._device)
        self._arithmetic.apply(self._model)

    def load(self, item: Item) -> Any:
        """Read one unit; randomness is fixed."""
        sample = self._units.load(int(item.payload["index"]), np.random.default_rng(0))
        return item.key, sample

    def fit(self, samples: Iterable[Any]) -> Mapping[str, Any]:
        """Have the task fit what all rows share, on predictions of some units."""
        return self._task.fit_index(self._predicted([sample])[0] for _, sample in samples)

    def process(self, samples: Sequence[Any]) -> Sequence[Sequence[Record]]:
        """Predict a batch and make a row of each unit."""
        predictions = self._predicted([sample for _, sample in samples])
        return [
            [Record(key, self._task.index_row(sample, prediction, self._fitted))]
            for (key, sample), prediction in zip(samples, predictions, strict=True)
        ]

    def _predicted(self, samples: Sequence[Any]) -> Sequence[Any]:
        with torch.inference_mode(), self._arithmetic.autocast(self._device):
            return self._task.predict(self._model, to_device(list(samples), self._device))
