"""A regression task that trains in milliseconds; no batch statistics, so world sizes can be
compared.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from eagleray.task import (
    LATER,
    Benchmark,
    Dataset,
    Evaluation,
    FrozenFile,
    LossTerm,
    Metrics,
    ParameterGroup,
    Phase,
    Settings,
    Training,
)


class TinySettings(Settings):
    """How the tiny task behaves (or misbehaves)."""

    samples: int = 24
    dropout: float = 0.0
    load_seconds: float = 0.0
    nan_steps: tuple[int, ...] = ()
    nan_forever_from: int | None = None
    raise_at_step: int | None = None
    kill_at_step: int | None = None
    kill_flag: str = ""
    signal_at_step: int | None = None
    loss_factor: float = 1.0
    on_device: bool = False
    freeze_head_in: str = ""
    steps: int = 10
    prior: Annotated[str, LATER] = ""
    train_prior_in: Annotated[str, LATER] = ""


class TinyData(Dataset):
    """Inputs (6,) and targets (3,) of a fixed linear map, drawn by index; two groups."""

    def __init__(self, settings: TinySettings) -> None:
        self._settings = settings
        rng = np.random.default_rng(7)
        self._x = rng.standard_normal((settings.samples, 6)).astype(np.float32)
        self._y = (self._x @ rng.standard_normal((6, 3))).astype(np.float32)

    def __len__(self) -> int:
        return self._settings.samples

    def key(self, index: int) -> str:
        return f"s{index:03d}"

    def group(self, index: int) -> int:
        return index % 2

    def load(self, index: int, rng: np.random.Generator) -> Any:
        time.sleep(self._settings.load_seconds)
        noise = 0.01 * rng.standard_normal(6).astype(np.float32)
        return {"x": self._x[index] + noise, "y": self._y[index], "index": index}

    def collate(self, samples: Any) -> Any:
        return {
            "x": torch.from_numpy(np.stack([s["x"] for s in samples])),
            "y": torch.from_numpy(np.stack([s["y"] for s in samples])),
            "index": [s["index"] for s in samples],
        }


class DeviceData:
    """The same samples as batches that live on the device and begin at any step."""

    def __init__(self, data: TinyData) -> None:
        self._data = data

    def batches(
        self,
        phase: Phase,
        *,
        seed: int,
        start_step: int,
        rank: int,
        world_size: int,
        device: torch.device,
    ) -> Iterator[Any]:
        step = start_step
        while True:
            rng = np.random.default_rng([seed, step])
            chosen = rng.integers(0, len(self._data), phase.batch_size)[rank::world_size]
            yield self._data.collate([self._data.load(int(i), rng) for i in chosen])
            step += 1


class PriorLayer(nn.Linear):
    """What a file of weights gives: a layer, and a buffer."""

    def __init__(self) -> None:
        super().__init__(6, 6)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - self.mean)


class TinyModel(nn.Module):
    """Two layers with an odd number of weights (so that shards need padding) and a buffer."""

    def __init__(self, dropout: float, *, has_prior: bool = False) -> None:
        super().__init__()
        self.prior = PriorLayer() if has_prior else nn.Identity()
        self.body = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Dropout(dropout))
        self.head = nn.Linear(7, 3)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.body(self.prior(x)))
        return out


class TinyTask(Training, Evaluation):
    """See the module."""

    name: ClassVar[str] = "tiny"
    summary: ClassVar[str] = "tiny regression"
    settings_type: ClassVar[type[Settings]] = TinySettings
    settings: TinySettings

    def dataset(self, source: str, rows: Any) -> Dataset | DeviceData:
        if self.settings.on_device and source == "train":
            return DeviceData(TinyData(self.settings))
        return TinyData(self.settings)

    def build(self) -> nn.Module:
        return TinyModel(self.settings.dropout, has_prior=bool(self.settings.prior))

    def frozen_files(self) -> list[FrozenFile]:
        path = Path(self.settings.prior)
        return [FrozenFile("prior", path, "make it")] if self.settings.prior else []

    def read_frozen(self, model: nn.Module, file: FrozenFile) -> dict[str, torch.Tensor]:
        return {f"prior.{name}": value for name, value in load_file(file.path).items()}

    def phases(self) -> list[Phase]:
        return [Phase(steps=self.settings.steps, batch_size=4, optimizer="adamw", lr=0.01)]

    def parameter_groups(self, model: nn.Module, phase: Phase) -> list[ParameterGroup]:
        body = [n for n, _ in model.named_parameters() if n.startswith("body")]
        if self.settings.freeze_head_in == phase.name:
            return [ParameterGroup(body)]
        if self.settings.train_prior_in == phase.name:
            body += [n for n, _ in model.named_parameters() if n.startswith("prior")]
        head = [n for n, _ in model.named_parameters() if n.startswith("head")]
        return [ParameterGroup(body), ParameterGroup(head, lr_factor=0.5, weight_decay_factor=0.0)]

    def before_step(self, model: nn.Module, step: Any) -> None:
        with torch.no_grad():
            model.seen += 1  # type: ignore[operator]
        settings = self.settings
        if settings.signal_at_step == step.step:
            os.kill(os.getpid(), signal.SIGTERM)
        if settings.raise_at_step == step.step:
            raise ZeroDivisionError(f"made to fail at step {step.step}")
        if settings.kill_at_step == step.step and settings.kill_flag:
            flag = Path(settings.kill_flag)
            try:
                flag.touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    def losses(self, model: nn.Module, batch: Any, step: Any) -> dict[str, LossTerm]:
        error = (model(batch["x"]).float() - batch["y"]).square()
        # Weights differ between samples, so that a mean of ranks' means would be wrong.
        weight = torch.tensor([1.0 + i % 3 for i in batch["index"]], device=error.device)
        loss = (error.mean(1) * weight).sum() * self.settings.loss_factor
        start = self.settings.nan_forever_from
        if step.step in self.settings.nan_steps or (start is not None and step.step >= start):
            loss = loss * float("nan")
        return {
            "mse": LossTerm(loss, weight.sum()),
            "small": LossTerm(0.1 * error.abs().sum(), float(len(batch["index"])), factor=0.5),
        }

    def benchmarks(self) -> list[Benchmark]:
        return [
            Benchmark(
                name="fit",
                source="train",
                metric="mse",
                protocol="mean squared error",
                schema={"mse": "float64"},
                higher_is_better=False,
            )
        ]

    def predict(self, model: nn.Module, samples: Any) -> list[torch.Tensor]:
        device = next(model.parameters()).device
        return list(model(torch.from_numpy(np.stack([s["x"] for s in samples])).to(device)).cpu())

    def score(self, benchmark: str, sample: Any, prediction: Any) -> dict[str, float]:
        return {"mse": float((prediction - torch.from_numpy(sample["y"])).square().mean())}

    def compute(self, benchmark: str, rows: Any) -> Metrics:
        return Metrics({"mse": float(np.mean([r["mse"] for r in rows]))})
