"""A run's identity, its summary, and the lease that keeps two drivers apart."""

from __future__ import annotations

import json
import os
import pickle
import socket
import time

import pytest
from tests.sixth_task import SquareSettings

from eagleray.analysis.table import benchmark_table, runs_listing
from eagleray.experiment.schema import ExperimentSettings, TrainSettings
from eagleray.runs import run_folder
from eagleray.runs.lease import Lease, RunIsBusyError
from eagleray.runs.records import EvaluationResult, RunSummary
from eagleray.runs.run_folder import RunFolder, run_of
from eagleray.storage import Store
from eagleray.task import SettingsError

RESULT = {
    "benchmark": "val",
    "checkpoint": "last",
    "units": 3,
    "metric": "pq",
    "values": {"pq": 0.65, "sq": None},
    "published": [
        {"metric": "pq", "value": 0.6, "source": "paper", "model": "R50", "recalled": True},
    ],
}


def experiment(tmp_path, **values):
    return ExperimentSettings(
        task="squares",
        name="exp",
        storage=str(tmp_path),
        **{"settings": SquareSettings(), **values},
    )


def test_same_settings_continue_the_same_run(tmp_path):
    first = run_folder.run_of(experiment(tmp_path))
    faster = experiment(tmp_path, train=TrainSettings(strategy="ddp", num_workers=2, log_every=1))
    assert run_folder.run_of(faster).uri == first.uri


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"settings": SquareSettings(noise=0.1)}, {"run": "b"}]
)
def test_settings_that_change_results_make_another_run(tmp_path, change):
    first = run_folder.run_of(experiment(tmp_path))
    assert run_folder.run_of(experiment(tmp_path, **change)).uri != first.uri


def test_new_begins_a_run_that_is_then_continued(tmp_path):
    settings = experiment(tmp_path)
    for _ in range(11):
        run = run_folder.run_of(settings, new=True)
        run.write("summary.json", b"{}")
    assert run.uri.endswith(".11")
    assert run_folder.run_of(settings).uri == run.uri


def test_summary_is_merged_and_a_damaged_one_is_no_crash(tmp_path):
    run = RunFolder(str(tmp_path))
    run.write("summary.json", b'{"of another version": 1}')
    run.update_summary(state="training", results={"val/last": RESULT})
    summary = run.update_summary(results={"val/best": {**RESULT, "checkpoint": "best"}})
    assert (summary.state, summary.task, summary.step) == ("training", "", None)
    assert [r.checkpoint for r in summary.results] == ["last", "best"]
    stored = json.loads(run.read("summary.json"))
    assert set(stored) == {"of another version", "state", "results"}
    run.write("summary.json", b'{"state": ')
    assert run.summary() == RunSummary()


@pytest.mark.parametrize(
    "values",
    [
        {"step": "5", "train": [1], "best": {"value": "x"}, "results": [1]},
        {"results": {"val/best": {"benchmark": "val"}}, "error": None},
    ],
)
def test_what_is_damaged_in_a_summary_is_left_out_and_the_rest_is_read(tmp_path, values):
    run = RunFolder(str(tmp_path))
    run.write("summary.json", json.dumps({"task": "t", **values}).encode())
    assert run.summary() == RunSummary(task="t")


def test_a_run_travels_to_other_processes(tmp_path):
    run = pickle.loads(pickle.dumps(RunFolder(str(tmp_path / "runs/exp/main-1"))))
    assert isinstance(run, RunFolder) and run.name == "exp/main-1"


def test_find_run_names_what_is_there(tmp_path):
    run_folder.run_of(experiment(tmp_path)).write("summary.json", b"{}")
    assert run_folder.find_run(str(tmp_path), "exp").uri.endswith(
        run_folder.run_of(experiment(tmp_path)).uri.rsplit("/", 1)[1]
    )
    with pytest.raises(SettingsError, match="exp/main-"):
        run_folder.find_run(str(tmp_path), "other")


def test_lease_counts_attempts_and_refuses_a_second_driver(tmp_path):
    run = Store(str(tmp_path))
    with Lease(run) as first:
        assert first.attempt == 1
    beat = json.loads(run.read("lease/000001.json"))
    assert beat["released"]
    run.write(
        "lease/000002.json",
        json.dumps({**beat, "attempt": 2, "released": False, "pid": 1}).encode(),
    )
    with pytest.raises(RunIsBusyError, match="process 1"), Lease(run):
        pass


@pytest.mark.parametrize("reason", ["dead process", "stale on another host"])
def test_lease_of_a_dead_driver_is_taken_over(tmp_path, reason):
    run = Store(str(tmp_path))
    dead = {"pid": 2**22 - 3, "host": socket.gethostname(), "time_s": time.time()}
    if reason == "stale on another host":
        dead = {"pid": os.getpid(), "host": "elsewhere", "time_s": time.time() - 1000}
    run.write("lease/000007.json", json.dumps({"attempt": 7, "released": False, **dead}).encode())
    with Lease(run) as lease:
        assert lease.attempt == 8


def test_tables_show_paper_ours_difference_and_mark_recalled_numbers():
    result = EvaluationResult.parse(RESULT)
    text = benchmark_table(result)
    for part in ("0.6*", "0.65", "+0.05", "R50 paper", "quoted from memory"):
        assert part in text
    assert "0.65" in runs_listing([("exp/run", RunSummary("t", results=(result,)))]).text()
    assert "exp/run" in runs_listing([("exp/run", RunSummary())]).text()


def test_copies_of_a_run_are_passed_over(tmp_path, caplog):
    caplog.set_level("WARNING", logger="eagleray")
    experiment = ExperimentSettings(
        task="t", name="e", settings=SquareSettings(), storage=str(tmp_path)
    )
    run = run_of(experiment)
    Store(run.uri).write("experiment.yaml", b"")
    Store(f"{run.uri}.bak").write("experiment.yaml", b"")
    assert run_of(experiment).uri == run.uri and "passed over" in caplog.text
    assert run_of(experiment, new=True).uri == f"{run.uri}.2"


@pytest.mark.parametrize("names", [{"name": "p/q"}, {"run": "x/y"}, {"run": ".."}])
def test_names_that_are_paths_are_refused_whichever_way_they_come(tmp_path, names):
    with pytest.raises(ValueError, match="is not a usable name"):
        ExperimentSettings(task="t", settings=SquareSettings(), storage=str(tmp_path), **names)
