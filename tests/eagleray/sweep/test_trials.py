"""Which trials a sweep section means, and what is refused before any of them starts."""

from __future__ import annotations

import itertools

import pytest

from eagleray.experiment.load import make_experiment
from eagleray.experiment.sweep import Draw, SweepSettings
from eagleray.options import RunOptions
from eagleray.runs.run_folder import results_digest
from eagleray.sweep.plan import plan_sweep
from eagleray.sweep.space import corner_points, draw_points
from eagleray.sweep.trial import points, trial_settings, variants, with_full_paths
from eagleray.task import SettingsError

LR = "train.phases.0.lr"


def trials_of(experiment):
    return points(with_full_paths(experiment))


def test_ablations_are_paired_with_every_seed_and_have_an_implied_baseline(tiny):
    trials = trials_of(tiny({"seeds": [3, 5], "ablations": {"fast": {"train.phases.main.lr": 1}}}))
    assert [(t.id, t.variant, t.seed, dict(t.overrides)) for t in trials] == [
        ("baseline-s3", "baseline", 3, {}),
        ("baseline-s5", "baseline", 5, {}),
        ("fast-s3", "fast", 3, {LR: 1}),
        ("fast-s5", "fast", 5, {LR: 1}),
    ]


def test_baseline_may_be_named_and_comes_first(tiny):
    section = {"ablations": {"a": {"dropout": 0.1}, "baseline": {"dropout": 0.2}}}
    found = variants(with_full_paths(tiny(section)))
    assert found == {"baseline": {"settings.dropout": 0.2}, "a": {"settings.dropout": 0.1}}
    assert next(iter(found)) == "baseline"


def test_grid_is_every_combination_named_by_its_values(tiny):
    section = {"grid": {LR: [1e-3, 1e-2], "dropout": [0.0, 0.5], "train.num_workers": [1]}}
    trials = trials_of(tiny(section, seed=4))
    expected = itertools.product([1e-3, 1e-2], [0.0, 0.5], [1])
    assert [tuple(t.overrides.values()) for t in trials] == list(expected)
    assert trials[0].variant == "lr=0.001 dropout=0.0 num_workers=1"
    assert trials[0].id == "lr_0.001_dropout_0.0_num_workers_1-s4"
    assert {t.seed for t in trials} == {4}


def test_short_names_of_a_grid_tell_paths_apart(tiny):
    section = {"grid": {"steps": [5], "train.phases.0.steps": [6]}}
    (trial,) = trials_of(tiny(section))
    assert trial.variant == "settings.steps=5 0.steps=6"


def test_values_that_are_no_file_names_get_usable_ids(tiny):
    section = {"grid": {"kill_flag": ["/a b", "/a_b", "c" * 200]}}
    ids = [t.id for t in trials_of(tiny(section))]
    assert len(set(ids)) == 3
    assert all(len(name) < 100 and "/" not in name and " " not in name for name in ids)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"ablations": {"a": {"train.phases.0.lrr": 1}}}, "sweep.ablations.a: .*'lr'"),
        ({"grid": {"dropouts": [1]}}, "sweep.grid: .*did you mean 'dropout'"),
        ({"search": {"space": {"drop": {"integer": [1, 2]}}}}, "sweep.search.space: "),
        ({"grid": {"seed": [1, 2]}}, "'seed' cannot be varied: set sweep.seeds"),
        ({"grid": {"storage": ["a"]}}, "'storage' cannot be varied"),
        ({"grid": {LR: [1], "train.phases.main.lr": [2]}}, "given twice"),
        ({}, "says no trials"),
        ({"grid": {LR: [0.1, 0.1]}}, "is there twice"),
        ({"ablations": {"a b": {LR: 1}}}, "variant 'a b' is not a usable name"),
    ],
)
def test_impossible_sections_are_refused(tiny, section, message):
    with pytest.raises(SettingsError, match=message):
        trials_of(tiny(section))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"grid": {LR: [1]}, "ablations": {"a": {}}}, "one of ablations, grid and search"),
        ({"scheduler": {"kind": "asha"}, "ablations": {"a": {LR: 1}}}, "without their results"),
        ({"search": {"space": {LR: {"uniform": [0, 1]}}}, "seeds": [0, 1]}, "takes one seed"),
        ({"search": {"space": {LR: {"uniform": [2, 1]}}}}, "least value first"),
        ({"search": {"space": {LR: {"log_uniform": [0, 1]}}}}, "both above 0"),
        ({"search": {"space": {LR: {"uniform": [0, 1], "choice": [1]}}}}, "exactly one of"),
        ({"search": {"space": {LR: {}}}}, "found none"),
        ({"search": {"space": {LR: {"choice": []}}}}, "one value at least"),
        ({"grid": {LR: []}}, "has no values"),
        ({"seeds": [1, 1]}, "seeds must be different"),
        ({"ablatoins": {}}, "did you mean 'ablations'"),
    ],
)
def test_section_is_checked_when_the_file_is_read(tiny, section, message):
    with pytest.raises(SettingsError, match=message):
        tiny(section)


def test_all_mistakes_of_all_trials_are_listed_at_once(tiny):
    section = {
        "seeds": [0, 1],
        "ablations": {
            "bad_type": {LR: "quick"},
            "negative": {"train.phases.0.batch_size": 0},
            "uneven": {"train.num_workers": 64, "train.strategy": "ddp"},
            "same": {"train.log_every": 7},
            "good": {LR: 0.5},
        },
    }
    with pytest.raises(SettingsError) as caught:
        plan_sweep(tiny(section), RunOptions())
    text = str(caught.value)
    for name in ("bad_type: ", "negative: ", "uneven: ", "same-s0: ", "same-s1: "):
        assert name in text
    assert "good" not in text
    assert text.count("bad_type") == 1


def test_mistakes_inside_a_space_are_found_at_its_ends(tiny):
    space = {"train.phases.0.batch_size": {"integer": [0, 4]}, "dropout": {"choice": [0.1, "no"]}}
    with pytest.raises(SettingsError) as caught:
        plan_sweep(tiny({"search": {"algorithm": "optuna", "space": space}}), RunOptions())
    assert "batch_size" in str(caught.value)
    assert "settings.dropout" in str(caught.value)


def test_unknown_benchmark_is_refused_with_the_nearest(tiny):
    with pytest.raises(SettingsError, match="did you mean 'fit'"):
        plan_sweep(tiny({"benchmark": "fits", "grid": {LR: [1]}}), RunOptions())


def test_scheduler_brings_the_validations_that_it_needs(tiny):
    section = {"scheduler": {"kind": "asha", "grace_steps": 3}, "grid": {LR: [0.1, 0.2]}}
    plan = plan_sweep(tiny(section), RunOptions())
    for trial in plan.trials.values():
        validate_on = trial.settings.train.validate_on
        assert (validate_on.benchmark, validate_on.every) == ("fit", 3)
    own = {"validate_on": {"benchmark": "fit", "every": 7}}
    (trial, _) = plan_sweep(tiny(section, train=own), RunOptions()).trials.values()
    assert trial.settings.train.validate_on.every == 7


def test_the_best_checkpoint_is_the_best_by_the_metric_of_the_sweep(tiny):
    validated = {"validate_on": {"benchmark": "fit", "every": 7}}
    section = {"metric": "mae", "higher_is_better": False, "grid": {LR: [0.1, 0.2]}}
    for trial in plan_sweep(tiny(section, train=validated), RunOptions()).trials.values():
        validate_on = trial.settings.train.validate_on
        assert (validate_on.metric, validate_on.higher_is_better) == ("mae", False)
    own = {"validate_on": {**validated["validate_on"], "metric": "mse"}}
    (trial, _) = plan_sweep(tiny(section, train=own), RunOptions()).trials.values()
    assert trial.settings.train.validate_on.metric == "mse"


def test_trial_has_exactly_its_overrides(tiny):
    base = tiny({}, train={"phases": [{"weight_decay": 0.1}]})
    trial = trial_settings(base, {LR: 0.5, "train.phases.0.epochs": 2}, seed=9)
    (phase,), (before,) = trial.train.phases, base.train.phases
    assert phase == before.model_copy(update={"lr": 0.5, "steps": None, "epochs": 2.0})
    assert (trial.seed, trial.settings) == (9, base.settings)


def test_phases_that_the_task_derives_follow_its_settings(tiny):
    base = tiny({}, train={"phases": [{"lr": 0.3}]})
    assert base.train.phases[0].steps == 10
    (phase,) = trial_settings(base, {"settings.steps": 40}, seed=0).train.phases
    assert (phase.steps, phase.lr) == (40, 0.3)
    (phase,) = trial_settings(
        tiny({}, train={"phases": [{"steps": 7}]}), {"settings.steps": 40}, seed=0
    ).train.phases
    assert phase.steps == 7


def test_sweep_section_does_not_change_results(tiny):
    assert results_digest(tiny({})) == results_digest(tiny({"grid": {LR: [1]}, "seeds": [1]}))


def test_same_sweep_has_the_same_folder_and_new_has_another(tiny):
    section = {"grid": {LR: [0.1, 0.2]}}
    plan = plan_sweep(tiny(section), RunOptions())
    assert (
        plan_sweep(tiny({**section, "trials_at_once": 1}), RunOptions()).folder.uri
        == plan.folder.uri
    )
    assert plan_sweep(tiny({**section, "seeds": [1]}), RunOptions()).folder.uri != plan.folder.uri
    assert plan_sweep(tiny(section), RunOptions(limit=3)).folder.uri != plan.folder.uri
    plan.folder.write("sweep.json", b"{}")
    again = plan_sweep(tiny(section), RunOptions(), new=True)
    assert again.folder.uri == f"{plan.folder.uri}.2"
    old_runs = {trial.run for trial in plan.trials.values()}
    assert not old_runs & {trial.run for trial in again.trials.values()}


def test_a_longer_search_continues_a_shorter_one(tiny):
    def plan(count):
        space = {LR: {"log_uniform": [1e-4, 1]}, "dropout": {"choice": [0.0, 0.5]}}
        return plan_sweep(tiny({"search": {"space": space, "trials": count}}), RunOptions())

    short, long = plan(3), plan(5)
    assert short.folder.uri == long.folder.uri
    assert [j.point for j in long.trials.values()][:3] == [j.point for j in short.trials.values()]


SPACE = {
    "a": Draw(uniform=(2, 3)),
    "b": Draw(log_uniform=(1e-4, 1e-1)),
    "c": Draw(integer=(5, 7)),
    "d": Draw(choice=("x", None, [1, 2])),
}


def test_draws_lie_inside_their_space_and_reach_its_parts():
    points = draw_points(SPACE, 300, seed=1)
    assert len(points) == 300
    assert all(2 <= p["a"] <= 3 and 1e-4 <= p["b"] <= 1e-1 for p in points)
    assert {p["c"] for p in points} == {5, 6, 7}
    assert {str(p["d"]) for p in points} == {"x", "None", "[1, 2]"}
    # A third of the draws in each decade of three, give or take 5 standard deviations.
    assert 60 < sum(p["b"] < 1e-3 for p in points) < 140
    assert draw_points(SPACE, 300, seed=2) != points


def test_small_space_is_drawn_once_and_no_more():
    points = draw_points({"c": SPACE["c"], "d": SPACE["d"]}, 50, seed=0)
    assert len(points) == 9


def test_corners_hold_every_bound_and_choice():
    points = corner_points(SPACE)
    for path, values in {"a": {2, 3}, "b": {1e-4, 1e-1}, "c": {5, 7}}.items():
        assert {p[path] for p in points} == values
    assert [1, 2] in [p["d"] for p in points]


def test_one_command_for_many_scenes():
    section = SweepSettings(grid={"data.toyworld.train_frames": (2, 3)})
    base = make_experiment({"task": "seamseg"}).model_copy(update={"sweep": section})
    trials = trials_of(base)
    assert [dict(t.overrides) for t in trials] == [
        {"settings.data.toyworld.train_frames": 2},
        {"settings.data.toyworld.train_frames": 3},
    ]
