"""Trains OPS in two gloo processes, without Ray."""

import os
import socket
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.eagleray_ops.small_data import FileRows, run

from eagleray.api import Experiment
from eagleray.progress import Silent
from eagleray.storage import Store
from eagleray.train.job import TrainJob
from eagleray.train.loop import train_process


def prepared(task) -> dict[str, FileRows]:
    rows = {}
    for stage in task.stages():
        rows[stage.label] = run(stage, rows)[0]
    return rows


def train_folder(values: dict[str, Any], folder: Path, limit: int | None = None) -> None:
    """Train as one rank, from the folder's newest checkpoint on."""
    experiment = Experiment.from_values(values, inline=True)
    settings, task = experiment.settings, experiment.task
    job = TrainJob(settings, task, Store(str(folder)), prepared(task), limit)
    train_process(job, torch.device("cpu"), progress=Silent(), report=lambda metrics: None)


def train_by_two(jobs: list[tuple[dict[str, Any], Path, int | None]]) -> None:
    """Do jobs one after the other in one pair of processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_rank, args=(port, jobs), nprocs=2)


def _rank(rank: int, port: int, jobs: list[tuple[dict[str, Any], Path, int | None]]) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for values, folder, limit in jobs:
        train_folder(values, folder, limit)
    dist.destroy_process_group()
