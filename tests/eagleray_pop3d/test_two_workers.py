"""Two workers, every ZeRO stage, activation checkpointing: the losses of one process."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.eagleray.train.workers import losses
from tests.eagleray_pop3d.small_task import small_experiment, write_rig

from eagleray.api import Experiment
from eagleray.progress import Silent
from eagleray.storage import Store
from eagleray.train.job import TrainJob
from eagleray.train.loop import train_process

WAYS: dict[str, dict[str, Any]] = {
    "ddp": {"strategy": "ddp"},
    "checkpointed": {"strategy": "ddp", "activation_checkpointing": True},
    **{f"zero{stage}": {"strategy": "deepspeed", "zero_stage": stage} for stage in range(4)},
}


def experiment(root: Path, **train: Any) -> Experiment:
    values = small_experiment(root, log_every=1, **train)
    # Nothing is drawn, so that losses can be compared whatever the number of processes.
    values["settings"]["network"]["encoder"]["dropout"] = 0.0
    return Experiment.from_values(values, inline=True)


def train_folder(one: Experiment, folder: Path) -> None:
    rows = one.prepare().rows
    job = TrainJob(one.settings, one.task, Store(str(folder)), rows, None)
    train_process(job, torch.device("cpu"), progress=Silent(), report=lambda metrics: None)


def _rank(rank: int, port: int, root: Path) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for name, train in WAYS.items():
        train_folder(experiment(root, num_workers=2, **train), root / name)
    dist.destroy_process_group()


@pytest.mark.slow
def test_losses_agree_for_every_strategy(tmp_path: Path) -> None:
    write_rig(tmp_path)
    train_folder(experiment(tmp_path), tmp_path / "lone")
    expected = losses(tmp_path / "lone")
    assert len(expected) == 3
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_rank, args=(port, tmp_path), nprocs=2)
    for name in WAYS:
        torch.testing.assert_close(losses(tmp_path / name), expected, rtol=2e-4, atol=2e-4)
