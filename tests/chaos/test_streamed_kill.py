"""The driver is killed while workers stream rows: nothing of it stays, and the same command ends in
the weights of an undisturbed run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.chaos.streamed_job import STEPS, settings
from tests.chaos.test_prepare_kill import wait_until_gone
from tests.eagleray.train.streaming_task import StreamedTask

import eagleray.api
from eagleray.api import Experiment
from eagleray.experiment import load
from eagleray.runs.metrics import read_lines
from eagleray.train import checkpoint_weights

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.chaos.streamed_job", str(folder / "storage")]
    with (folder / "errors").open("wb") as errors:
        return subprocess.Popen(
            [*command, str(folder / "marks")], cwd=ROOT, stderr=errors, start_new_session=True
        )


@pytest.mark.slow
def test_a_killed_driver_takes_its_workers_along_and_is_gone_on_from(tmp_path, monkeypatch):
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: StreamedTask)
    storage, marks = str(tmp_path / "storage"), tmp_path / "marks"
    marks.mkdir()
    streamed = Experiment.from_values(settings(storage, str(marks), "streamed"), inline=True)
    first, end = start(tmp_path), time.monotonic() + PATIENCE_S
    while not list((tmp_path / "storage").rglob("checkpoints/main-00000008.json")):
        assert first.poll() is None and time.monotonic() < end, (tmp_path / "errors").read_text()
        time.sleep(0.05)
    first.kill()
    first.wait()
    workers = [int(mark.name) for mark in marks.iterdir()]
    assert len(workers) == 2
    wait_until_gone(workers)
    assert not list((tmp_path / "storage").rglob(f"checkpoints/main-{STEPS:08d}.json"))
    assert start(tmp_path).wait(PATIENCE_S) == 0, (tmp_path / "errors").read_text()
    assert len(list(marks.iterdir())) == 4, "workers of its own"
    lines = [line for line in read_lines(streamed.run_folder) if line["kind"] == "train"]
    assert sorted({line["step"] for line in lines}) == list(range(1, STEPS + 1))
    stored = Experiment.from_values(settings(str(tmp_path / "stored"), "", "stored"), inline=True)
    stored.train()
    ours, theirs = (load_file(checkpoint_weights(e.run_folder, "last")) for e in (streamed, stored))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert not list((tmp_path / "storage").rglob("shards"))
