"""``eagleray evaluate``: one table over checkpoints and benchmarks, and the regression guard."""

from __future__ import annotations

import json

import pytest
from tests.sixth_task import SquareTask

import eagleray.api
from eagleray.cli import main
from eagleray.experiment import load
from eagleray.task import Benchmark


class TwoBenchmarks(SquareTask):
    """The squares, scored on both of their splits."""

    def benchmarks(self):
        return (
            *super().benchmarks(),
            Benchmark("train", "train", "accuracy", "Share of hits in training.", {"hit": "bool"}),
        )


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A trained experiment with results of two checkpoints on two benchmarks."""
    folder = tmp_path_factory.mktemp("guard")
    path = folder / "six.yaml"
    path.write_text(f"task: squares\nstorage: {folder / 's'}\nsettings: {{count: 16}}\n")
    with pytest.MonkeyPatch.context() as patch:
        for module in (load, eagleray.api):
            patch.setattr(module, "task_type", lambda name: TwoBenchmarks)
        assert main.run(["run", str(path), "--inline"]) == 0
        yield path


def evaluate(experiment, *arguments):
    return main.run(["evaluate", *arguments, str(experiment), "--inline"])


def test_one_table_over_all_checkpoints_and_benchmarks(experiment, capsys):
    assert evaluate(experiment, "--benchmark", "all", "--checkpoint", "best", "initial") == 0
    out = capsys.readouterr().out
    assert out.count("| benchmark") == 1 and "paper" in out and "difference" in out
    rows = [
        [c.strip() for c in line.split("|")[1:4]] for line in out.splitlines() if "accu" in line
    ]
    assert rows == [
        ["val", "best", "16"],
        ["val", "initial", "16"],
        ["train", "best", "16"],
        ["train", "initial", "16"],
    ]


def test_a_flag_with_several_values_does_not_take_the_experiment(experiment, capsys):
    assert evaluate(experiment, "--benchmark", "val", "train") == 0
    assert "train" in capsys.readouterr().out


def test_the_guard_passes_against_the_run_itself(experiment, capsys):
    storage = experiment.parent / "s"
    (run,) = [p.name for p in (storage / "runs/six").iterdir()]
    for name in (run, "six", f"six/{run}", str(storage / "runs/six" / run)):
        assert evaluate(experiment, "--against", name) == 0
        assert "none of 1 metrics fell" in capsys.readouterr().out


def better(experiment, tmp_path, **changes):
    """A copy of the run's results in another storage, with some values changed."""
    storage = experiment.parent / "s"
    (run,) = (storage / "runs/six").iterdir()
    result = json.loads((run / "evaluation/val/best.json").read_text())
    result.update(changes)
    other = tmp_path / "other/runs/six/better"
    (other / "evaluation/val").mkdir(parents=True)
    (other / "experiment.yaml").write_text("task: squares\n")
    (other / "evaluation/val/best.json").write_text(json.dumps(result))
    return str(other)


def test_a_fall_is_shown_and_told_by_the_exit_status(experiment, tmp_path, capsys):
    other = better(experiment, tmp_path, values={"accuracy": 1.25})
    assert evaluate(experiment, "--against", other) == 4
    out = capsys.readouterr().out
    assert "1 of 1 metrics fell" in out and "1.25" in out
    assert evaluate(experiment, "--against", other, "--tolerance", "accuracy=0.5") == 0


def test_a_vanished_metric_is_told_by_the_exit_status(experiment, tmp_path, capsys):
    other = better(experiment, tmp_path, values={"accuracy": 0.1, "area": 3.0})
    assert evaluate(experiment, "--against", other, "--tolerance", "9") == 4
    assert "gone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "crops"}, "another protocol"),
        ({"units_digest": "0"}, "other units"),
        ({"units_digest": ""}, "evaluate that run again"),
    ],
)
def test_results_that_mean_something_else_are_refused(
    experiment, tmp_path, capsys, changes, message
):
    assert evaluate(experiment, "--against", better(experiment, tmp_path, **changes)) == 2
    assert message in capsys.readouterr().err


def test_fewer_units_are_refused(experiment, capsys):
    assert evaluate(experiment, "--against", "six", "--limit", "4") == 2
    assert "other units" in capsys.readouterr().err
    assert evaluate(experiment) == 0


def test_a_run_that_is_not_there_and_a_lone_tolerance_are_refused(experiment, capsys):
    assert evaluate(experiment, "--against", "nothing") == 2
    assert "no run called 'nothing'" in capsys.readouterr().err
    assert evaluate(experiment, "--tolerance", "1") == 2
    assert "--against" in capsys.readouterr().err
