"""The schema for editors allows what the reader allows, and refuses what it refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.sixth_task import SquareTask

from eagleray.cli import main
from eagleray.experiment.discovery import installed_tasks, task_type
from eagleray.experiment.json_schema import any_experiment_schema, experiment_schema
from eagleray.experiment.load import merge_phases
from eagleray.task import SettingsError

EXPERIMENTS = [
    path
    for path in sorted((Path(__file__).resolve().parents[3] / "experiments").rglob("*.yaml"))
    if path.parent.name != "suites"  # a suite is a list of experiments
]
TASKS = [name for name, point in installed_tasks().items() if point.value.startswith("eagleray_")]


def validator(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def schemas():
    return {name: validator(experiment_schema(task_type(name))) for name in TASKS}


@pytest.fixture(scope="module")
def squares():
    return validator(experiment_schema(SquareTask))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: "/".join(p.parts[-2:]))
def test_every_experiment_of_the_repository_is_valid(schemas, path):
    values = yaml.safe_load(path.read_text())
    schemas[values["task"]].validate(values)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: "/".join(p.parts[-2:]))
def test_a_misspelt_key_is_marked_wherever_it_stands(schemas, path):
    values = yaml.safe_load(path.read_text())
    places = list(mappings(values, ()))
    assert places
    for place in places:
        if place[:1] == ("sweep",):
            continue  # names of variants and of settings are free there
        wrong = copy.deepcopy(values)
        inner = wrong
        for step in place:
            inner = inner[step]
        inner["misspelt_key"] = 1
        assert not schemas[values["task"]].is_valid(wrong), place


def mappings(value, place):
    if isinstance(value, dict):
        yield place
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in parts:
        if isinstance(inner, dict | list):
            yield from mappings(inner, (*place, key))


def test_one_schema_for_all_tasks_is_decided_by_the_task():
    every = validator(any_experiment_schema(map(task_type, TASKS)))
    for path in EXPERIMENTS:
        values = yaml.safe_load(path.read_text())
        every.validate(values)
        other = next(name for name in TASKS if name != values["task"])
        assert not every.is_valid({**values, "task": other}), path
    assert not every.is_valid({"task": "nothing"})
    assert not every.is_valid({})


@pytest.mark.parametrize("name", TASKS)
def test_every_setting_has_a_description(name):
    schema = experiment_schema(task_type(name))
    bare = [
        f"{owner}.{key}"
        for owner, model in [("Experiment", schema), *schema["$defs"].items()]
        for key, one in model.get("properties", {}).items()
        if not one.get("description")
    ]
    assert not bare


PHASES = [
    ([{"lr": 0.1}], True),
    ([{"schedule": {"kind": "poly"}}], True),
    ([{"name": "main", "epochs": 2.5}], True),
    ([{"steps": 3, "epochs": None}], True),
    ([None, {}], False),
    ([None], True),
    ([{}], True),
    ([], True),
    ([{"steps": 3, "epochs": 2}], False),
    ([{"lr": -1}], False),
    ([{"lr": "1e-4"}], True),
    ([{"lr": "fast"}], False),
    ([{"schedule": {"kind": "fast"}}], False),
    ([{"rate": 1}], False),
    ({"lr": 1}, False),
    (None, False),
    ([3], False),
]


@pytest.mark.parametrize(("phases", "is_allowed"), PHASES, ids=[str(p) for p, _ in PHASES])
def test_partial_phases_are_allowed_as_the_reader_allows_them(squares, phases, is_allowed):
    defaults = SquareTask(SquareTask.settings_type()).phases()
    try:
        merge_phases(defaults, phases, "here")
        is_read = True
    except SettingsError:
        is_read = False
    assert is_read == is_allowed
    too_many = isinstance(phases, list) and len(phases) > len(defaults)
    if not too_many:  # how many phases there are depends on the settings
        values = {"task": "squares", "train": {"phases": phases}}
        assert squares.is_valid(values) == is_allowed


def test_defaults_of_phases_are_the_tasks_and_so_not_in_the_schema():
    schema = experiment_schema(SquareTask)
    for name in ("Phase", "Schedule"):
        assert not [p for p in schema["$defs"][name]["properties"].values() if "default" in p]
    assert schema["properties"]["seed"]["default"] == 0


@pytest.mark.parametrize(
    ("values", "is_allowed"),
    [
        ({"seed": "${SEED}"}, True),
        ({"train": {"num_workers": "${WORKERS}"}}, True),
        ({"train": {"compile": "${COMPILE}"}}, True),
        ({"device": "${DEVICE}"}, True),
        ({"storage": "${HOME}/eagleray"}, True),
        ({"settings": {"noise": "1e-2"}}, True),
        ({"settings": {"count": "16"}}, True),
        ({"settings": {"count": "1.5"}}, False),
        ({"settings": {"count": "many"}}, False),
        ({"train": {"zero_stage": "${STAGE}"}}, False),
        ({"seed": "$SEED"}, False),
        ({"train": {"compile": "perhaps"}}, False),
        ({"device": "gpu"}, False),
        ({"train": None}, True),
        ({"prepare": None}, False),
        ({"evaluate": {"benchmarks": "val"}}, False),
    ],
)
def test_texts_stand_for_values_where_the_reader_takes_them(squares, values, is_allowed):
    assert squares.is_valid({"task": "squares", **values}) == is_allowed


def test_the_verb_writes_a_file_and_says_how_to_use_it(tmp_path, capsys):
    target = tmp_path / "schemas/seamseg.json"
    assert main.run(["schema", "seamseg", "--output", str(target)]) == 0
    assert f"# yaml-language-server: $schema={target}" in capsys.readouterr().out
    assert json.loads(target.read_text()) == experiment_schema(task_type("seamseg"))


def test_the_verb_takes_an_experiment_or_nothing(capsys):
    path = next(p for p in EXPERIMENTS if p.parent.name == "seamseg")
    assert main.run(["schema", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == experiment_schema(task_type("seamseg"))
    assert main.run(["schema"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["properties"]["task"]["enum"] == sorted(installed_tasks())


@pytest.mark.parametrize("text", ["{", "- 1", "task: 3", None])
def test_a_file_that_names_no_task_is_refused(tmp_path, capsys, text):
    path = tmp_path / "a.yaml"
    if text is not None:
        path.write_text(text)
    assert main.run(["schema", str(path)]) == 2
    assert "a.yaml" in capsys.readouterr().err


def test_an_unknown_task_names_the_nearest(capsys):
    assert main.run(["schema", "seamsek"]) == 2
    assert "did you mean 'seamseg'" in capsys.readouterr().err
