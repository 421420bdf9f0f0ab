"""A training worker is killed, or raises: what goes on, what stops, and what the user reads."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.eagleray.tiny_task import TinyTask
from tests.eagleray.train.workers import experiment, losses, train_here

from eagleray.options import RunOptions
from eagleray.scheduling import SchedulingError
from eagleray.storage import Store
from eagleray.task import SettingsError
from eagleray.train import TrainingError, TrainResult, train_run
from eagleray.train.ray_driver import read_failures


def train_on_ray(
    folder: Path, task: dict[str, Any] | None = None, report: Any = None, **train: Any
) -> TrainResult:
    asked = experiment(task, storage=str(folder / "storage"), **train)
    return train_run(
        asked,
        TinyTask(asked.settings),
        Store(str(folder)),
        {},
        RunOptions(),
        report=report,
    )


def test_killed_worker_goes_on_from_the_last_checkpoint(ray_cluster: Any, tmp_path: Path) -> None:
    flag = tmp_path / "killed"
    told: list[dict[str, float]] = []
    train_here(tmp_path / "undisturbed", {"steps": 12})
    result = train_on_ray(
        tmp_path / "run",
        {"steps": 12, "kill_at_step": 7, "kill_flag": str(flag)},
        strategy="deepspeed",
        zero_stage=2,
        num_workers=2,
        checkpoint_every=5,
        validate_on={"benchmark": "fit", "every": 12},
        report=told.append,
    )
    assert flag.exists()
    assert told[-1]["mse"] == result.metrics["mse"]
    assert (result.finished, result.step, result.restarts) == (True, 12, 1)
    assert result.checkpoints == ("main-00000010", "main-00000012")
    torch.testing.assert_close(
        losses(tmp_path / "run"), losses(tmp_path / "undisturbed"), rtol=0, atol=1e-3
    )


@pytest.mark.slow
def test_elastic_group_goes_on_after_a_kill(ray_cluster: Any, tmp_path: Path) -> None:
    train_here(tmp_path / "undisturbed", {"steps": 12})
    result = train_on_ray(
        tmp_path / "run",
        {"steps": 12, "kill_at_step": 7, "kill_flag": str(tmp_path / "killed")},
        strategy="ddp",
        num_workers=(1, 2),
        checkpoint_every=5,
    )
    assert result.finished
    assert result.restarts >= 1
    torch.testing.assert_close(
        losses(tmp_path / "run"), losses(tmp_path / "undisturbed"), rtol=0, atol=1e-3
    )


@pytest.mark.slow
def test_exception_of_a_worker_is_read_first_and_not_retried_for_ever(
    ray_cluster: Any, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError) as caught:
        train_on_ray(tmp_path, {"raise_at_step": 3}, strategy="ddp", num_workers=1, max_failures=8)
    assert str(caught.value).startswith("Traceback")
    assert "ZeroDivisionError: made to fail at step 3" in str(caught.value)
    assert max(f.group for f in read_failures(Store(str(tmp_path)))) == 2


def test_more_workers_than_samples_of_a_batch_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="batch_size is 4, but there are 64 workers"):
        train_on_ray(tmp_path, strategy="ddp", num_workers=64)


def test_workers_that_can_never_fit_are_refused_at_once(ray_cluster: Any, tmp_path: Path) -> None:
    phases = [{"steps": 1, "batch_size": 64}]
    with pytest.raises(SchedulingError, match="64"):
        train_on_ray(tmp_path, strategy="ddp", num_workers=64, phases=phases)


def test_interrupted_driver_leaves_a_checkpoint_to_go_on_from(
    ray_cluster: Any, tmp_path: Path
) -> None:
    live = tmp_path / "run" / "log" / "live.json"

    def interrupt() -> None:
        deadline = time.monotonic() + 300
        while not live.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    stopped = train_on_ray(
        tmp_path / "run",
        {"steps": 600, "load_seconds": 0.2},
        strategy="ddp",
        num_workers=2,
        checkpoint_every=10_000,
    )
    assert not stopped.finished
    assert 0 < stopped.step < 600
    assert stopped.checkpoints == (f"main-{stopped.step:08d}",)
    limit = stopped.step + 5
    train_here(tmp_path / "run", {"steps": 600}, limit=limit)
    train_here(tmp_path / "undisturbed", {"steps": 600}, limit=limit)
    torch.testing.assert_close(
        losses(tmp_path / "run"), losses(tmp_path / "undisturbed"), rtol=0, atol=1e-3
    )
