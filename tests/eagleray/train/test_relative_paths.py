"""Relative paths mean the command's folder in every rank, though Ray gives each one of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import ray.train
import ray.train.torch

from eagleray.storage import Store
from eagleray.train import ray_driver
from eagleray.train.job import TrainOutcome


@pytest.fixture
def started(tmp_path, monkeypatch):
    """What the driver hands to its ranks, begun in the command's folder."""
    folder = tmp_path / "command"
    folder.mkdir()
    monkeypatch.chdir(folder)
    settings = SimpleNamespace(num_workers=2, max_failures=0, collective_timeout_s=1800.0)
    job = SimpleNamespace(
        run=Store(str(tmp_path / "run")), experiment=SimpleNamespace(train=settings)
    )
    monkeypatch.setattr(ray.train.torch, "TorchTrainer", lambda work, **given: given)
    group = SimpleNamespace(cpus=1.0, gpus=0.0, device="cpu", is_elastic=True)
    return ray_driver._trainer(job, group)["train_loop_config"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_works_in_the_commands_folder(started, tmp_path, monkeypatch, rank):
    context = SimpleNamespace(get_world_rank=lambda: rank, get_local_rank=lambda: rank)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray_driver, "_number_group", lambda run, rank: (1, 0))
    seen = []

    def train_process(job, device, progress, report, notice):
        print(f"rank {rank} begins")
        seen.append(Path.cwd())
        return TrainOutcome(True, "main", 1, {})

    monkeypatch.setattr(ray_driver, "train_process", train_process)
    (tmp_path / "rays").mkdir()
    monkeypatch.chdir(tmp_path / "rays")
    ray_driver._work(started)
    assert seen == [tmp_path / "command"]
    run = started["job"].run
    assert run.read(f"log/console-{rank}.txt").decode() == f"rank {rank} begins\n"
