"""``eagleray export`` makes one file, which ``--checkpoint`` and ``eagleray import`` take back; and
flags that a task adds to ``predict``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tests.sixth_task import SquareTask

import eagleray.api
from eagleray.cli import files, main
from eagleray.experiment import load
from eagleray.task import Settings, SettingsError


class SquareFlags(Settings):
    """Flags of ``predict``."""

    invert: bool = False
    """Say the other class."""
    names: str = ""
    """Names of the two classes, with a comma between."""


class FlaggedSquares(SquareTask):
    """The squares, predicted by flags of their own."""

    flags_type = SquareFlags
    flags = SquareFlags()

    def with_flags(self, flags):
        if flags.names and len(flags.names.split(",")) != 2:
            raise SettingsError(f"--names takes two names, found {flags.names!r}")
        changed = type(self)(self.settings)
        changed.flags = flags
        return changed

    def predict(self, model, samples):
        return [1 - p if self.flags.invert else p for p in super().predict(model, samples)]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A trained experiment of the squares, whose predictions take flags."""
    folder = tmp_path_factory.mktemp("export")
    path = folder / "six.yaml"
    path.write_text(f"task: squares\nstorage: {folder / 's'}\nsettings: {{count: 16}}\n")
    (folder / "mine.json").write_text(json.dumps([[0, 1] * 3] * 6))
    with pytest.MonkeyPatch.context() as patch:
        for module in (load, eagleray.api, files):
            patch.setattr(module, "task_type", lambda name: FlaggedSquares)
        assert main.run(["run", str(path), "--inline"]) == 0
        yield path


@pytest.fixture(scope="module")
def exported(experiment):
    output = experiment.parent / "out" / "squares.safetensors"
    assert main.run(["export", str(experiment), "--output", str(output)]) == 0
    return output


def test_an_export_is_evaluated_like_the_checkpoint_that_it_is_of(experiment, exported, capsys):
    names = ["--checkpoint", "best", str(exported)]
    assert main.run(["evaluate", str(experiment), *names, "--inline"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "accu" in line]
    assert [row[2].strip() for row in rows] == ["best", "squares"]
    assert rows[0][5] == rows[1][5]


def test_an_export_is_imported_with_its_settings(exported, tmp_path, capsys):
    weights = tmp_path / "weights.safetensors"
    assert main.run(["import", "squares", str(exported), "--output", str(weights)]) == 0
    assert "exported by eagleray: task squares" in capsys.readouterr().out
    values = yaml.safe_load((tmp_path / "squares.yaml").read_text())
    assert (values["task"], values["settings"]["count"]) == ("squares", 16)
    assert values["evaluate"]["checkpoint"] == str(weights)
    assert set(load_file(weights)) == set(load_file(exported))
    with pytest.raises(SettingsError, match="exported from task 'squares', asked is 'seamseg'"):
        files.import_published(["seamseg", str(exported), "--output", str(weights)])


def predicted(experiment, output: Path, *flags: str) -> str:
    square = experiment.parent / "mine.json"
    run = ["predict", str(experiment), str(square), "--output", str(output), "--inline", *flags]
    assert main.run(run) == 0
    return (output / "mine.json").read_text()


def test_flags_of_the_task_change_the_prediction_and_its_identity(experiment, tmp_path):
    assert predicted(experiment, tmp_path) == "0"
    assert predicted(experiment, tmp_path, "--invert") == "1"
    assert predicted(experiment, tmp_path, "--invert", "--names", "a, b") == "1"
    assert predicted(experiment, tmp_path) == "0"


def test_flags_of_the_task_are_shown_and_checked(experiment, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main.run(["predict", str(experiment), "--help"])
    assert "Names of the two classes, with a comma between" in capsys.readouterr().out
    square = str(experiment.parent / "mine.json")
    assert main.run(["predict", str(experiment), square, "--inline", "--names", "a"]) == 2
    assert "--names takes two names, found 'a'" in capsys.readouterr().err
    session = eagleray.api.Experiment.from_file(experiment, inline=True)
    with pytest.raises(SettingsError, match="nmaes"):
        session.predict([square], str(tmp_path), flags={"nmaes": "a, b"})


def test_flags_of_the_task_are_refused_by_other_verbs(experiment, capsys):
    assert main.run(["evaluate", str(experiment), "--names", "a,b", "--inline"]) == 2
    assert "--names is a flag of task 'squares' for `predict`" in capsys.readouterr().err


def test_flags_that_are_the_engines_are_refused(experiment, monkeypatch, capsys):
    class Taken(Settings):
        limit: int = 3

    monkeypatch.setattr(FlaggedSquares, "flags_type", Taken)
    assert main.run(["predict", str(experiment), "x.json"]) == 2
    assert "the engine's: limit" in capsys.readouterr().err
