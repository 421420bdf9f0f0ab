"""Strategy ``single`` against a plain torch loop over the same steps of 50 ms or more.

    python experiments/benchmarks/engine_train.py

Loop and engine take turns, so that a change in load meets both. Per turn the time from
the fifth step to the last one counts (no start-up), on the wall and of the process's own CPU. The
medians of the ratios within a turn are recorded; the budget is 1.05. On a machine with more load
than cores only the CPU ratio says something.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from record import write_record
from torch import Tensor, nn

from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import RunOptions
from eagleray.storage import Store
from eagleray.task import Dataset, LossTerm, Phase, Settings, StepContext, Training
from eagleray.train import train_run

BUDGET = 1.05
UNIT_S = 0.05
ROUNDS, STEPS, WARM_STEPS = 7, 40, 5
BATCH_SIZE, CHANNELS, SIDE, SAMPLES = 4, 64, 64, 256


class NoSettings(Settings):
    """Depth of the network, from which a step's time follows."""

    depth: int = 1


class Noise(Dataset):
    """Random images (CHANNELS, SIDE, SIDE) by index."""

    def __len__(self) -> int:
        return SAMPLES

    def key(self, index: int) -> str:
        """See Dataset."""
        return str(index)

    def load(self, index: int, rng: np.random.Generator) -> Any:
        """See Dataset."""
        return rng.standard_normal((CHANNELS, SIDE, SIDE), dtype=np.float32)

    def collate(self, samples: Sequence[Any]) -> Tensor:
        """See Dataset."""
        return torch.from_numpy(np.stack(samples))


class Timed(Training):
    """A convolutional network at full resolution that notes when each step begins."""

    name: ClassVar[str] = "timed"
    settings_type: ClassVar[type[Settings]] = NoSettings

    def __init__(self, settings: NoSettings) -> None:
        super().__init__(settings)
        self.begins: list[tuple[float, float]] = []

    def dataset(self, source: str, rows: Mapping[str, Any]) -> Dataset:
        """As the contract says."""
        return Noise()

    def build(self) -> nn.Module:
        """As the contract says."""
        layers = [
            nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU())
            for _ in range(self.settings.depth)
        ]
        return nn.Sequential(*layers)

    def phases(self) -> Sequence[Phase]:
        """As the contract says."""
        return [Phase(steps=STEPS, batch_size=BATCH_SIZE, optimizer="sgd", momentum=0.9, lr=1e-3)]

    def before_step(self, model: nn.Module, step: StepContext) -> None:
        """Note the time."""
        self.begins.append((time.perf_counter(), time.process_time()))

    def losses(self, model: nn.Module, batch: Tensor, step: StepContext) -> Mapping[str, LossTerm]:
        """As the contract says."""
        return {"square": LossTerm(model(batch).square().mean((1, 2, 3)).sum(), float(len(batch)))}


def run_plain(task: Timed) -> None:
    """Train as one would by hand, with the same work per step."""
    phase, data = task.phases()[0], Noise()
    torch.manual_seed(0)
    model = task.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=phase.lr, momentum=phase.momentum)
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        context = StepContext(phase, step, STEPS, 0)
        task.before_step(model, context)
        batch = data.collate([data.load(int(i), rng) for i in rng.integers(0, SAMPLES, BATCH_SIZE)])
        (term,) = task.losses(model, batch, context).values()
        (term.sum / term.weight).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def run_engine(task: Timed) -> None:
    """Train through the engine, in this process."""
    experiment = ExperimentSettings(task=task.name, settings=task.settings, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        train_run(experiment, task, Store(folder), {}, RunOptions(inline=True, device="cpu"))


def seconds_per_step(run: Any, depth: int) -> tuple[float, float]:
    """Return wall and CPU seconds per step, without the first ones."""
    task = Timed(NoSettings(depth=depth))
    run(task)
    (wall_0, cpu_0), (wall_1, cpu_1) = task.begins[WARM_STEPS], task.begins[-1]
    steps = len(task.begins) - 1 - WARM_STEPS
    return (wall_1 - wall_0) / steps, (cpu_1 - cpu_0) / steps


def _median_ratio(measured: Mapping[str, Sequence[tuple[float, float]]], kind: int) -> float:
    turns = zip(measured["engine"], measured["plain"], strict=True)
    return round(statistics.median(e[kind] / p[kind] for e, p in turns), 4)


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    depth = 1
    while seconds_per_step(run_plain, depth)[1] < UNIT_S:
        depth += 1
    measured: dict[str, list[tuple[float, float]]] = {"plain": [], "engine": []}
    for _ in range(ROUNDS):
        measured["plain"].append(seconds_per_step(run_plain, depth))
        measured["engine"].append(seconds_per_step(run_engine, depth))
    ms = {
        f"{name}_{kind}_ms": round(1e3 * statistics.median(v[i] for v in values), 2)
        for name, values in measured.items()
        for i, kind in enumerate(("wall", "cpu"))
    }
    results = {
        **ms,
        "wall_ratio": _median_ratio(measured, 0),
        "cpu_ratio": _median_ratio(measured, 1),
        "budget_ratio": BUDGET,
        "steps": STEPS,
        "rounds": ROUNDS,
        "depth": depth,
    }
    print(results, write_record("engine_train", results))


if __name__ == "__main__":
    main()
