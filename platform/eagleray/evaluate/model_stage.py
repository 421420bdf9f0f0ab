"""Stages that predict with a checkpoint: of a user's files, or of the units of a dataset."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from eagleray.contract.prediction import Inference
from eagleray.devices import to_device
from eagleray.evaluate.arithmetic import Arithmetic
from eagleray.prepare.computed import rows_at
from eagleray.prepare.streamed import ask_rows
from eagleray.storage import SharedFile
from eagleray.task import Dataset, Item, ModelTask, Record, Resources, Rows, Settings, Stage


class UnitSettings(Settings):
    """What the rows of units depend on, beside the weights."""

    task: str = Field(description="Name of the task.")
    settings: dict[str, Any] = Field(description="The task's settings.")
    prepared: dict[str, str] = Field(description="Listing of the prepared data by stage label.")
    units: int | None = Field(description="Number of first units, None = all.")


T = TypeVar("T", bound=Inference)
O = TypeVar("O", bound=Settings)  # noqa: E741 - what the results depend on
U = TypeVar("U", bound=UnitSettings)


class ModelStage(Stage, Generic[T, O]):
    """Predicts with one checkpoint.

    Args:
        task: The task.
        weights: The checkpoint's ``model.safetensors``.
        settings: What the results depend on.
        arithmetic: How the model computes.
    """

    def __init__(self, task: T, weights: SharedFile, settings: O, arithmetic: Arithmetic) -> None:
        self._task, self._weights, self._settings = task, weights, settings
        self._arithmetic = arithmetic

    def settings(self) -> O:
        """Return what the results depend on."""
        return self._settings

    def weights(self) -> Sequence[Path]:
        """Return the checkpoint: its checksum is part of the fingerprint."""
        return (self._weights.local(),)

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Load the checkpoint."""
        self._device = torch.device(device)
        self._model = load_model(self._task, self._weights.local(), self._device)
        self._arithmetic.apply(self._model)

    def _predicted(self, samples: Sequence[Any]) -> Sequence[Any]:
        with torch.inference_mode(), self._arithmetic.autocast(self._device):
            return self._task.predict(self._model, to_device(list(samples), self._device))


class UnitStage(ModelStage[T, U]):
    """Predicts the units of a dataset: its items are the units, each loaded with fixed randomness.

    Args:
        task: The task.
        weights: The checkpoint's ``model.safetensors``.
        settings: What the rows depend on.
        rows: Rows of the prepared stages by label.
        batch_size: Units per forward pass.
        gpus: GPUs per worker.
        arithmetic: How the model computes.
        ahead: Units whose rows are asked for before they are read, where rows are not stored.
    """

    def __init__(
        self,
        task: T,
        weights: SharedFile,
        settings: U,
        rows: Mapping[str, Rows],
        *,
        batch_size: int,
        gpus: float,
        arithmetic: Arithmetic = Arithmetic(),  # noqa: B008 - frozen
        ahead: int = 1,
    ) -> None:
        super().__init__(task, weights, settings, arithmetic)
        self._rows, self._ahead = rows, ahead
        self.resources = Resources(batch_size=batch_size, gpus=gpus, seconds_per_item=1.0)

    @abstractmethod
    def dataset(self, rows: Mapping[str, Rows]) -> Dataset:
        """Return the units."""

    def payload(self, index: int) -> dict[str, Any]:
        """Return what a unit's item carries."""
        return {"index": index}

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the units."""
        units = self.dataset(self._rows)
        total = len(units) if self._settings.units is None else self._settings.units
        for index in range(min(total, len(units))):
            key = units.key(index)
            yield Item(key, key, self.payload(index))

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Open the data and load the checkpoint."""
        super().setup(device, upstream, fitted)
        self._rows = rows_at(self._rows, self._device)
        self._dataset = self.dataset(self._rows)
        self._lock = threading.Lock()
        self._coming: deque[int] = deque()
        self._asked: set[int] = set()

    def process(self, samples: Sequence[Any]) -> Sequence[tuple[Item, Any, Any]]:
        """Predict a batch; what is made of each prediction (``encode``) goes on behind the next."""
        predictions = self._predicted([sample for _, sample in samples])
        return [(*loaded, made) for loaded, made in zip(samples, predictions, strict=True)]

    @abstractmethod
    def encode(self, processed: tuple[Item, Any, Any]) -> Sequence[Record]:
        """Return the record of an item, its sample and its prediction."""

    def announce(self, items: Sequence[Item]) -> None:
        """Ask for the rows of units that are read soon."""
        with self._lock:
            self._coming.extend(int(item.payload["index"]) for item in items)
        self._ask_ahead()

    def _ask_ahead(self) -> None:
        with self._lock:
            room = max(0, self._ahead - len(self._asked))
            following = [self._coming.popleft() for _ in range(min(room, len(self._coming)))]
            self._asked.update(following)
        ask_rows(self._rows, self._dataset, following)

    def load(self, item: Item) -> Any:
        """Read one unit; randomness is fixed."""
        index = int(item.payload["index"])
        with self._lock:
            self._asked.discard(index)
        self._ask_ahead()
        return item, self._dataset.load(index, np.random.default_rng(0))


def load_model(task: ModelTask, weights: Path, device: torch.device) -> nn.Module:
    """Build a task's model with the weights of a checkpoint, ready for inference.

    Raises:
        SettingsError: The weights are damaged, hold NaN, or are not of this model.
    """
    from eagleray.train.weights import load_exactly

    model = task.build()
    load_exactly(task, model, weights)
    return model.to(device).eval()
