"""``eagleray check``: what a sound task gives, and what the command says."""

import json
import random

import numpy as np
import pytest
import torch
from tests import sixth_task
from tests.eagleray.predict.double_task import DoubleSettings, DoubleTask

import eagleray.api
from eagleray.check import CheckOptions, check
from eagleray.check.values import difference, stray_tensors
from eagleray.cli import checking, main
from eagleray.experiment import load
from eagleray.task import Requirement, SettingsError
from eagleray.testing import check_task


@pytest.fixture(autouse=True)
def squares_installed(monkeypatch):
    for module in (load, eagleray.api, checking):
        monkeypatch.setattr(module, "task_type", lambda name: sixth_task.SquareTask)


def squares(**settings):
    return sixth_task.SquareTask(sixth_task.SquareSettings(**settings))


def square_file(folder):
    path = folder / "mine.json"
    path.write_text(json.dumps([[0, 1] * 3] * 6))
    return path


def test_a_sound_task_has_no_findings_and_every_part_was_checked(tmp_path):
    report = check(squares(), None, CheckOptions(inputs=(square_file(tmp_path),)))
    assert [str(f) for f in report.findings] == []
    assert report.skipped == []
    made = {what for what, _ in report.passed}
    assert {
        "load is deterministic",
        "rows are stored and read",
        "losses are alike on all ranks",
        "gradients reach what is trained",
        "modes are left alone",
        "tensors can be moved",
        "compute works on 0 units",
        "compute works on 1 units",
        "compute works on 4 units",
        "pictures are RGB",
        "exports are files",
        ".json can be read back",
    } <= made


def test_what_could_not_be_checked_is_said():
    report = check(squares())
    assert report.findings == []
    ((what, reason),) = report.skipped
    assert what == "predict and export"
    assert "name files: --inputs" in reason


def test_the_same_in_pytest_with_an_experiment_and_its_phases(tmp_path):
    path = tmp_path / "six.yaml"
    path.write_text("task: squares\ntrain: {phases: [{steps: 3, batch_size: 2}]}\n")
    assert check_task(path) == []
    assert not (tmp_path / "storage").exists()


def test_a_task_that_only_predicts(tmp_path):
    (tmp_path / "one.num").write_text("7")
    assert check_task(DoubleTask(DoubleSettings()), inputs=[tmp_path]) == []


def test_command(tmp_path, capsys, monkeypatch):
    assert main.run(["check", "squares"]) == 0
    assert "0 findings" in capsys.readouterr().out
    path = tmp_path / "six.yaml"
    path.write_text("task: squares\n")
    monkeypatch.setattr(sixth_task.SquareTask, "build", lambda self: None)
    assert main.run(["check", str(path), "--settings.count", "8", "--items", "2"]) == 1
    assert "build() gives NoneType, no nn.Module" in capsys.readouterr().out
    assert main.run(["check", "squares", "--items", "0"]) == 2
    assert main.run(["check"]) == 2


def test_what_is_needed_and_not_there_is_said_first(monkeypatch):
    missing = [Requirement("photographs", False, "set settings.root")]
    monkeypatch.setattr(sixth_task.SquareTask, "requirements", lambda self: missing)
    with pytest.raises(SettingsError, match=r"set settings\.root"):
        check_task(squares())


def test_global_random_states_are_put_back():
    before = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    check_task(squares(count=4))
    after = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    assert difference(before, after) is None


def test_difference_names_the_place():
    first = {"boxes": [torch.zeros(2), np.array([1.0, np.nan])], "name": "a"}
    assert difference(first, {**first, "boxes": [torch.zeros(2), np.array([1.0, np.nan])]}) is None
    changed = {**first, "boxes": [torch.zeros(2), np.array([2.0, np.nan])]}
    assert difference(first, changed) == "['boxes'][1]"
    assert difference((1,), (1, 2)) == "the value (other parts or another length)"


def test_stray_tensors_are_found_in_objects():
    class Hidden:
        def __init__(self):
            self.boxes = [torch.zeros(1)]

    assert stray_tensors({"a": Hidden()}, torch.device("meta")) == ["['a'].boxes[0]"]
    assert stray_tensors({"a": Hidden()}, torch.device("cpu")) == []
