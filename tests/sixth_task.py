"""A sixth task, written against the contract alone: which of two textures fills a small square.

It is what ``tasks/README.md`` walks through, and what the engine's own tests run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from eagleray.task import (
    Benchmark,
    Dataset,
    InputError,
    Item,
    LossTerm,
    Metrics,
    Phase,
    PublishedResult,
    Record,
    Rows,
    Settings,
    Stage,
    StepContext,
    Task,
)

SIDE_PX = 6

Pixels = npt.NDArray[np.float32]
Drawn = tuple[str, Pixels, int]
"""Key, square and class."""
Sample = tuple[torch.Tensor, int]
"""Square (1, SIDE_PX, SIDE_PX) and class, -1 where nobody knows it."""
Batch = tuple[torch.Tensor, torch.Tensor]


class SquareSettings(Settings):
    """Settings of the squares."""

    count: int = Field(32, ge=1, description="Squares per split.")
    noise: float = Field(0.3, ge=0, description="Standard deviation; white is 1.")
    broken: tuple[int, ...] = Field((), description="Squares that cannot be read.")
    steps: int = Field(40, ge=1, description="Training steps.")


class DrawSquares(Stage[Drawn, list[Record]]):
    """Draws squares with vertical (class 0) or horizontal (class 1) stripes."""

    name = "squares"
    schema: Mapping[str, str] = {"pixels": "list<float32>", "label": "int64"}

    def __init__(self, settings: SquareSettings, source: str) -> None:
        self._settings, self.source = settings, source

    def settings(self) -> Settings:
        return SquareSettings(noise=self._settings.noise)

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        for index in range(self._settings.count):
            key = f"{self.source}-{index:04d}"
            yield Item(key, key, {"index": index, "broken": index in self._settings.broken})

    def load(self, item: Item) -> Drawn:
        if item.payload["broken"]:
            raise InputError(f"{item.key}: square is broken")
        stripes = np.tile(np.arange(SIDE_PX, dtype=np.float32) % 2, (SIDE_PX, 1))
        label = int(item.payload["index"]) % 2
        noise = np.random.default_rng(list(item.key.encode())).normal(size=stripes.shape)
        square = (stripes.T if label else stripes) + self._settings.noise * noise
        return item.key, square.astype(np.float32), label

    def process(self, samples: Sequence[Drawn]) -> list[list[Record]]:
        return [
            [Record(key, {"pixels": square.ravel().tolist(), "label": label})]
            for key, square, label in samples
        ]


class Squares(Dataset[Sample, Batch]):
    """The drawn squares, read from the stage's rows."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._keys = rows, list(rows.keys())

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        return self._keys[index]

    def load(self, index: int, rng: np.random.Generator) -> Sample:
        row = self._rows[self._keys[index]]
        pixels = np.array(row["pixels"], np.float32).reshape(1, SIDE_PX, SIDE_PX)
        return torch.from_numpy(pixels), int(row["label"])

    def collate(self, samples: Sequence[Sample]) -> Batch:
        return torch.stack([s for s, _ in samples]), torch.tensor([y for _, y in samples])


class SquareTask(Task[nn.Sequential, Sample, Batch, int]):
    """Which texture fills the square."""

    name, summary, settings_type = "squares", "Tells two textures apart.", SquareSettings
    formats = ("json",)
    settings: SquareSettings

    def stages(self) -> Sequence[Stage]:
        return [DrawSquares(self.settings, source) for source in ("train", "val")]

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Squares:
        return Squares(rows[f"squares:{source}"])

    def build(self) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))

    def phases(self) -> Sequence[Phase]:
        return (Phase(steps=self.settings.steps, batch_size=4, lr=0.05),)

    def losses(
        self, model: nn.Sequential, batch: Batch, step: StepContext
    ) -> Mapping[str, LossTerm]:
        squares, labels = batch
        loss = F.cross_entropy(model(squares), labels, reduction="sum")
        return {"cross_entropy": LossTerm(loss, len(labels))}

    def benchmarks(self) -> Sequence[Benchmark]:
        coin = PublishedResult("accuracy", 0.5, "a coin")
        schema = {"hit": "bool"}
        return (Benchmark("val", "val", "accuracy", "Share of hits.", schema, published=(coin,)),)

    def predict(self, model: nn.Sequential, samples: Sequence[Sample]) -> Sequence[int]:
        logits: torch.Tensor = model(torch.stack([s for s, _ in samples]))
        return [int(label) for label in logits.argmax(1)]

    def score(self, benchmark: str, sample: Sample, prediction: int) -> Mapping[str, Any]:
        return {"hit": prediction == sample[1]}

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        return Metrics({"accuracy": float(np.mean([row["hit"] for row in rows]))})

    def picture(self, sample: Sample, prediction: int) -> Mapping[str, npt.NDArray[np.uint8]]:
        grey = (sample[0][0].clamp(0, 1) * 255).to(torch.uint8).numpy()
        return {"input": np.stack([grey] * 3, -1)}

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        for path in paths:
            yield Item(path.stem, str(path.stat().st_mtime_ns), {"path": str(path)})

    def load_input(self, item: Item) -> Sample:
        try:
            pixels = json.loads(Path(item.payload["path"]).read_text())
        except ValueError as error:
            raise InputError(f"{item.payload['path']} is no JSON: {error}") from error
        return torch.tensor(pixels).float().reshape(1, SIDE_PX, SIDE_PX), -1

    def export(self, item: Item, sample: Sample, prediction: int, format: str) -> Record:
        files = {f"{item.key}.json": json.dumps(prediction).encode()}
        return Record(item.key, {"label": prediction}, files)

    def export_index(self, format: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
        return {"labels.json": json.dumps([row["label"] for row in rows]).encode()}
