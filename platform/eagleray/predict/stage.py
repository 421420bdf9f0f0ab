"""Prediction as a stage: its items are a user's files, its results the exported files.

Exports are written straight to the output folder (whole files, nothing half-written); the rows
remember what was written, so that the same command goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from eagleray.evaluate.stage import load_model
from eagleray.storage import Store
from eagleray.task import Item, Record, Resources, Rows, Settings, Stage, Task


class PredictSettings(Settings):
    """What exported files depend on, beside the weights."""

    task: str = Field(description="Name of the task.")
    settings: dict[str, Any] = Field(description="The task's settings.")
    formats: tuple[str, ...] = Field(description="Export formats.")


class PredictStage(Stage):
    """Predicts and exports a user's files.

    Args:
        task: The task.
        weights: A checkpoint's ``model.safetensors``.
        settings: What the exports depend on.
        paths: Files and folders.
        output: Where exports are written.
        batch_size: Files per forward pass.
        gpus: GPUs per worker.
    """

    name = "predict"

    def __init__(
        self,
        task: Task,
        weights: Path,
        settings: PredictSettings,
        paths: Sequence[Path],
        output: Store,
        *,
        batch_size: int,
        gpus: float,
    ) -> None:
        self._task, self._weights, self._settings = task, weights, settings
        self._paths, self._output = list(paths), output
        self.schema = {"index": "string", "files": "list<string>"}
        self.resources = Resources(
            batch_size=batch_size, gpus=gpus, seconds_per_item=1.0, loader_threads=2
        )

    def settings(self) -> PredictSettings:
        """See Stage."""
        return self._settings

    def weights(self) -> Sequence[Path]:
        """See Stage."""
        return (self._weights,)

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the files as the task reads them."""
        return self._task.inputs(self._paths)

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Load the checkpoint."""
        self._model = load_model(self._task, self._weights, torch.device(device))

    def load(self, item: Item) -> Any:
        """Decode one file."""
        return item, self._task.load_input(item)

    def process(self, samples: Sequence[Any]) -> Sequence[Sequence[Record]]:
        """Predict a batch and write its exports."""
        with torch.inference_mode():
            predictions = self._task.predict(self._model, [sample for _, sample in samples])
        return [
            [self._export(item, sample, prediction)]
            for (item, sample), prediction in zip(samples, predictions, strict=True)
        ]

    def _export(self, item: Item, sample: Any, prediction: Any) -> Record:
        written, index = [], {}
        for format_name in self._settings.formats:
            record = self._task.export(item, sample, prediction, format_name)
            for name, content in record.files.items():
                self._output.write(name, content)
                written.append(name)
            index[format_name] = dict(record.row)
        return Record(item.key, {"index": json.dumps(index, sort_keys=True), "files": written})
