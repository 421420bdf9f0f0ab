"""The end of a phase is shared by runs that would train the same one, and by no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import sixth_task

import eagleray.api
from eagleray.api import Experiment
from eagleray.experiment import load
from eagleray.storage import Store
from eagleray.task import Phase
from eagleray.train.job import TrainJob
from eagleray.train.phase_artifact import fingerprint


class TwoPhases(sixth_task.SquareTask):
    """The squares, learned in two phases."""

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase(name="a", steps=3, batch_size=4, lr=0.05),
            Phase(name="b", steps=2, batch_size=4, lr=0.05),
        )


@pytest.fixture(autouse=True)
def squares_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: TwoPhases)


def trained_phases(storage: Path, lr: float, **values: Any) -> set[str]:
    """Train two phases, the second one with a rate of its own; return which left checkpoints."""
    train = {"phases": [{"name": "b", "lr": lr}]}
    experiment = Experiment.from_values(
        {"task": "squares", "storage": str(storage), "train": train, **values}, inline=True
    )
    experiment.prepare()
    return {name.partition("-")[0] for name in experiment.train().checkpoints}


@pytest.mark.parametrize("materialise", [True, False])
def test_same_prepared_data_share_the_first_phase(tmp_path: Path, materialise: bool) -> None:
    values = {"prepare": {"materialise": materialise}}
    assert trained_phases(tmp_path, 0.1, **values) == {"a", "b"}
    assert trained_phases(tmp_path, 0.2, **values) == {"b"}


@pytest.mark.parametrize("materialise", [True, False])
def test_another_version_of_a_stage_trains_the_first_phase_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, materialise: bool
) -> None:
    values = {"prepare": {"materialise": materialise}}
    trained_phases(tmp_path, 0.1, **values)
    monkeypatch.setattr(sixth_task.DrawSquares, "version", 99)
    assert trained_phases(tmp_path, 0.2, **values) == {"a", "b"}


def test_other_weights_of_a_stage_train_the_first_phase_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.bin"
    monkeypatch.setattr(sixth_task.DrawSquares, "weights", lambda stage: [weights])
    weights.write_bytes(b"one network")
    trained_phases(tmp_path / "storage", 0.1)
    weights.write_bytes(b"another network")
    assert trained_phases(tmp_path / "storage", 0.2) == {"a", "b"}


class AnonymousRows:
    """Rows that cannot say what they came from."""


def test_rows_of_unknown_origin_share_nothing(tmp_path: Path) -> None:
    experiment = Experiment.from_values({"task": "squares", "storage": str(tmp_path)})
    task = TwoPhases(sixth_task.SquareSettings())
    job = TrainJob(experiment.settings, task, Store(str(tmp_path)), {})
    assert fingerprint(job, 0) is not None
    assert fingerprint(replace(job, rows={"squares:train": AnonymousRows()}), 0) is None
