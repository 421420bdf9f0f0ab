"""Flags are another way to write the file: what they give is what the same lines in it give."""

from __future__ import annotations

import itertools
import re
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from tests.eagleray.tiny_task import TinyTask

from eagleray.cli.arguments import Flags, parse
from eagleray.experiment import load
from eagleray.experiment.discovery import installed_tasks
from eagleray.experiment.load import make_experiment
from eagleray.experiment.overrides import given_phases
from eagleray.experiment.paths import with_value
from eagleray.runs.run_folder import RunFolder, results_digest
from eagleray.sweep.trial import trial_settings
from eagleray.task import Phase, Schedule, SettingsError

TASKS = [name for name in installed_tasks() if name != "tiny"]


def parsed(path, values, *flags):
    path.write_text(yaml.safe_dump(values))
    return parse("train", "Train.", Flags, [str(path), *flags])[2]


def leaves(model: type[BaseModel], value: BaseModel, path: str) -> Any:
    """Yield every setting that is a plain value, with its type."""
    for name, field in model.model_fields.items():
        inner = getattr(value, name)
        if isinstance(inner, BaseModel):
            yield from leaves(type(inner), inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", field.annotation, inner


def other(annotation: Any, value: Any) -> Any:
    """Return another value of a setting, or None where none is easily made."""
    if get_origin(annotation) is Literal:
        return next((v for v in get_args(annotation) if v != value), None)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 + 0.01
    return None


@pytest.mark.parametrize("name", TASKS)
def test_every_setting_is_the_same_by_flag_and_in_the_file(tmp_path, name):
    base = {"task": name, "name": "a"}
    experiment = make_experiment(base)
    values, flags = base, []
    settings = leaves(type(experiment.settings), experiment.settings, "settings.")
    engine = leaves(type(experiment.train), experiment.train, "train.")
    for path, annotation, value in itertools.chain(settings, engine):
        changed = other(annotation, value)
        if changed is None:
            continue
        try:
            trial = with_value(values, path, changed)
            make_experiment(trial)
        except SettingsError:
            continue  # it does not go with the others
        values = trial
        if isinstance(changed, bool):
            *parents, last = path.split(".")
            flags.append("--" + ".".join([*parents, last if changed else f"no-{last}"]))
        else:
            flags += [f"--{path}", str(changed)]
    assert len(flags) > 10
    given = parsed(tmp_path / "a.yaml", base, *flags)
    assert given == make_experiment(values)
    run = RunFolder(str(tmp_path / "run"))
    run.begin(given)
    assert run.experiment() == given, "training reads what the run's folder says"
    assert results_digest(run.experiment()) == results_digest(given)


ROOM = {"format": "replica", "folder": "rooms"}


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        (ROOM, ["--settings.data.toyworld.views", "50", "--seed", "0"]),
        (None, ["--settings.data.toyworld.views=50", "--settings.data.toyworld.folder=rooms",
                "--settings.data.toyworld.format", "replica"]),
    ],
)  # fmt: skip
def test_flags_lead_into_an_optional_section(tmp_path, said, flags):
    def values(world):
        data = {"format": "replica", **({"toyworld": world} if world else {})}
        return {"task": "omniseg3d", "name": "a", "settings": {"data": data}}

    expected = make_experiment(values({**ROOM, "views": 50}))
    assert parsed(tmp_path / "a.yaml", values(said), *flags) == expected


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--train.phases.0.steps", "-5"], "train.phases.0: steps: Input should be greater"),
        (["--train.num_workers", "0"], "train.num_workers is 0, allowed is 1 or more"),
        (["--seed", "-1"], "seed: Input should be greater"),
    ],
)
def test_impossible_flags_are_told_in_the_words_of_files(tmp_path, dropping, flags, reason):
    with pytest.raises(SettingsError, match=re.escape(reason)) as told:
        parsed(tmp_path / "a.yaml", dropping, *flags)
    assert "pydantic" not in str(told.value)


@pytest.mark.parametrize(
    ("task", "flags", "values"),
    [
        ("seamseg", ["--settings.preset", "cityscapes_r50"], {"preset": "cityscapes_r50"}),
        ("efficientps", ["--settings.recipe", "paper"], {"recipe": "paper"}),
        ("omniseg3d", ["--settings.color.steps", "7"], {"color": {"steps": 7}}),
    ],
)
def test_phases_follow_settings_given_by_flags(tmp_path, task, flags, values):
    base = {"task": task, "name": "a"}
    expected = make_experiment({**base, "settings": values})
    assert expected.train.phases != make_experiment(base).train.phases
    assert parsed(tmp_path / "a.yaml", base, *flags) == expected


class DroppingTask(TinyTask):
    """A rate that follows the settings, and drops at milestones."""

    def phases(self):
        drops = Schedule(kind="multistep", milestones=(20,), gamma=0.5)
        rate = 0.1 if self.settings.samples == 24 else 0.2
        return [
            Phase(name=n, epochs=3, lr=rate, schedule=drops)
            for n in ("first", "second")[: self.settings.steps]
        ]


@pytest.fixture
def dropping(monkeypatch):
    monkeypatch.setattr(load, "task_type", lambda name: DroppingTask)
    monkeypatch.setattr("eagleray.sweep.trial.task_type", lambda name: DroppingTask)
    return {"task": "dropping", "name": "a", "settings": {"steps": 1}}


@pytest.mark.parametrize(
    ("flags", "phases"),
    [
        (["--train.phases.0.steps", "5"], [{"steps": 5}]),
        (["--train.phases.0.schedule.kind", "cosine"], [{"schedule": {"kind": "cosine"}}]),
        (["--settings.samples", "30", "--train.phases.0.lr", "0.1"], [{"lr": 0.1}]),
        (["--settings.steps", "2", "--train.phases.1.lr", "0.7"], [{}, {"lr": 0.7}]),
        (["--settings.steps=2", "--train.phases.1.batch-size=3"], [{}, {"batch_size": 3}]),
    ],
)
def test_flags_of_phases_mean_what_the_file_would(tmp_path, dropping, flags, phases):
    settings = dict(dropping["settings"])
    for path, value in itertools.pairwise([f for flag in flags for f in flag.split("=")]):
        if path.startswith("--settings."):
            settings[path.removeprefix("--settings.")] = int(value)
    expected = make_experiment({**dropping, "settings": settings, "train": {"phases": phases}})
    assert parsed(tmp_path / "a.yaml", dropping, *flags) == expected


def test_what_a_file_says_of_a_phase_stays_in_a_sweep_though_it_is_the_tasks_own(dropping):
    base = make_experiment({**dropping, "train": {"phases": [{"lr": 0.1}]}})
    assert given_phases(base) == [{"name": "first", "lr": 0.1}]
    (phase,) = trial_settings(base, {"settings.samples": 30}, seed=0).train.phases
    assert phase.lr == 0.1
    (phase,) = trial_settings(make_experiment(dropping), {"settings.samples": 30}, 0).train.phases
    assert phase.lr == 0.2


def test_help_shows_the_phases_of_the_settings_that_flags_give(tmp_path, dropping, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(tmp_path / "a.yaml", dropping, "--settings.steps", "2", "--help", "train.phases")
    assert stop.value.code == 0
    assert "--train.phases.1.lr" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--prepare.no-materialise"], "computed"),
        (["--prepare.materialise"], "stored"),
        (["--prepare.materialise", "streamed"], "streamed"),
        (["--seed", "3"], {"tiny": "streamed"}),
    ],
)
def test_what_becomes_of_rows_is_one_word_for_all_stages_or_by_stage(tmp_path, flags, expected):
    given = {"tiny": "streamed"} if isinstance(expected, dict) else "stored"
    base = {"task": "tiny", "name": "a", "prepare": {"materialise": given}}
    assert parsed(tmp_path / "a.yaml", base, *flags).prepare.materialise == expected


@pytest.mark.parametrize(("given", "expected"), [(True, "stored"), (False, "computed")])
def test_rows_are_stored_or_not_as_older_files_say(given, expected):
    values = {"task": "tiny", "name": "a", "prepare": {"materialise": given}}
    assert make_experiment(values).prepare.materialise == expected
