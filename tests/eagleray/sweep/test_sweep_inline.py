"""Whole sweeps in this process: results, records, what runs again and what does not."""

from __future__ import annotations

import math

import pytest

from eagleray.api import Experiment
from eagleray.options import RunOptions
from eagleray.runs.lease import Lease
from eagleray.runs.metrics import next_attempt, read_lines
from eagleray.runs.run_folder import find_run, list_runs
from eagleray.sweep.driver import run_sweep
from eagleray.sweep.folder import list_sweeps
from eagleray.sweep.plan import plan_sweep
from eagleray.sweep.space import make_searcher, point_overrides
from eagleray.task import EaglerayError
from eagleray.train.stop import request_stop

HERE = RunOptions(inline=True)
LR = "train.phases.0.lr"
VALIDATED = {"validate_on": {"benchmark": "fit", "every": 5}}


def by_id(result):
    return {trial.id: trial for trial in result.trials}


def attempts(experiment):
    """Return how often each run was begun, from its metrics."""
    return {run.uri.rsplit("/", 1)[-1]: next_attempt(run) - 1 for run in runs(experiment)}


def runs(experiment):
    return list_runs(experiment.storage)


def test_trial_is_an_ordinary_run_with_the_same_result(tiny):
    experiment = tiny({"seeds": [0, 1], "ablations": {"fast": {LR: 0.05}}}, train=VALIDATED)
    result = run_sweep(experiment, HERE)
    trials = by_id(result)
    assert set(trials) == {"baseline-s0", "baseline-s1", "fast-s0", "fast-s1"}
    assert all(t.state == "done" and t.steps == 10 for t in trials.values())
    assert all(t.device_seconds > 0 and t.device == "cpu" for t in trials.values())
    alone = Experiment(experiment.model_copy(update={"name": "alone"}), inline=True)
    (expected,) = alone.run()
    baseline = trials["baseline-s0"]
    assert baseline.values == expected.values
    assert baseline.value == expected.values["mse"]
    assert baseline.last_value == alone.train().metrics["mse"]
    run = find_run(experiment.storage, baseline.run)
    assert run.summary().state == "trained"
    record = result.folder.summary()
    assert (record.kind, record.baseline, record.seeds) == ("ablations", "baseline", (0, 1))
    assert (record.metric, record.higher_is_better) == ("mse", False)
    assert record.variants == {"baseline": {}, "fast": {LR: 0.05}}


def test_best_step_and_value_are_those_of_the_best_checkpoint(tiny):
    section = {"grid": {LR: [0.2]}}
    experiment = tiny(section, settings={"steps": 40, "dropout": 0.5}, train=VALIDATED)
    (trial,) = run_sweep(experiment, HERE).trials
    lines = read_lines(find_run(experiment.storage, trial.run))
    validated = {ln["total_step"]: ln["mse"] for ln in lines if ln["kind"] == "validate"}
    best = min(validated, key=lambda step: validated[step])
    assert (trial.best_step, trial.value) == (best, pytest.approx(validated[best], rel=1e-6))
    assert trial.last_value == validated[40]


def test_same_command_trains_nothing_again(tiny):
    experiment = tiny({"ablations": {"fast": {LR: 0.05}}})
    first = run_sweep(experiment, HERE)
    before = attempts(experiment)
    assert run_sweep(experiment, HERE).trials == first.trials
    assert attempts(experiment) == before == dict.fromkeys(before, 1)


def test_finished_run_of_equal_settings_gives_its_result(tiny):
    Experiment(tiny({}), inline=True).run()
    experiment = tiny({"ablations": {"fast": {LR: 0.05}}})
    assert by_id(run_sweep(experiment, HERE))["baseline-s0"].state == "done"
    assert set(attempts(experiment).values()) == {1}
    assert len(attempts(experiment)) == 2


def test_failing_trial_is_recorded_and_tried_again_by_the_same_command(tiny):
    experiment = tiny({"ablations": {"bad": {"raise_at_step": 3}, "fast": {LR: 0.05}}})
    result = run_sweep(experiment, HERE)
    assert {t.id: t.state for t in result.trials} == {
        "baseline-s0": "done",
        "bad-s0": "failed",
        "fast-s0": "done",
    }
    (failed,) = result.failed
    assert failed.error == "ZeroDivisionError: made to fail at step 3"
    again = run_sweep(experiment, HERE)
    begun = {run.uri.rsplit("/", 1)[-1]: len(run.files("lease")) for run in runs(experiment)}
    assert {run for run, count in begun.items() if count == 2} == {failed.run.partition("/")[2]}
    assert by_id(again)["bad-s0"].device_seconds > failed.device_seconds


def test_stopped_sweep_goes_on_from_the_checkpoint(tiny, monkeypatch):
    section = {"ablations": {"fast": {LR: 0.05}}}
    experiment = tiny(section, settings={"steps": 100}, train={"checkpoint_every": 40})
    undisturbed = run_sweep(experiment.model_copy(update={"name": "other"}), HERE)
    plan = plan_sweep(experiment, HERE)
    job = plan.trials["baseline-s0"]
    run = job.run_folder
    asked = []

    def stop_at_step_20(metrics):
        asked.append(request_stop(run))

    stop_when_logged(monkeypatch, stop_at_step_20)
    result = run_sweep(experiment, HERE)
    assert not result.finished
    states = {t.id: t.state for t in result.trials}
    assert states == {"baseline-s0": "pending", "fast-s0": "pending"}
    stopped_at = by_id(result)["baseline-s0"].steps
    assert 0 < stopped_at < 100
    monkeypatch.undo()
    resumed = run_sweep(experiment, HERE)
    assert resumed.finished
    values = {t.id: t.value for t in resumed.trials}
    assert values == {t.id: t.value for t in undisturbed.trials}
    steps = [ln["total_step"] for ln in read_lines(run) if ln["kind"] == "train"]
    assert len(steps) == len(set(steps))
    assert next_attempt(run) - 1 == 2


def stop_when_logged(monkeypatch, ask):
    from eagleray.runs.metrics import MetricsWriter

    monkeypatch.setattr("eagleray.train.stop._LOOK_EVERY_S", 0.0)
    write = MetricsWriter.write

    def and_ask(self, kind, **values):
        write(self, kind, **values)
        if values["step"] == 20:
            ask(values)

    monkeypatch.setattr(MetricsWriter, "write", and_ask)


def test_limit_has_a_sweep_of_its_own(tiny):
    experiment = tiny({"ablations": {"fast": {LR: 0.05}}})
    short = run_sweep(experiment, RunOptions(inline=True, limit=4))
    assert {t.steps for t in short.trials} == {4}
    assert {t.steps for t in run_sweep(experiment, HERE).trials} == {10}
    assert len(list_sweeps(experiment.storage)) == 2


def test_two_drivers_do_not_work_on_one_sweep(tiny, monkeypatch):
    experiment = tiny({"grid": {LR: [0.1]}})
    plan = plan_sweep(experiment, HERE)
    monkeypatch.setattr("os.getpid", lambda: 1)
    with Lease(plan.folder):
        monkeypatch.undo()
        with pytest.raises(EaglerayError, match="is held by process 1"):
            run_sweep(experiment, HERE)


def test_damaged_record_means_a_trial_that_was_not_begun(tiny):
    experiment = tiny({"grid": {LR: [0.1]}})
    first = run_sweep(experiment, HERE)
    (trial,) = first.trials
    first.folder.write(f"trials/{trial.id}.json", b"{half")
    (again,) = run_sweep(experiment, HERE).trials
    assert (again.state, again.value) == ("done", trial.value)
    assert set(attempts(experiment).values()) == {1}


def test_unknown_metric_fails_with_the_known_ones(tiny):
    (trial,) = run_sweep(tiny({"metric": "pq", "grid": {LR: [0.1]}}), HERE).trials
    assert trial.state == "failed"
    assert "benchmark 'fit' computes mse" in (trial.error or "")


def test_random_search_trains_its_draws(tiny):
    space = {LR: {"log_uniform": [1e-3, 1e-1]}, "dropout": {"choice": [0.0, 0.2]}}
    experiment = tiny({"search": {"space": space, "trials": 3}})
    result = run_sweep(experiment, HERE)
    assert result.summary.kind == "search"
    assert result.summary.space["settings.dropout"] == "one of 0.0, 0.2"
    assert len({t.value for t in result.trials}) == 3
    assert all(t.variant is None and set(t.overrides) == {LR, "settings.dropout"}
               for t in result.trials)  # fmt: skip


def test_optuna_search_goes_on_with_what_it_knows(tiny):
    space = {LR: {"log_uniform": [1e-4, 1e-1]}, "dropout": {"choice": [0.0, [], "a"]}}
    space["dropout"] = {"choice": [0.0, 0.2]}

    def experiment(trials):
        search = {"algorithm": "optuna", "space": space, "trials": trials}
        return tiny({"search": search}, settings={"steps": 3})

    short = run_sweep(experiment(3), HERE)
    assert [t.state for t in short.trials] == ["done"] * 3
    long = run_sweep(experiment(5), HERE)
    assert len(long.trials) == 5
    assert set(by_id(short)) < set(by_id(long))
    assert set(attempts(experiment(5)).values()) == {1}
    plan = plan_sweep(experiment(5), RunOptions())
    searcher = make_searcher(plan.space, long.summary, long.trials)
    known = {t.value for t in searcher._ot_study.trials}
    assert known == {t.value for t in long.trials}


def test_searcher_begins_with_trials_that_were_broken_off(tiny):
    space = {LR: {"log_uniform": [1e-4, 1e-1]}, "dropout": {"choice": [0.0, 0.2]}}
    search = {"algorithm": "optuna", "space": space, "trials": 2}
    plan = plan_sweep(tiny({"search": search}), RunOptions())
    broken = plan.searched({LR: 0.0123, "settings.dropout": 0.2}).first_record()
    searcher = make_searcher(plan.space, plan.summary, [broken])
    overrides = point_overrides(plan.space, searcher.suggest("first"))
    assert math.isclose(overrides[LR], 0.0123)
    assert plan.searched(overrides).id == broken.id


def test_optuna_finds_the_better_half_of_a_space(tiny):
    """A search whose objective is known: the minimum of (x - 0.7)^2 over [0, 1]."""
    from eagleray.sweep.folder import TrialRecord

    space = {"dropout": {"uniform": [0, 1]}}
    search = {"algorithm": "optuna", "trials": 30, "space": space}
    plan = plan_sweep(tiny({"search": search}), RunOptions())
    known: list[TrialRecord] = []
    for number in range(30):
        searcher = make_searcher(plan.space, plan.summary, known)
        overrides = point_overrides(plan.space, searcher.suggest(str(number)))
        value = (overrides["settings.dropout"] - 0.7) ** 2
        known.append(TrialRecord(id=str(number), overrides=overrides, state="done", value=value))
    assert min(trial.value for trial in known) < 0.01
    late = [abs(trial.overrides["settings.dropout"] - 0.7) for trial in known[15:]]
    assert sum(late) / len(late) < 0.2


def test_api_runs_a_sweep(tiny):
    result = Experiment(tiny({"grid": {LR: [0.1, 0.2]}}), inline=True).sweep()
    assert result.finished
    assert [t.state for t in result.folder.trials()] == ["done", "done"]
