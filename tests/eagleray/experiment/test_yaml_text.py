"""YAML that nobody means is refused with its place, and no text whatever ends in a traceback."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.eagleray.tiny_task import TinyTask

from eagleray.cli import main
from eagleray.experiment import load
from eagleray.experiment.load import load_experiment, make_experiment
from eagleray.options import RunOptions
from eagleray.storage import Store
from eagleray.task import SettingsError
from eagleray.train import train_run

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
)


@pytest.fixture(autouse=True)
def tiny_installed(monkeypatch):
    monkeypatch.setattr(load, "task_type", lambda name: TinyTask)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (LAUGHS, ["aliases make more than", "line"]),
        ("a: &a [*a]\n", ["alias stands inside", "line 1"]),
        ("a: " + "[" * 500 + "]" * 500, ["nested deeper than", "line 1"]),
        ("task: tiny\nseed: 1\nseed: 2\n", ["'seed' is there twice", "line 3"]),
        ("task: tiny\nsettings: {steps: 1, steps: 2}\n", ["'steps' is there twice", "line 2"]),
        ("task: tiny\nseed: " + "1" * 5000 + "\n", ["digits"]),
        (f"task: tiny\nseed: {10**30}\n", ["seed", "less than"]),
        ("task: tiny\ntrain: {phases: [{lr: .inf}]}\n", ["lr", "finite"]),
        ("task: tiny\nsettings: {dropout: .nan}\n", ["dropout", "finite"]),
        ('task: tiny\nstorage: "a\\0b"\n', ["zero byte"]),
        ("task: tiny\n1: 2\n", ["key 1 is no text"]),
        ("task: tiny\nwhen: 2020-99-99\n", ["cannot be read as YAML"]),
        ("task: tiny\nstorage: nosuch://x/y\n", ["nosuch"]),
    ],
)
def test_what_nobody_means_is_refused_with_its_place(tmp_path, text, parts, capsys):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert main.run(["plan", str(path)]) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts), message


def test_aliases_that_stay_small_are_fine(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "task: tiny\ntrain: {phases: [&p {lr: 0.5}]}\nsettings: {steps: &n 7, samples: *n}\n"
    )
    assert load_experiment(path).settings.samples == 7


TEXTS = st.text(max_size=200)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
SECTIONS = st.dictionaries(
    st.sampled_from(["train", "settings", "seed", "storage", "sweep", "evaluate", "run", "name"]),
    VALUES
    | st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("phases", "steps", "validate_on", "num_workers"), VALUES)
    ),
)


def tried(path, text):
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(SettingsError):
        load_experiment(path)


BOUNDED = settings(
    max_examples=150,
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@BOUNDED
@given(text=TEXTS | TEXTS.map(lambda t: f"task: tiny\n{t}"))
def test_any_text_is_read_or_refused(tmp_path, text):
    tried(tmp_path / "a.yaml", text)


@BOUNDED
@given(values=SECTIONS)
def test_any_values_are_taken_or_refused(tmp_path, values):
    tried(tmp_path / "a.yaml", yaml.safe_dump({"task": "tiny", **values}))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["plan", "{file}", "--limit", "-1"], ["limit is -1", "1 or more"]),
        (["plan", "{file}", "--storage", "{file}"], ["is a file"]),
        (["train", "a\0b.yaml"], ["zero byte"]),
        (["submit", "--address", "nonsense", "{file}"], ["'nonsense' is no job server"]),
        (["submit", "--address", "http://a:99999", "{file}"], ["65535"]),
        (["dashboard", "--storage", "{folder}", "--port", "70000"], ["70000", "65535"]),
    ],
)
def test_mistakes_on_the_command_line_are_told(tmp_path, monkeypatch, capsys, arguments, parts):
    monkeypatch.setattr("eagleray.api.task_type", lambda name: TinyTask)
    file = tmp_path / "a.yaml"
    file.write_text("task: tiny\n")
    assert main.run([a.format(file=file, folder=tmp_path) for a in arguments]) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts), message


def test_storage_that_refuses_is_told_without_a_traceback(monkeypatch, capsys):
    def verb(arguments):
        raise PermissionError(13, "Permission denied", "/storage/runs")

    monkeypatch.setattr(main, "_verb", lambda name: verb)
    assert main.run(["train"]) == 1
    assert "PermissionError" in capsys.readouterr().err


class Unbuildable(TinyTask):
    def build(self):
        raise ValueError("num_channels must be divisible by num_groups")


def test_settings_that_only_the_network_refuses_are_named(tmp_path):
    asked = make_experiment({"task": "tiny", "settings": {"samples": 8}})
    with pytest.raises(SettingsError, match=r"(?s)must be divisible .* defaults: samples: 8"):
        train_run(
            asked,
            Unbuildable(asked.settings),
            Store(str(tmp_path)),
            {},
            RunOptions(inline=True),
        )
