"""Mistakes in a task's evaluation are told, and pictures never touch a number."""

from __future__ import annotations

import pytest
from tests.sixth_task import SquareTask

from eagleray.evaluate.driver import choose_benchmarks, evaluate_checkpoints
from eagleray.experiment import load
from eagleray.experiment.load import make_experiment
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.prepare.faults import FaultError
from eagleray.progress import Silent
from eagleray.runs.run_folder import RunFolder
from eagleray.storage import Store
from eagleray.task import EaglerayError, InputError, Metrics


class Notes(Silent):
    """Progress that keeps what it is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def evaluate(task_cls, folder, monkeypatch, name):
    monkeypatch.setattr(load, "task_type", lambda _: task_cls)
    experiment = make_experiment(
        {"task": "squares", "storage": str(folder), "evaluate": {"pictures": 3}}
    )
    task, notes = task_cls(experiment.settings), Notes()
    options = RunOptions(inline=True, limit=6, device="cpu", progress=notes)
    rows = prepare_stages(task, Store(str(folder)), experiment.prepare, options).rows
    run = RunFolder(str(folder / name))
    (result,) = evaluate_checkpoints(
        experiment, task, run, rows, choose_benchmarks(task, ()), ("initial",), options
    )
    return result, "\n".join(notes.notes)


class ScoreFails(SquareTask):
    def score(self, benchmark, sample, prediction):
        return {"hit": sample.no_such_field}


class PredictFails(SquareTask):
    def predict(self, model, samples):
        raise RuntimeError("shapes (3, 4) and (5,) do not fit")


@pytest.mark.parametrize(
    ("task", "error"), [(ScoreFails, "no_such_field"), (PredictFails, "do not fit")]
)
def test_a_bug_in_score_or_predict_ends_with_its_traceback(tmp_path, monkeypatch, task, error):
    with pytest.raises(FaultError, match=error) as failed:
        evaluate(task, tmp_path, monkeypatch, "run")
    assert "Traceback" in str(failed.value) and failed.value.faults[0].key in str(failed.value)


class PictureFails(SquareTask):
    def picture(self, sample, prediction):
        raise IndexError("no such channel")


class PictureLeaves(SquareTask):
    def picture(self, sample, prediction):
        return {"../../x": super().picture(sample, prediction)["input"]}


@pytest.mark.parametrize("task", [PictureFails, PictureLeaves])
def test_a_failing_picture_leaves_units_and_metric_alone(tmp_path, monkeypatch, task):
    good, notes = evaluate(SquareTask, tmp_path, monkeypatch, "good")
    assert notes.count("picture") == 0
    result, notes = evaluate(task, tmp_path, monkeypatch, "bad")
    assert (result.units, result.rejected, result.values) == (6, 0, good.values)
    assert "pictures of 3 units failed" in notes and "Traceback" in notes


class AllRejected(SquareTask):
    def score(self, benchmark, sample, prediction):
        raise InputError("nothing to compare with")

    def compute(self, benchmark, rows):
        return Metrics({"accuracy": float("nan") if not list(rows) else 1.0})


class Divides(AllRejected):
    def compute(self, benchmark, rows):
        rows = list(rows)
        return Metrics({"accuracy": len(rows) / len(rows)})


class NoNumber(SquareTask):
    def compute(self, benchmark, rows):
        return Metrics({"accuracy": float("nan")})


def test_no_units_and_no_numbers_are_said_aloud(tmp_path, monkeypatch):
    result, notes = evaluate(AllRejected, tmp_path, monkeypatch, "rejected")
    assert result.units == 0 and "0 units" in notes and "nothing to compare with" in notes
    _, notes = evaluate(NoNumber, tmp_path, monkeypatch, "nan")
    assert "accuracy is no number (NaN) over 6 units" in notes
    with pytest.raises(EaglerayError, match=r"no units to compute.*6 items, 6 of them rejected"):
        evaluate(Divides, tmp_path, monkeypatch, "divides")
