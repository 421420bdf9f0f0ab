"""A run's identity, its summary, and the lease that keeps two drivers apart."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest
from tests.sixth_task import SquareSettings

from eagleray.analysis.table import benchmark_table, runs_table
from eagleray.experiment.schema import ExperimentSettings, TrainSettings
from eagleray.runs import run_folder
from eagleray.runs.lease import Lease, RunIsBusyError
from eagleray.storage import Store
from eagleray.task import SettingsError


def experiment(tmp_path, **values):
    return ExperimentSettings(
        task="squares",
        name="exp",
        storage=str(tmp_path),
        **{"settings": SquareSettings(), **values},
    )


def test_same_settings_continue_the_same_run(tmp_path):
    first = run_folder.run_store(experiment(tmp_path))
    faster = experiment(tmp_path, train=TrainSettings(strategy="ddp", num_workers=2, log_every=1))
    assert run_folder.run_store(faster).uri == first.uri


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"settings": SquareSettings(noise=0.1)}, {"run": "b"}]
)
def test_settings_that_change_results_make_another_run(tmp_path, change):
    first = run_folder.run_store(experiment(tmp_path))
    assert run_folder.run_store(experiment(tmp_path, **change)).uri != first.uri


def test_new_begins_a_run_that_is_then_continued(tmp_path):
    settings = experiment(tmp_path)
    for _ in range(11):
        run = run_folder.run_store(settings, new=True)
        run.write("summary.json", b"{}")
    assert run.uri.endswith(".11")
    assert run_folder.run_store(settings).uri == run.uri


def test_summary_is_merged_and_a_damaged_one_is_no_crash(tmp_path):
    run = Store(str(tmp_path))
    run_folder.update_summary(run, state="training", results={"a": 1})
    assert run_folder.update_summary(run, results={"b": 2})["results"] == {"a": 1, "b": 2}
    run.write("summary.json", b'{"state": ')
    assert run_folder.read_summary(run) == {}


def test_find_run_names_what_is_there(tmp_path):
    run_folder.run_store(experiment(tmp_path)).write("summary.json", b"{}")
    assert run_folder.find_run(str(tmp_path), "exp").uri.endswith(
        run_folder.run_store(experiment(tmp_path)).uri.rsplit("/", 1)[1]
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
    published = [
        {"metric": "pq", "value": 0.6, "source": "paper", "model": "R50", "recalled": True},
    ]
    result = {
        "benchmark": "val",
        "checkpoint": "best",
        "units": 3,
        "metric": "pq",
        "values": {"pq": 0.65, "sq": None},
        "published": published,
    }
    text = benchmark_table(result)
    for part in ("0.6*", "0.65", "+0.05", "R50 paper", "quoted from memory"):
        assert part in text
    assert "0.65" in runs_table([("exp/run", {"task": "t", "results": {"val": result}})])
    assert "exp/run" in runs_table([("exp/run", {})])
