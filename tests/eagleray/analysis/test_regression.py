"""Comparing an evaluation with another run's."""

from __future__ import annotations

import pytest

from eagleray.analysis.regression import (
    Tolerances,
    check_tolerances,
    compare,
    open_run,
    read_baseline,
    regression_table,
)
from eagleray.runs.records import EvaluationResult
from eagleray.runs.run_folder import RunFolder
from eagleray.task import SettingsError


def result(**changes):
    values = {
        "benchmark": "val",
        "protocol": "whole images",
        "checkpoint": "best",
        "metric": "PQ",
        "higher_is_better": True,
        "values": {"PQ": 50.0, "mIoU": 60.0},
        "units": 5,
        "rejected": 0,
        "units_digest": "abc",
        **changes,
    }
    return EvaluationResult(**values)


def fallen(now, before, *tolerances):
    changes = compare(now, before, Tolerances.parse(tolerances))
    return [c.metric for c in changes if c.is_regression]


def test_a_metric_that_fell_is_found():
    assert fallen(result(values={"PQ": 49.0, "mIoU": 61.0}), result()) == ["PQ"]


def test_equal_or_better_is_no_regression():
    assert fallen(result(), result()) == []
    assert fallen(result(values={"PQ": 50.0 - 1e-12, "mIoU": 60.0}), result()) == []


def test_a_fall_as_large_as_the_tolerance_is_allowed():
    now = result(values={"PQ": 49.5, "mIoU": 59.4})
    assert fallen(now, result(), "0.5") == ["mIoU"]
    assert fallen(now, result(), "0.5", "mIoU=0.7") == []
    assert fallen(now, result(), "mIoU=0.7") == ["PQ"]


def test_where_lower_is_better_a_rise_is_a_fall():
    lower = {"higher_is_better": False}
    now = result(values={"PQ": 51.0, "mIoU": 59.0}, **lower)
    assert fallen(now, result(**lower)) == ["PQ"]


@pytest.mark.parametrize("values", [{"PQ": 50.0}, {"PQ": 50.0, "mIoU": None}])
def test_a_metric_that_vanished_is_a_regression_and_said_aloud(values):
    changes = compare(result(values=values), result(), Tolerances(1000.0))
    assert [c.metric for c in changes if c.is_regression] == ["mIoU"]
    assert "gone" in regression_table(changes, "exp/main")


def test_a_metric_that_only_one_of_them_has_is_not_compared():
    before = result(values={"PQ": 50.0, "AP": None})
    assert [c.metric for c in compare(result(), before, Tolerances())] == ["PQ"]


@pytest.mark.parametrize("changes", [{"units_digest": "other"}, {"higher_is_better": False}])
def test_unequal_splits_and_directions_are_refused(changes):
    with pytest.raises(SettingsError, match="cannot be compared"):
        compare(result(), result(**changes), Tolerances())


@pytest.mark.parametrize("text", ["-1", "PQ=-1", "nan", "inf", "PQ=", "much"])
def test_what_is_no_tolerance_is_refused(text):
    with pytest.raises(SettingsError, match="no tolerance"):
        Tolerances.parse([text])


def test_a_tolerance_for_an_unknown_metric_names_the_nearest():
    changes = compare(result(), result(), Tolerances())
    with pytest.raises(SettingsError, match="did you mean 'mIoU'"):
        check_tolerances(Tolerances.parse(["mIuO=1"]), changes)


def stored(folder, *labels, **changes):
    run = RunFolder(str(folder))
    run.write("experiment.yaml", b"task: x\n")
    for label in labels:
        run.write(f"evaluation/val/{label}.json", result(checkpoint=label, **changes).encode())
    run.write("evaluation/val/units/best.json", b"{}")
    return run


def test_the_results_of_the_same_checkpoint_are_taken_or_the_only_trained_one(tmp_path):
    several = stored(tmp_path / "a", "best", "last", "initial")
    assert read_baseline(several, "val", "last", "whole images").checkpoint == "last"
    one = stored(tmp_path / "b", "last", "initial")
    assert read_baseline(one, "val", "mine", "whole images").checkpoint == "last"
    with pytest.raises(SettingsError, match=r"'mine'.*best, initial, last"):
        read_baseline(several, "val", "mine", "whole images")


def test_a_run_without_results_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="it has none: evaluate that run first"):
        read_baseline(stored(tmp_path), "val", "best", "whole images")


def test_another_protocol_is_refused_and_both_are_shown(tmp_path):
    with pytest.raises(SettingsError, match=r"(?s)another protocol.*whole images.*crops"):
        read_baseline(stored(tmp_path, "best"), "val", "best", "crops")


def test_results_that_do_not_name_their_units_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="evaluate that run again"):
        read_baseline(stored(tmp_path, "best", units_digest=""), "val", "best", "whole images")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"benchmark": "val"}'])
def test_damaged_results_are_named(tmp_path, content):
    run = stored(tmp_path, "best")
    run.write("evaluation/val/best.json", content)
    with pytest.raises(SettingsError, match=r"val/best\.json is damaged"):
        read_baseline(run, "val", "best", "whole images")


def test_a_run_is_found_by_folder_or_by_name(tmp_path):
    run = stored(tmp_path / "s/runs/exp/main-1")
    assert open_run("elsewhere", run.uri).uri == run.uri
    assert open_run(str(tmp_path / "s"), "exp/main-1").uri == run.uri
    with pytest.raises(SettingsError, match="no run called 'nothing'"):
        open_run(str(tmp_path / "s"), "nothing")
