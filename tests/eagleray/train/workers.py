"""Training in this process or in two gloo processes, without Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tests.eagleray.tiny_task import TinySettings, TinyTask
from tests.two_processes import in_two_processes

from eagleray.api import Experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import RunOptions
from eagleray.progress import Silent
from eagleray.runs.metrics import read_lines
from eagleray.storage import Store
from eagleray.train import TrainResult, train_run
from eagleray.train.job import TrainJob
from eagleray.train.loop import train_process

Job = tuple[Mapping[str, Any], Path, int | None]
"""An experiment as its YAML has it, the folder of its run, and how many steps it may take."""


def experiment(
    task: dict[str, Any] | None = None,
    seed: int = 0,
    storage: str = "storage",
    **train: Any,
) -> ExperimentSettings:
    """Return an experiment of the tiny task that logs every step."""
    settings = TinySettings(**(task or {}))
    return ExperimentSettings(
        task="tiny",
        settings=settings,
        seed=seed,
        storage=storage,
        train={"log_every": 1, **train},
    )


def train_here(
    folder: Path, task: dict[str, Any] | None = None, limit: int | None = None, **train: Any
) -> TrainResult:
    """Train in this process, with a storage of its own for what runs share."""
    asked = experiment(task, **{"storage": str(folder / "storage"), **train})
    return train_run(
        asked,
        TinyTask(asked.settings),
        Store(str(folder)),
        {},
        RunOptions(inline=True, limit=limit),
    )


def train_in_two_processes(jobs: list[tuple[Path, dict[str, Any], int | None]]) -> None:
    """Train all jobs (folder, training settings, limit), one after the other, in one pair of
    processes.
    """
    in_two_processes(_train_all, jobs)


def _train_all(rank: int, jobs: list[tuple[Path, dict[str, Any], int | None]]) -> None:
    for folder, train, limit in jobs:
        asked = experiment(num_workers=2, storage=str(folder / "storage"), **train)
        job = TrainJob(asked, TinyTask(asked.settings), Store(str(folder)), {}, limit)
        train_process(job, torch.device("cpu"), progress=Silent(), report=lambda m: None)


def train_folder(values: Mapping[str, Any], folder: Path, limit: int | None = None) -> None:
    """Train as one rank, from the folder's newest checkpoint on; data are prepared if needed.

    Ranks do not wait for each other's preparing, so several need prepared data.
    """
    experiment = Experiment.from_values(values, inline=True)
    rows = experiment.prepare().rows
    job = TrainJob(experiment.settings, experiment.task, Store(str(folder)), rows, limit)
    train_process(job, torch.device("cpu"), progress=Silent(), report=lambda metrics: None)


def train_by_two(jobs: Sequence[Job]) -> None:
    """Do jobs one after the other in one pair of processes."""
    in_two_processes(_train_folders, jobs)


def _train_folders(rank: int, jobs: Sequence[Job]) -> None:
    for values, folder, limit in jobs:
        train_folder(values, folder, limit)


def losses(folder: Path) -> list[float]:
    """Return the loss of every step of a run that was not skipped."""
    lines = read_lines(Store(str(folder)))
    return [line["loss"] for line in lines if line["kind"] == "train" and "loss" in line]


def validations(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's validations."""
    return [line for line in read_lines(Store(str(folder))) if line["kind"] == "validate"]
