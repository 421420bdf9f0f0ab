"""Training on rows that are computed when they are asked for (``prepare.materialise: false``)."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from tests import sixth_task

import eagleray.api
from eagleray.api import Experiment
from eagleray.cli import main
from eagleray.experiment import load
from eagleray.runs.rejects import read_rejects, training_rejects
from eagleray.train import checkpoint_weights


@pytest.fixture(autouse=True)
def squares_installed(monkeypatch):
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: sixth_task.SquareTask)


def trained(folder, *, materialise, inline=True, **values):
    values = {"settings": {"steps": 12}, **values}
    experiment = Experiment.from_values(
        {
            "task": "squares",
            "storage": str(folder),
            "prepare": {"materialise": materialise},
            **values,
        },
        inline=inline,
    )
    results = experiment.run()
    return experiment, results, load_file(checkpoint_weights(experiment.run_folder, "last"))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_computed_rows_train_to_the_same_weights_and_store_nothing(tmp_path):
    _, stored_results, stored = trained(tmp_path / "a", materialise=True)
    experiment, results, computed = trained(tmp_path / "b", materialise=False)
    assert same(stored, computed)
    assert results[0].values == stored_results[0].values
    assert list((tmp_path / "a/prepared").rglob("shards"))
    assert not list((tmp_path / "b/prepared").rglob("shards"))
    assert training_rejects(experiment.run_folder) == []


def test_loader_processes_compute_rows_too(tmp_path):
    _, _, thread = trained(tmp_path / "a", materialise=False)
    _, _, processes = trained(tmp_path / "b", materialise=False, train={"loader_workers": 2})
    assert same(thread, processes)


def test_rejects_of_training_are_written_down_and_told(tmp_path, capsys):
    path = tmp_path / "six.yaml"
    path.write_text(
        f"task: squares\nstorage: {tmp_path / 's'}\nprepare: {{materialise: false}}\n"
        "settings: {steps: 16, broken: [3, 7], count: 16}\n"
    )
    assert main.run(["train", str(path), "--inline"]) == 3
    err = capsys.readouterr().err
    assert "rejected by training: train-0003: " in err and "square is broken" in err
    assert main.run(["train", str(path), "--inline", "--prepare.allowed-rejects", "2"]) == 0
    (folder,) = (tmp_path / "s/runs/six").iterdir()
    written = json.loads((folder / "rejects.json").read_text())
    assert [key for key, _ in written["train"]] == ["train-0003", "train-0007"]
    run = Experiment.from_file(path).run_folder
    assert [r.key for r in read_rejects(run, []) if r.where == "train"] == [
        "train-0003",
        "train-0007",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_several_training_processes_compute_rows_and_agree_with_one(tmp_path):
    settings = {"steps": 6, "broken": [3]}
    _, _, one = trained(tmp_path / "a", materialise=False, settings=settings)
    experiment, _, two = trained(
        tmp_path / "b",
        materialise=False,
        inline=False,
        settings=settings,
        train={"strategy": "ddp", "num_workers": 2},
    )
    assert all(torch.allclose(one[k], two[k], atol=1e-6) for k in one)
    assert {key for key, _ in training_rejects(experiment.run_folder)} <= {"train-0003"}
