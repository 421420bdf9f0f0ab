"""Training in this process or in two gloo processes, without Ray."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.eagleray.tiny_task import TinySettings, TinyTask

from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import RunOptions
from eagleray.progress import Silent
from eagleray.runs.metrics import read_lines
from eagleray.storage import Store
from eagleray.train import TrainResult, train_run
from eagleray.train.job import TrainJob
from eagleray.train.loop import train_process


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_process, args=(port, jobs), nprocs=2)


def _process(rank: int, port: int, jobs: list[tuple[Path, dict[str, Any], int | None]]) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for folder, train, limit in jobs:
        asked = experiment(num_workers=2, storage=str(folder / "storage"), **train)
        job = TrainJob(asked, TinyTask(asked.settings), Store(str(folder)), {}, limit)
        train_process(job, torch.device("cpu"), progress=Silent(), report=lambda m: None)
    dist.destroy_process_group()


def losses(folder: Path) -> list[float]:
    """Return the loss of every step of a run that was not skipped."""
    lines = read_lines(Store(str(folder)))
    return [line["loss"] for line in lines if line["kind"] == "train" and "loss" in line]


def validations(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's validations."""
    return [line for line in read_lines(Store(str(folder))) if line["kind"] == "validate"]
