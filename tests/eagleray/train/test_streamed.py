"""Training on rows that workers compute meanwhile (``prepare.materialise: streamed``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.eagleray.train.streaming_task import StreamedTask

import eagleray.api
from eagleray.api import Experiment
from eagleray.experiment import load
from eagleray.runs.metrics import read_lines
from eagleray.runs.rejects import training_rejects
from eagleray.scheduling import SchedulingError
from eagleray.train import TrainingError, checkpoint_weights

VALIDATED = {"validate_on": {"benchmark": "val", "every": 6}}


@pytest.fixture(autouse=True)
def squares_installed(monkeypatch):
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: StreamedTask)


def trained(folder, mode, *, inline=False, settings=None, prepare=None, limit=None, **train):
    experiment = Experiment.from_values(
        {
            "task": "squares",
            "storage": str(folder),
            "prepare": {"materialise": mode, "workers": 2, "ahead": 8, **(prepare or {})},
            "settings": {"steps": 12, "count": 16, **(settings or {})},
            "train": {"log_every": 1, **VALIDATED, **train},
        },
        inline=inline,
        limit=limit,
    )
    experiment.train()
    return experiment, load_file(checkpoint_weights(experiment.run_folder, "last"))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def close(a, b):
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


def drawn(folder: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text().split() for path in folder.iterdir()}


def test_without_ray_streamed_rows_are_computed_where_they_are_read(tmp_path):
    _, stored = trained(tmp_path / "a", "stored", inline=True)
    _, streamed = trained(tmp_path / "b", "streamed", inline=True)
    assert same(stored, streamed)
    assert not list((tmp_path / "b").rglob("shards"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_streamed_training_ends_in_the_weights_of_stored_training(tmp_path):
    (tmp_path / "marks").mkdir()
    _, stored = trained(tmp_path / "a", "stored", inline=True)
    settings = {"touched": str(tmp_path / "marks")}
    experiment, streamed = trained(tmp_path / "b", "streamed", settings=settings)
    assert same(stored, streamed)
    marks = drawn(tmp_path / "marks")
    keys = sorted(key for keys in marks.values() for key in keys)
    assert len(marks) == 2 and keys == sorted(set(keys)), "two workers, and each row once"
    assert len(keys) == 32, "training and validation"
    assert not list((tmp_path / "b").rglob("shards"))
    lines = [x for x in read_lines(experiment.run_folder) if x["kind"] == "train"]
    assert all("wait_fraction" in line for line in lines)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_loader_processes_read_through_their_rank(tmp_path):
    _, stored = trained(tmp_path / "a", "stored", inline=True)
    settings = {"broken": [3]}
    _, one = trained(tmp_path / "b", "stored", inline=True, settings=settings)
    _, streamed = trained(tmp_path / "c", "streamed", loader_workers=2)
    experiment, broken = trained(tmp_path / "d", "streamed", loader_workers=2, settings=settings)
    assert same(stored, streamed)
    assert [key for key, _ in training_rejects(experiment.run_folder)] == ["train-0003"]
    assert broken.keys() == one.keys()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_worker_is_replaced_and_a_deadly_item_is_replaced_by_its_stand_in(tmp_path):
    _, stored = trained(tmp_path / "a", "stored", inline=True)
    flag = str(tmp_path / "flag")
    _, after = trained(tmp_path / "b", "streamed", settings={"killed_once": flag})
    assert Path(flag).exists() and same(stored, after)
    experiment, _ = trained(tmp_path / "c", "streamed", settings={"deadly": [7]})
    rejects = dict(training_rejects(experiment.run_folder))
    assert list(rejects) == ["train-0007"], "no innocent item is charged"
    assert "died three times at this item" in rejects["train-0007"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_the_pool_outlives_a_rank_that_is_killed(tmp_path):
    (tmp_path / "marks").mkdir()
    _, stored = trained(tmp_path / "a", "stored", inline=True)
    settings = {"killed_rank": str(tmp_path / "flag"), "touched": str(tmp_path / "marks")}
    _, after = trained(tmp_path / "b", "streamed", settings=settings, checkpoint_every=5)
    assert (tmp_path / "flag").exists() and same(stored, after)
    marks = drawn(tmp_path / "marks")
    keys = sorted(key for keys in marks.values() for key in keys)
    assert len(marks) == 2 and keys == sorted(set(keys)), (
        "no worker was started, no row drawn, anew"
    )
    assert not list((tmp_path / "b").rglob("shards"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_evaluation_reads_streamed_rows(tmp_path):
    results = {}
    for mode in ("stored", "streamed"):
        (tmp_path / f"{mode}-marks").mkdir()
        settings = {"touched": str(tmp_path / f"{mode}-marks"), "steps": 2}
        experiment, _ = trained(tmp_path / mode, mode, inline=True, settings=settings)
        for mark in (tmp_path / f"{mode}-marks").iterdir():
            mark.unlink()
        experiment.options = replace(experiment.options, inline=False)
        (results[mode],) = experiment.evaluate(["val"])
    assert results["stored"].values == results["streamed"].values
    marks = drawn(tmp_path / "streamed-marks")
    keys = sorted(key for keys in marks.values() for key in keys)
    assert len(marks) == 2 and keys == [f"val-{n:04d}" for n in range(16)]
    assert not list((tmp_path / "streamed" / "prepared").rglob("shards"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_two_ranks_agree_with_one_and_go_on_as_one(tmp_path):
    _, one = trained(tmp_path / "a", "stored", inline=True)
    two = {"strategy": "ddp", "num_workers": 2, "checkpoint_every": 5}
    _, both = trained(tmp_path / "b", "streamed", **two)
    assert close(one, both)
    broken = {"killed_rank": str(tmp_path / "flag")}
    with pytest.raises(TrainingError):
        trained(tmp_path / "c", "streamed", settings=broken, max_failures=0, **two)
    alone = {**two, "num_workers": 1, "max_failures": 0}
    _, after = trained(tmp_path / "c", "streamed", settings=broken, **alone)
    assert (tmp_path / "flag").exists() and close(one, after)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_pool_that_never_fits_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(SchedulingError, match=r"squares:train.*beside 1"):
        trained(tmp_path, "streamed", prepare={"workers": 50})
    assert not list(tmp_path.rglob("checkpoints"))
