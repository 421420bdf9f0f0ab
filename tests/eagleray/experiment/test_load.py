"""Reading experiments: defaults, overrides, messages with key, value, allowed and nearest name."""

from __future__ import annotations

import pytest
from tests.sixth_task import SquareSettings, SquareTask

from eagleray.cli.arguments import Flags, parse
from eagleray.experiment import discovery, load
from eagleray.task import Phase, Schedule, SettingsError


@pytest.fixture(autouse=True)
def squares_installed(monkeypatch):
    monkeypatch.setattr(load, "task_type", lambda name: _only_squares(name))


def _only_squares(name):
    if name != "squares":
        known = discovery.nearest(name, ["squares"])
        raise SettingsError(f"task {name!r} is not installed; {known}")
    return SquareTask


def write(tmp_path, text):
    path = tmp_path / "stripes.yaml"
    path.write_text(text)
    return path


def test_defaults_come_from_the_types_and_the_task(tmp_path):
    experiment = load.load_experiment(write(tmp_path, "task: squares\nsettings: {count: 8}\n"))
    assert experiment.name == "stripes"
    assert experiment.settings == SquareSettings(count=8)
    assert [(p.name, p.steps, p.lr) for p in experiment.train.phases] == [("main", 40, 0.05)]


def test_phase_fields_are_laid_over_the_tasks_own(tmp_path):
    text = "task: squares\ntrain: {phases: [{lr: 0.5, epochs: 2, schedule: {kind: poly}}]}\n"
    phase = load.load_experiment(write(tmp_path, text)).train.phases[0]
    assert (phase.lr, phase.steps, phase.epochs, phase.batch_size) == (0.5, None, 2, 4)
    assert (phase.schedule.kind, phase.schedule.power) == ("poly", 0.9)


class DroppingTask(SquareTask):
    """The squares, with a rate that drops at milestones."""

    def phases(self):
        return [Phase(steps=40, schedule=Schedule(kind="multistep", milestones=(20,), gamma=0.5))]


@pytest.mark.parametrize(
    ("schedule", "milestones"),
    [("kind: cosine", ()), ("gamma: 0.2", (20,)), ("kind: multistep", (20,))],
)
def test_schedule_of_another_kind_keeps_no_milestones(tmp_path, monkeypatch, schedule, milestones):
    monkeypatch.setattr(load, "task_type", lambda name: DroppingTask)
    text = f"task: squares\ntrain: {{phases: [{{schedule: {{{schedule}}}}}]}}\n"
    phase = load.load_experiment(write(tmp_path, text)).train.phases[0]
    assert phase.schedule.milestones == milestones


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("task: squares\nsettings: {cuont: 8}\n", ["settings.cuont", "'count'"]),
        ("task: squares\nsettings: {count: many}\n", ["settings.count", "'many'", "integer"]),
        ("task: squares\nsettings: {count: 0}\n", ["settings.count", "0", "equal to 1"]),
        ("task: squares\ntrian: {}\n", ["trian", "'train'"]),
        ("task: squares\ntrain: {strategy: dpd}\n", ["train.strategy", "'dpd'", "'ddp'"]),
        ("task: squares\ntrain: {num_workers: 2}\n", ["single", "num_workers", "2", "ddp"]),
        ("task: squares\ntrain: {phases: [{steps: 1, epochs: 1}]}\n", ["steps or epochs"]),
        ("task: squares\ntrain: {phases: [{name: colour}]}\n", ["colour", "main"]),
        ("task: squares\ntrain: {phases: [{momentun: 0.5}]}\n", ["momentun", "'momentum'"]),
        ("task: square\n", ["'square'", "'squares'"]),
        ("settings: {}\n", ["task"]),
        ("- a\n- b\n", ["mapping"]),
        ("task: [unclosed\n", ["YAML"]),
        ("task: squares\nname: ../../etc\n", ["experiment name", "../../etc"]),
        ("task: squares\nrun: a/b\n", ["run name", "a/b"]),
        (
            "task: squares\nstorage: ${NO_SUCH_VARIABLE_HERE}\n",
            ["NO_SUCH_VARIABLE_HERE", "not set"],
        ),
    ],
)
def test_mistakes_are_refused_with_key_value_and_nearest_name(tmp_path, text, parts):
    with pytest.raises(SettingsError) as error:
        load.load_experiment(write(tmp_path, text))
    for part in parts:
        assert part in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        load.load_experiment(tmp_path / "nowhere.yaml")


def test_environment_variables_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_STORAGE", "elsewhere")
    experiment = load.load_experiment(write(tmp_path, "task: squares\nstorage: ${MY_STORAGE}/a\n"))
    assert experiment.storage == "elsewhere/a"


def test_overrides_come_in_any_order_and_reach_every_setting(tmp_path):
    path = str(write(tmp_path, "task: squares\n"))
    arguments = ["--train.phases.0.lr", "1e-4", path, "--limit", "3", "--settings.noise", "0.5"]
    arguments += ["--new"]
    _, flags, experiment = parse("train", "Train.", Flags, arguments)
    assert (flags.limit, flags.new, flags.inline) == (3, True, False)
    assert (experiment.train.phases[0].lr, experiment.settings.noise) == (1e-4, 0.5)
    assert experiment.name == "stripes"


def test_unknown_override_exits_with_status_2_and_the_nearest_name(tmp_path, capsys):
    path = str(write(tmp_path, "task: squares\n"))
    with pytest.raises(SystemExit) as stop:
        parse("train", "Train.", Flags, [path, "--train.phases.0.momentun", "0.1"])
    assert stop.value.code == 2
    assert "momentum" in capsys.readouterr().err


def test_impossible_override_is_refused(tmp_path, capsys):
    path = str(write(tmp_path, "task: squares\n"))
    with pytest.raises((SettingsError, SystemExit)) as stop:
        parse("train", "Train.", Flags, [path, "--train.num-workers", "2"])
    assert "single" in str(stop.value) + capsys.readouterr().err


def test_help_lists_the_tasks_settings_with_their_descriptions(tmp_path, capsys):
    path = str(write(tmp_path, "task: squares\n"))
    with pytest.raises(SystemExit) as stop:
        parse("train", "Train.", Flags, [path, "--help", "settings"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--settings.noise" in text
    assert "Squares per split" in text
