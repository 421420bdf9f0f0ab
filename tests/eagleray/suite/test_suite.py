"""Suites: resumed after a kill, a broken experiment is named and the rest goes on, one page."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.sixth_task import SquareTask

import eagleray.api
from eagleray.cli import main
from eagleray.experiment import discovery, load
from eagleray.suite import driver, page
from eagleray.suite.schema import experiment_of, load_suite
from eagleray.task import SettingsError

ROOT = Path(__file__).resolve().parents[3]


class Killed(BaseException):
    """Stands for the death of the process: nobody catches it."""


class OtherTask(SquareTask):
    """A second system, which dies in its training while ``deaths`` says so."""

    name, deaths, trained = "others", 0, 0

    def losses(self, model, batch, step):
        if step.step == 3 and OtherTask.deaths > 0:
            OtherTask.deaths -= 1
            raise Killed
        OtherTask.trained += 1
        return super().losses(model, batch, step)


TASKS = {"squares": SquareTask, "others": OtherTask}


@pytest.fixture(autouse=True)
def two_tasks(monkeypatch):
    def task_type(name):
        if name not in TASKS:
            raise SettingsError(f"task {name!r} is not installed")
        return TASKS[name]

    for module in (load, eagleray.api, discovery, page):
        monkeypatch.setattr(module, "task_type", task_type)
    monkeypatch.setattr(OtherTask, "deaths", 0)
    monkeypatch.setattr(OtherTask, "trained", 0)


@pytest.fixture
def suite(tmp_path):
    for name, task in (("first", "squares"), ("second", "others"), ("broken", "nobodys")):
        (tmp_path / f"{name}.yaml").write_text(f"task: {task}\n")
    values = {
        "title": "Two <systems>",
        "storage": str(tmp_path / "s"),
        "entries": [
            {"name": "broken", "experiment": str(tmp_path / "broken.yaml")},
            {"name": "first", "experiment": str(tmp_path / "first.yaml"),
             "set": {"count": 8, "steps": 6}},
            {"name": "second", "experiment": str(tmp_path / "second.yaml"),
             "set": {"count": 8, "steps": 6}},
            {"name": "fails", "command": ["python", "-c", "raise SystemExit(3)"]},
        ],
    }  # fmt: skip
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run(suite, *flags):
    output = str(suite.parent / "page.html")
    return main.run(["suite", str(suite), "--inline", "--output", output, *flags])


def states(suite):
    return {name: r.state for name, r in driver.read_records(load_suite(suite)).items()}


def test_a_killed_suite_goes_on_and_a_broken_experiment_is_named(suite, capsys):
    OtherTask.deaths = 1
    with pytest.raises(Killed):
        run(suite)
    assert states(suite) == {"broken": "failed", "first": "done", "second": "running"}
    capsys.readouterr()
    assert run(suite) == 1
    told = capsys.readouterr()
    assert "first: done" in told.out and "first: begins" not in told.out, "it is not run again"
    assert "second: done" in told.out
    assert "failed: broken: " in told.err and "nobodys" in told.err
    assert "ended with status 3" in told.err
    assert states(suite)["fails"] == "failed"
    text = (suite.parent / "page.html").read_text()
    assert "Two &lt;systems&gt;" in text
    assert "2 of 4 entries done" in text
    assert text.count("a coin") == 2, "paper / ours / difference of both systems"
    assert text.count("data:image/png") == 2
    assert "task &#39;nobodys&#39; is not installed" in text


def test_what_is_done_is_run_again_where_it_asks_for_something_else(suite, capsys):
    assert run(suite) == 1
    before = OtherTask.trained
    assert run(suite) == 1
    assert OtherTask.trained == before
    values = yaml.safe_load(suite.read_text())
    values["entries"][2]["set"]["noise"] = 0.5
    suite.write_text(yaml.safe_dump(values))
    assert run(suite) == 1
    assert OtherTask.trained == before + 6


def test_an_entry_that_takes_the_process_along_twice_goes_last(suite, monkeypatch):
    OtherTask.deaths = 3
    order = []
    monkeypatch.setattr(driver, "_run_command", lambda entry: order.append(entry.label))
    for _ in range(3):
        with pytest.raises(Killed):
            run(suite)
    assert order == ["fails"], "the entry behind it had its turn"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "either an experiment or a command"),
        ({"experiment": "a.yaml", "command": ["b"]}, "either an experiment or a command"),
        ({"command": ["b"], "set": {"x": 1}}, "takes neither"),
        ({"experiment": "a.yaml", "verb": "trian"}, "verb"),
    ],
)
def test_an_impossible_entry_is_refused(suite, entry, reason):
    suite.write_text(yaml.safe_dump({"entries": [entry]}))
    with pytest.raises(SettingsError, match=reason):
        load_suite(suite)


def test_entries_that_are_called_alike_are_refused(suite):
    suite.write_text(yaml.safe_dump({"entries": [{"command": ["b"]}, {"command": ["b"]}]}))
    with pytest.raises(SettingsError, match="entries are called alike: b"):
        load_suite(suite)


def test_a_dry_run_reads_everything_and_runs_nothing(suite, capsys):
    assert run(suite, "--dry-run") == 1
    out = capsys.readouterr().out
    assert "BROKEN: " in out and "not begun" in out and "count=8" in out
    assert not (suite.parent / "s").exists()


def test_the_toy_suite_holds_every_system(monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    suite = load_suite(Path("experiments/suites/toy.yaml"))
    runs = [entry for entry in suite.entries if entry.experiment and entry.verb == "run"]
    tasks = {experiment_of(suite, entry).task for entry in runs}
    assert tasks == {"seamseg", "efficientps", "omniseg3d", "ops", "pop3d"}
