"""Mistakes are told with what was asked, what there is, and where it happened."""

from __future__ import annotations

import math
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.eagleray.tiny_task import TinyData, TinyTask
from tests.eagleray.train.workers import experiment

import eagleray.api
from eagleray.cli import main, work
from eagleray.experiment import load
from eagleray.options import RunOptions
from eagleray.prepare import StagePlan
from eagleray.prepare.driver import LabeledRows
from eagleray.runs.run_folder import results_digest
from eagleray.storage import Store
from eagleray.task import EaglerayError, InputError, Metrics, Settings, SettingsError
from eagleray.train import train_run


class Unknown:
    """What JSON has no form for."""


class Strange(Settings):
    """Holds something that cannot be written down."""

    value: Any = Unknown()


def trained_by(task: type[TinyTask], folder: Path, **train: Any) -> Any:
    asked = experiment(**train)
    options = RunOptions(inline=True)
    return train_run(asked, task(asked.settings), Store(str(folder)), {}, options)


def trace(error: pytest.ExceptionInfo[BaseException]) -> str:
    return "".join(traceback.format_exception(error.value))


def test_a_wrong_label_lists_those_that_are_there() -> None:
    rows = LabeledRows({"images:train": {}, "labels": {}})  # type: ignore[dict-item]
    with pytest.raises(EaglerayError, match=r"did you mean 'images:train'.* Allowed: .*labels"):
        rows["images"]
    assert "images" not in rows and rows.get("images") is None


class FailingData(TinyData):
    def load(self, index: int, rng: np.random.Generator) -> Any:
        return {}["missing"] if index == 3 else super().load(index, rng)


class FailingTask(TinyTask):
    def dataset(self, source: str, rows: Any) -> TinyData:
        return FailingData(self.settings)


def test_a_sample_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as error:
        trained_by(FailingTask, tmp_path)
    assert "while sample 's003' was loaded" in trace(error)


class Dividing(TinyTask):
    def compute(self, benchmark: str, rows: Any) -> Metrics:
        return Metrics({"mse": 1 / 0})


def test_a_metric_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as error:
        trained_by(Dividing, tmp_path, validate_on={"benchmark": "fit", "every": 2})
    assert "while 'fit' was computed over 24 units" in trace(error)


class UnreadableData(TinyData):
    def load(self, index: int, rng: np.random.Generator) -> Any:
        raise InputError("bad")


class Unreadable(TinyTask):
    def dataset(self, source: str, rows: Any) -> Any:
        self.asked = getattr(self, "asked", 0) + 1
        return (TinyData if self.asked == 1 else UnreadableData)(self.settings)


def test_a_validation_without_units_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'fit' has no units to score: it has 24"):
        trained_by(Unreadable, tmp_path, validate_on={"benchmark": "fit", "every": 2})


def test_a_setting_that_cannot_be_written_down_is_told() -> None:
    with pytest.raises(SettingsError, match=r"task 'tiny' cannot be written down .*Unknown"):
        results_digest(experiment().model_copy(update={"settings": Strange()}))


@pytest.fixture
def tiny_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: TinyTask)
    path = tmp_path / "a.yaml"
    path.write_text(f"task: tiny\nstorage: {tmp_path}/s\n")
    return path


def test_plan_names_a_misspelt_benchmark(tiny_file: Path, capsys: Any) -> None:
    assert main.run(["plan", str(tiny_file), "--train.validate_on.benchmark", "fitt"]) == 2
    assert "train.validate_on.benchmark is 'fitt'" in capsys.readouterr().err


def test_plan_says_what_is_not_known_yet(
    tiny_file: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Folder:
        fingerprint = "abc"

    later = StagePlan("late", Folder(), None, None, 0, 0, 1, math.nan)  # type: ignore[arg-type]
    monkeypatch.setattr(eagleray.api.Experiment, "plan", lambda self: [later])
    assert main.run(["plan", str(tiny_file)]) == 0
    text = capsys.readouterr().out
    assert "0/?" in text and "?: known when" in text
    assert "None" not in text and "nan" not in text


def test_exit_status_3_names_the_setting_that_allows_rejects(tiny_file: Path, capsys: Any) -> None:
    printer = work._Printer(eagleray.api.Experiment.from_file(tiny_file))
    printer._count(2)
    assert printer.status == work.REJECTS_STATUS
    assert "2 rejected, prepare.allowed_rejects is 0: exit status 3" in capsys.readouterr().err
