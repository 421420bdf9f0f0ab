"""The index as a stage: its items are the units of a split, its records what is kept of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from eagleray.evaluate.arithmetic import Arithmetic, Precision
from eagleray.evaluate.model_stage import UnitSettings, UnitStage
from eagleray.storage import SharedFile
from eagleray.task import Dataset, Item, Querying, Record, Rows


class IndexSettings(UnitSettings):
    """What the rows of an index depend on, beside the weights."""

    split: str = Field(description="Split that is indexed.")
    precision: Precision = Field(description="Arithmetic.")


class IndexStage(UnitStage[Querying, IndexSettings]):
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
        weights: SharedFile,
        settings: IndexSettings,
        rows: Mapping[str, Rows],
        *,
        batch_size: int,
        gpus: float,
        arithmetic: Arithmetic,
    ) -> None:
        super().__init__(
            task, weights, settings, rows, batch_size=batch_size, gpus=gpus, arithmetic=arithmetic
        )
        self.source = settings.split
        self.schema = dict(task.index_schema)
        self.fit_items = task.fit_units

    def dataset(self, rows: Mapping[str, Rows]) -> Dataset:
        """Return the split's units."""
        return self._task.query_units(self._settings.split, rows)

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Keep what was fitted, beside data and checkpoint."""
        super().setup(device, upstream, fitted)
        self._fitted = fitted

    def fit(self, samples: Iterable[Any]) -> Mapping[str, Any]:
        """Have the task fit what all rows share, on predictions of some units."""
        return self._task.fit_index(self._predicted([sample])[0] for _, sample in samples)

    def encode(self, processed: tuple[Item, Any, Any]) -> Sequence[Record]:
        """Make the row of a unit."""
        item, sample, prediction = processed
        return [Record(item.key, self._task.index_row(sample, prediction, self._fitted))]
