"""``eagleray show``: every format for runs too, and several runs at once."""

from __future__ import annotations

import csv
import io

import pytest

from eagleray.cli.main import run
from eagleray.runs.records import EvaluationResult
from eagleray.runs.run_folder import RunFolder
from eagleray.task import PublishedResult


@pytest.fixture
def storage(tmp_path):
    for name, value in (("main-1", 0.625), ("main-2", 0.51234567)):
        result = EvaluationResult(
            *("toy_val", "best", "miou"),
            values={"miou": value},
            published=(PublishedResult("miou", 0.7, "a paper", recalled=True),),
        )
        folder = RunFolder(str(tmp_path / "runs" / "exp" / name))
        folder.update_summary(
            task="tiny", state="trained", step=3, results={"toy_val": result.as_summary()}
        )
    return tmp_path


def shown(storage, capsys, *given):
    assert run(["show", "--storage", str(storage), *given]) == 0
    return capsys.readouterr().out


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_main_table_follows_the_format(storage, capsys):
    assert [row["ours"] for row in rows(shown(storage, capsys, "--format", "csv"))] == [
        "0.625", "0.51234567"
    ]  # fmt: skip
    assert "| exp/main-1" in shown(storage, capsys, "--format", "markdown")
    assert r"\toprule" in shown(storage, capsys, "--format", "latex")
    assert "exp/main-1" in shown(storage, capsys)


@pytest.mark.parametrize("names", [["exp"], ["main-1", "exp/main-2"]])
def test_several_runs_are_shown(storage, capsys, names):
    text = shown(storage, capsys, *names)
    assert text.count("toy_val (best checkpoint") == 2
    listed = rows(shown(storage, capsys, *names, "--format", "csv"))
    assert [row["run"] for row in listed] == ["exp/main-1", "exp/main-2"]
    assert float(listed[0]["difference"]) == pytest.approx(-0.075)
    assert listed[0]["source"] == "a paper *"


def test_a_run_without_results_says_so(storage, capsys):
    RunFolder(str(storage / "runs" / "exp" / "main-3")).update_summary(state="training")
    assert "no results yet" in shown(storage, capsys, "main-3")


def test_an_unknown_run_is_refused(storage, capsys):
    assert run(["show", "--storage", str(storage), "mian-1"]) == 2
    assert "no run called 'mian-1'" in capsys.readouterr().err
