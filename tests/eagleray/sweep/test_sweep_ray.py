"""Sweeps on Ray Tune: the same results as here, weak trials ended early, dead ones recorded."""

from __future__ import annotations

import time

import pytest

from eagleray.experiment.sweep import SchedulerSettings
from eagleray.options import RunOptions
from eagleray.runs.run_folder import find_run
from eagleray.sweep.driver import run_sweep
from eagleray.sweep.tune import Asha

LR = "train.phases.0.lr"


class Noted:
    """A progress that keeps what it is told."""

    def __init__(self):
        self.infos, self.units, self.notes = [], 0, []

    def start(self, title, total):
        self.total = total

    def advance(self, units=1, **info):
        self.units += units
        self.infos.append(info)

    def note(self, text):
        self.notes.append(text)

    def finish(self):
        pass


def test_trials_on_ray_give_the_results_of_trials_here(ray_cluster, tiny):
    """One trial fails, one dies in its process; all others are as they are without Ray."""
    section = {
        "seeds": [0, 1],
        "ablations": {
            "fast": {LR: 0.05},
            "bad": {"raise_at_step": 3},
        },
    }
    train = {"validate_on": {"benchmark": "fit", "every": 5}, "max_failures": 0}
    experiment = tiny(section, train=train)
    noted = Noted()
    result = run_sweep(experiment, RunOptions(progress=noted))
    here = run_sweep(experiment.model_copy(update={"name": "here"}), RunOptions(inline=True))
    assert [t.state for t in result.trials] == [t.state for t in here.trials]
    assert [t.values for t in result.trials] == [t.values for t in here.trials]
    assert [t.error for t in result.trials] == [t.error for t in here.trials]
    assert {t.id for t in result.failed} == {"bad-s0", "bad-s1"}
    assert (noted.total, noted.units) == (6, 6)
    assert noted.infos[-1]["failed"] == 2
    assert noted.infos[-1]["best_mse"] == min(t.value for t in here.trials if t.value)
    assert max(info["running"] for info in noted.infos) <= 4


@pytest.mark.slow
def test_asha_ends_weak_trials_early_and_keeps_the_best(ray_cluster, tiny):
    section = {
        "trials_at_once": 1,
        "scheduler": {"kind": "asha", "grace_steps": 3, "reduction_factor": 3},
        "grid": {LR: [0.1, 0.0001, 0.0002]},
    }
    experiment = tiny(section, settings={"steps": 30})
    trials = {t.overrides[LR]: t for t in run_sweep(experiment, RunOptions()).trials}
    assert {lr: (t.state, t.steps) for lr, t in trials.items()} == {
        0.1: ("done", 30),
        0.0001: ("stopped", 3),
        0.0002: ("stopped", 3),
    }
    stopped = trials[0.0001]
    assert stopped.value == stopped.last_value == stopped.values["mse"]
    assert (stopped.best_step, stopped.error) == (3, None)
    assert find_run(experiment.storage, stopped.run).summary().state == "stopped"
    again = run_sweep(experiment, RunOptions())
    assert {t.overrides[LR]: t for t in again.trials} == trials


def rung_decision(reports, value, step, higher_is_better=True):
    """Return what ASHA makes of a value after it was told earlier trials."""
    from types import SimpleNamespace

    settings = SchedulerSettings(kind="asha", grace_steps=3, reduction_factor=3)
    scheduler = Asha(settings, higher_is_better=higher_is_better)
    for number, earlier in enumerate(reports):
        scheduler.feed(str(number), earlier)
    new = SimpleNamespace(trial_id="new")
    scheduler.on_trial_add(None, new)
    return scheduler.on_trial_result(None, new, {"value": value, "steps": step})


@pytest.mark.parametrize(
    ("value", "step", "decision"),
    [(0.1, 3, "STOP"), (0.9, 3, "CONTINUE"), (0.1, 2, "CONTINUE"), (0.45, 9, "STOP")],
)
def test_asha_is_told_what_trials_of_an_earlier_call_were_like(value, step, decision):
    earlier = [[(0.2, 3)], [(0.3, 3)], [(0.4, 3), (0.5, 9)]]
    assert rung_decision([], value, step) == "CONTINUE"
    assert rung_decision(earlier, value, step) == decision
    negated = [[(-value, at) for value, at in reports] for reports in earlier]
    assert rung_decision(negated, -value, step, higher_is_better=False) == decision


@pytest.mark.slow
def test_trial_whose_process_dies_goes_on_and_the_others_too(ray_cluster, tiny, tmp_path):
    flag = tmp_path / "killed"
    ablations = {"killed": {"kill_at_step": 8, "kill_flag": str(flag)}, "fast": {LR: 0.05}}
    experiment = tiny({"ablations": ablations})
    trials = {t.id: t for t in run_sweep(experiment, RunOptions()).trials}
    assert flag.exists()
    assert {t.state for t in trials.values()} == {"done"}
    assert trials["killed-s0"].value == trials["baseline-s0"].value


@pytest.mark.slow
def test_groups_of_workers_give_their_resources_back_when_ended_early(ray_cluster, tiny):
    """Two workers per trial, one trial at a time: a leak would keep the next one waiting."""
    section = {
        "trials_at_once": 1,
        "scheduler": {"kind": "asha", "grace_steps": 10, "reduction_factor": 3},
        "grid": {LR: [0.1, 0.0001, 0.0002]},
    }
    train = {"strategy": "ddp", "num_workers": 2, "checkpoint_every": 60}
    settings = {"steps": 60, "load_seconds": 0.1}
    experiment = tiny(section, train=train, settings=settings)
    trials = {t.overrides[LR]: t for t in run_sweep(experiment, RunOptions()).trials}
    assert {lr: t.state for lr, t in trials.items()} == {
        0.1: "done",
        0.0001: "stopped",
        0.0002: "stopped",
    }
    assert all(t.steps < 60 for t in trials.values() if t.state == "stopped")
    deadline = time.monotonic() + 60
    while ray_cluster.available_resources().get("CPU", 0) < 4:
        assert time.monotonic() < deadline, ray_cluster.available_resources()
        time.sleep(0.5)


@pytest.mark.slow
def test_optuna_search_on_ray(ray_cluster, tiny):
    space = {LR: {"log_uniform": [1e-4, 1e-1]}, "dropout": {"choice": [0.0, 0.2]}}
    search = {"algorithm": "optuna", "space": space, "trials": 4}
    result = run_sweep(tiny({"search": search}), RunOptions())
    assert [t.state for t in result.trials] == ["done"] * 4
    assert len({t.overrides[LR] for t in result.trials}) == 4
