"""A task of under 150 lines, written against the contract, runs through every verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests import sixth_task

import eagleray.api
from eagleray.api import Experiment
from eagleray.cli import main
from eagleray.experiment import load
from eagleray.storage import Store
from eagleray.task import LossTerm, Requirement, SettingsError
from eagleray.testing import check_task


@pytest.fixture(autouse=True)
def squares_installed(monkeypatch):
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: sixth_task.SquareTask)


def values(tmp_path, **settings):
    return {"task": "squares", "name": "six", "storage": str(tmp_path / "s"), "settings": settings}


def test_it_has_under_150_lines_of_code():
    lines = Path(sixth_task.__file__).read_text().splitlines()
    assert len([line for line in lines if line.strip()]) < 150


def test_prepare_train_evaluate_predict(tmp_path):
    experiment = Experiment.from_values(values(tmp_path), inline=True)
    before = experiment.evaluate(checkpoint="initial")[0]
    after = experiment.run()[0]
    assert after.values["accuracy"] >= 0.9 > before.values["accuracy"]
    assert (after.units, after.rejected) == (32, 0)
    assert after.published[0].source == "a coin"
    square = tmp_path / "mine.json"
    square.write_text(json.dumps([[0, 1] * 3] * 6))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    summary = experiment.predict([square, broken], str(tmp_path / "out"))
    assert (tmp_path / "out/mine.json").read_text() == "0"
    assert json.loads((tmp_path / "out/labels.json").read_text()) == [0]
    assert [key for key, _ in summary.rejected] == ["broken"]


class MeasuredSquares(sixth_task.DrawSquares):
    """Squares that know their mean (``fit``) and how many there are of each class (``finish``)."""

    fit_items = 8

    def fit(self, samples):
        return {"mean": float(np.mean([square.mean() for _, square, _ in samples]))}

    def finish(self, rows):
        return {"counts": [int(n) for n in np.bincount([rows[k]["label"] for k in rows.keys()])]}  # noqa: SIM118


class BalancedTask(sixth_task.SquareTask):
    """The sixth task with centered squares and weighted classes."""

    seen: ClassVar[list] = []

    def stages(self):
        return [MeasuredSquares(self.settings, source) for source in ("train", "val")]

    def stages_of(self, source):
        return ["squares:train", *super().stages_of(source)]

    def dataset(self, source, rows):
        self.seen.append(("dataset", rows["squares:train"].fitted()["mean"]))
        return super().dataset(source, rows)

    def losses(self, model, batch, step):
        squares, labels = batch
        counts = torch.tensor(step.rows["squares:train"].summary()["counts"]).float()
        self.seen.append(("losses", step.rows["squares:train"].fitted()["mean"]))
        weights = 1 / counts
        loss = F.cross_entropy(model(squares), labels, weight=weights, reduction="sum")
        return {"cross_entropy": LossTerm(loss, weights[labels].sum())}


@pytest.mark.parametrize("materialise", [True, False])
def test_what_fit_and_finish_gave_reaches_dataset_and_losses(tmp_path, monkeypatch, materialise):
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: BalancedTask)
    monkeypatch.setattr(BalancedTask, "seen", [])
    asked = values(tmp_path, steps=2) | {"prepare": {"materialise": materialise}}
    assert Experiment.from_values(asked, inline=True).train().finished
    means = dict(BalancedTask.seen)
    assert set(means) == {"dataset", "losses"} and means["dataset"] == means["losses"] != 0
    assert check_task(BalancedTask(sixth_task.SquareSettings())) == []


def test_run_folder_holds_what_the_result_was_made_with(tmp_path):
    experiment = Experiment.from_values(values(tmp_path, steps=4), inline=True)
    experiment.run()
    run = experiment.run_folder
    assert json.loads(run.read("environment.json"))["seed"] == 0
    assert b"noise: 0.3" in run.read("experiment.yaml")
    assert json.loads(run.read("summary.json"))["state"] == "trained"
    assert set(json.loads(run.read("stages.json"))) == {"squares:train", "squares:val"}
    assert run.files("checkpoints", recursive=True)


def test_the_same_command_does_nothing_twice(tmp_path):
    first = Experiment.from_values(values(tmp_path, steps=4), inline=True).run()
    again = Experiment.from_values(values(tmp_path, steps=4), inline=True)
    assert [p.shards_done for p in again.plan()] == [p.shards for p in again.plan()]
    names = again.run_folder.files("checkpoints", recursive=True)
    files = {name: again.run_folder.read(name) for name in names}
    assert again.run() == first
    assert files == {name: again.run_folder.read(name) for name in files}


def test_a_broken_input_is_counted_and_tells_in_the_exit_status(tmp_path, capsys):
    path = tmp_path / "six.yaml"
    path.write_text(f"task: squares\nstorage: {tmp_path / 's'}\nsettings: {{broken: [1, 5]}}\n")
    assert main.run(["prepare", str(path), "--inline"]) == 3
    assert "square is broken" in capsys.readouterr().err
    assert main.run(["prepare", str(path), "--inline", "--prepare.allowed-rejects", "4"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "squares:" in line]
    assert [[c.strip() for c in row.split("|")][3:6] for row in rows] == [["32", "30", "2"]] * 2


def test_verbs_plan_train_evaluate_show_prune(tmp_path, capsys):
    path = tmp_path / "six.yaml"
    storage = tmp_path / "s"
    path.write_text(f"task: squares\nstorage: {storage}\nsettings: {{steps: 4, count: 8}}\n")
    assert main.run(["plan", str(path)]) == 0
    assert "squares:train" in capsys.readouterr().out
    assert main.run(["run", str(path), "--inline"]) == 0
    assert "a coin" in capsys.readouterr().out
    assert main.run(["evaluate", str(path), "--inline", "--checkpoint", "initial"]) == 0
    assert main.run(["show", "--storage", str(storage)]) == 0
    assert "six/main-" in capsys.readouterr().out
    assert main.run(["prepare", str(path), "--inline", "--settings.noise", "0.9"]) == 0
    used = Store(str(storage)).files("prepared", recursive=True)
    assert main.run(["prune", "--storage", str(storage), "--delete"]) == 0
    left = Store(str(storage)).files("prepared", recursive=True)
    assert 0 < len(left) < len(used)
    assert main.run(["evaluate", str(path), "--inline"]) == 0


def test_pretrained_weights_are_read_to_begin_training_and_for_nothing_else(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(sixth_task.SquareTask, "load_pretrained", lambda self, m: read.append(m))
    experiment = Experiment.from_values(values(tmp_path, steps=4), inline=True)
    experiment.train()
    assert len(read) == 1
    experiment.train()
    experiment.evaluate()
    square = tmp_path / "mine.json"
    square.write_text(json.dumps([[0, 1] * 3] * 6))
    experiment.predict([square], str(tmp_path / "out"))
    assert len(read) == 1
    experiment.evaluate(checkpoint="initial")
    assert len(read) == 2


def test_what_only_training_needs_is_asked_for_before_anything_starts(tmp_path, monkeypatch):
    missing = [Requirement("weights", False, "set settings.weights", training_only=True)]
    monkeypatch.setattr(sixth_task.SquareTask, "requirements", lambda self: missing)
    experiment = Experiment.from_values(values(tmp_path), inline=True)
    with pytest.raises(SettingsError, match=r"set settings\.weights"):
        experiment.run()
    assert not experiment.run_folder.exists("experiment.yaml")
    assert experiment.evaluate(checkpoint="initial")[0].units == 32


@pytest.mark.parametrize("verb", ["train", "run"])
def test_what_other_code_made_is_computed_anew_where_asked(tmp_path, capsys, verb):
    path = tmp_path / "six.yaml"
    path.write_text(json.dumps(values(tmp_path, steps=2, count=8)))
    assert main.run(["prepare", str(path), "--inline"]) == 0
    (code,) = (tmp_path / "s/prepared").rglob("code.json")
    made = json.loads(code.read_text())
    made["modules"] = dict.fromkeys(made["modules"], "another")
    code.write_text(json.dumps(made))

    def said(*flags):
        capsys.readouterr()
        assert main.run([verb, str(path), "--inline", *flags]) == 0
        return capsys.readouterr().err

    assert "WARNING" in said()
    markers = {p: p.stat().st_mtime_ns for p in (tmp_path / "s/prepared").rglob("markers/*")}
    said("--again")
    assert markers.keys() == {*(tmp_path / "s/prepared").rglob("markers/*")}
    assert all(p.stat().st_mtime_ns > then for p, then in markers.items())
    assert "WARNING" not in said()
    assert main.run([verb, str(path), "--inline", "--again", "--keep"]) == 2
