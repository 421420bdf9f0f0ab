"""Evaluation as a stage: its items are the benchmark's units, its records their rows.

So evaluation shards, resumes and rejects like any preprocessing, and a metric over a whole split
is exact whatever the number of workers.
"""

from __future__ import annotations

import io
import json
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import Field
from torch import nn

from eagleray.devices import to_device
from eagleray.evaluate.arithmetic import Arithmetic, Precision
from eagleray.prepare.computed import rows_at
from eagleray.prepare.marker import CommittedFile
from eagleray.prepare.streamed import ask_rows
from eagleray.runs.evaluation import LAYER_FOLDER, PICTURE_FOLDER
from eagleray.storage import SharedFile
from eagleray.task import (
    LATER,
    Benchmark,
    Dataset,
    Evaluation,
    Item,
    LabelLayers,
    ModelTask,
    Record,
    Resources,
    Rows,
    Settings,
    Stage,
)

_MOST_SEGMENTS = 65_535
PICTURE_ERROR = "picture_error.txt"
"""File of a unit whose pictures could not be made: the traceback."""


class EvaluationSettings(Settings):
    """What the rows of an evaluation depend on, beside the weights."""

    task: str = Field(description="Name of the task.")
    settings: dict[str, Any] = Field(description="The task's settings.")
    benchmark: str = Field(description="Name of the benchmark.")
    prepared: dict[str, str] = Field(description="Listing of the prepared data by stage label.")
    units: int | None = Field(description="Number of first units, None = all.")
    pictures: int = Field(description="Number of first units whose pictures are kept.")
    precision: Annotated[Precision, LATER] = Field("fp32", description="Arithmetic.")


class EvaluationStage(Stage):
    """Predicts and scores the units of one benchmark with one checkpoint.

    Args:
        task: The task.
        benchmark: One of its benchmarks.
        weights: The checkpoint's ``model.safetensors``.
        settings: What the rows depend on.
        rows: Rows of the prepared stages by label.
        batch_size: Units per forward pass.
        gpus: GPUs per worker.
        arithmetic: How the model computes.
        ahead: Units whose rows are asked for before they are read, where rows are not stored.
    """

    name = "evaluate"

    def __init__(
        self,
        task: Evaluation,
        benchmark: Benchmark,
        weights: SharedFile,
        settings: EvaluationSettings,
        rows: Mapping[str, Rows],
        *,
        batch_size: int,
        gpus: float,
        arithmetic: Arithmetic = Arithmetic(),  # noqa: B008 - frozen
        ahead: int = 1,
    ) -> None:
        self._ahead = ahead
        self._task, self._benchmark, self._weights = task, benchmark, weights
        self._settings, self._rows, self._arithmetic = settings, rows, arithmetic
        self.source = benchmark.name
        self.schema = dict(benchmark.schema)
        self.resources = Resources(batch_size=batch_size, gpus=gpus, seconds_per_item=1.0)

    def settings(self) -> EvaluationSettings:
        """Return what the rows depend on."""
        return self._settings

    def weights(self) -> Sequence[Path]:
        """Return the checkpoint: its checksum is part of the fingerprint."""
        return (self._weights.local(),)

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the benchmark's units."""
        dataset = self._open_dataset()
        total = len(dataset) if self._settings.units is None else self._settings.units
        for index in range(min(total, len(dataset))):
            key = dataset.key(index)
            yield Item(key, key, {"index": index, "picture": index < self._settings.pictures})

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Open the data and load the checkpoint."""
        self._device = torch.device(device)
        self._rows = rows_at(self._rows, self._device)
        self._dataset = self._open_dataset()
        self._lock = threading.Lock()
        self._coming: deque[int] = deque()
        self._asked: set[int] = set()
        self._model = load_model(self._task, self._weights.local(), self._device)
        self._arithmetic.apply(self._model)

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
        sample = self._dataset.load(index, np.random.default_rng(0))
        return item, sample

    def process(self, samples: Sequence[Any]) -> Sequence[Sequence[Record]]:
        """Predict a batch and score each unit."""
        with torch.inference_mode(), self._arithmetic.autocast(self._device):
            moved = to_device([sample for _, sample in samples], self._device)
            predictions = self._task.predict(self._model, moved)
        return [
            [self._record(item, sample, prediction)]
            for (item, sample), prediction in zip(samples, predictions, strict=True)
        ]

    def _record(self, item: Item, sample: Any, prediction: Any) -> Record:
        row = self._task.score(self._benchmark.name, sample, prediction)
        files = self._pictures(item, sample, prediction) if item.payload["picture"] else {}
        return Record(item.key, row, files)

    def _pictures(self, item: Item, sample: Any, prediction: Any) -> dict[str, bytes]:
        """Return the unit's pictures, or why there are none: a picture never touches a number."""
        try:
            pictures = self._task.picture(sample, prediction)
            files = {
                f"{PICTURE_FOLDER}/{item.key}.{name}.png": encode_png(image)
                for name, image in pictures.items()
            }
            layers = self._task.layers(sample, prediction)
            files |= layer_files(item.key, layers) if layers is not None else {}
            for path in files:
                CommittedFile.of("", item.key, path, b"")  # refuses names that leave the folder
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            return {PICTURE_ERROR: text.encode("utf-8", "replace")}
        return files

    def _open_dataset(self) -> Dataset:
        dataset = self._task.dataset(self._benchmark.source, self._rows)
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"benchmark {self._benchmark.name!r} needs a map-style Dataset, "
                f"found {type(dataset).__name__}"
            )
        return dataset


def layer_files(key: str, layers: LabelLayers) -> dict[str, bytes]:
    """Return labels as files of a unit: a PNG per picture (segment = red + 256 green), and a JSON
    that says what the segments are.

    Raises:
        ValueError: A picture has more segments than fit.
    """
    files: dict[str, bytes] = {}
    told: dict[str, Any] = {}
    for name, layer in layers.layers.items():
        ids = np.asarray(layer.ids)
        if ids.size and (ids.min() < 0 or ids.max() > len(layer.classes)):
            raise ValueError(
                f"layer {name} holds segments {ids.min()}..{ids.max()}, but lists "
                f"{len(layer.classes)}"
            )
        if len(layer.classes) > _MOST_SEGMENTS:
            raise ValueError(f"layer {name} has more than {_MOST_SEGMENTS} segments")
        image = np.stack([ids & 255, ids >> 8, np.zeros_like(ids)], axis=-1).astype(np.uint8)
        files[f"{LAYER_FOLDER}/{key}.{name}.png"] = encode_png(image)
        scores = [round(float(score), 4) for score in layer.scores]
        told[name] = {"classes": [int(c) for c in layer.classes], "scores": scores}
    colors = np.asarray(layers.colors).tolist()
    record = {"names": list(layers.names), "colors": colors, "layers": told}
    return {**files, f"{LAYER_FOLDER}/{key}.json": json.dumps(record).encode()}


def load_model(task: ModelTask, weights: Path, device: torch.device) -> nn.Module:
    """Build a task's model with the weights of a checkpoint, ready for inference.

    Raises:
        SettingsError: The weights are damaged, hold NaN, or are not of this model.
    """
    from eagleray.train.weights import load_exactly

    model = task.build()
    load_exactly(task, model, weights)
    return model.to(device).eval()


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return an RGB picture, uint8 (H, W, 3), as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
