"""Trackers are told once what a run holds, by whichever command, and never end a run."""

from __future__ import annotations

import json
import logging
import threading
from types import SimpleNamespace

import pytest

from eagleray.experiment.load import make_experiment
from eagleray.experiment.schema import TrackSettings
from eagleray.runs.evaluation import write_result
from eagleray.runs.records import EvaluationResult
from eagleray.runs.run_folder import RunFolder, results_digest
from eagleray.task import SettingsError
from eagleray.track import check_trackers, tell, tracked
from eagleray.track.tell import FOLDER, Told

VALUES = {"task": "toyworld", "name": "exp", "settings": {"scenes": 2}}


class Recorder:
    """A tracker that remembers; it does not answer while ``is_down``."""

    def __init__(self):
        self.is_down, self.id, self.calls, self.facts = False, "id-1", [], None

    def points(self):
        return [
            (entry.step, name, value)
            for kind, entries in self.calls
            if kind == "log"
            for entry in entries
            for name, value in entry.values.items()
        ]

    def named(self, kind):
        return [what for called, what in self.calls if called == kind]

    def open(self, facts, known):
        self._answer()
        self.facts = facts
        self.calls.append(("open", known))
        return self.id

    def log(self, entries):
        self._answer()
        self.calls.append(("log", list(entries)))

    def results(self, results):
        self.calls.append(("results", [(r.benchmark, r.checkpoint) for r in results]))

    def files(self, files):
        self.calls.append(("files", sorted(files)))

    def close(self, outcome):
        self.calls.append(("close", outcome))

    def _answer(self):
        if self.is_down:
            raise ConnectionError("no route to host\nwith a long trace")


@pytest.fixture
def settings():
    return make_experiment(VALUES)


@pytest.fixture
def run(tmp_path, settings):
    folder = RunFolder(str(tmp_path / "runs" / "exp" / "main-1"))
    folder.begin(settings)
    return folder


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(tell, "_makers", lambda settings: {"recorder": lambda: recorder})
    return recorder


def log(run, attempt, *lines):
    texts = [
        json.dumps({"kind": kind, "total_step": step, "time": 1e9 + step, **values})
        for step, kind, values in lines
    ]
    name = f"metrics/{attempt:04d}-{lines[0][0]:08d}.jsonl"
    run.write(name, ("\n".join(texts) + "\n").encode())


def test_a_run_is_told_with_its_settings_metrics_and_files(run, settings, recorder):
    with tracked(run, settings):
        log(run, 1, (1, "train", {"loss": 3.0}), (2, "train", {"loss": None, "lr": 0.1}))
        log(run, 1, (3, "train", {"loss": 1.0}), (3, "validate", {"miou": 50.0}))
    assert recorder.facts.name == "exp/main-1"
    assert recorder.facts.settings["settings.scenes"] == 2
    assert not [name for name in recorder.facts.settings if name.startswith("track")]
    assert recorder.points() == [
        (1, "train/loss", 3.0),
        (2, "train/lr", 0.1),
        (3, "train/loss", 1.0),
        (3, "validate/miou", 50.0),
    ]
    (files,) = recorder.named("files")
    assert "experiment.yaml" in files
    assert recorder.named("close") == ["done"]


def test_the_next_command_goes_on_in_the_same_run_and_repeats_nothing(run, settings, recorder):
    with tracked(run, settings):
        log(run, 1, *((s, "train", {"loss": float(s)}) for s in (1, 2, 3)))
    before = recorder.points()
    recorder.calls.clear()
    with tracked(run, settings):
        # it was killed after step 3 and had a checkpoint of step 1
        log(run, 2, *((s, "train", {"loss": float(s)}) for s in (2, 3, 4)))
    assert recorder.named("open") == ["id-1"]
    assert recorder.points() == [(4, "train/loss", 4.0)]
    assert len(before) == 3
    assert recorder.named("files") == []


def test_results_are_told_when_they_are_new_or_have_changed(run, settings, recorder):
    def evaluated(value):
        write_result(run, EvaluationResult("val", "best", "miou", {"miou": value}), {})

    for value in (50.0, 50.0, 60.0):
        with tracked(run, settings):
            evaluated(value)
    assert recorder.named("results") == [[("val", "best")]] * 2


def test_a_tracker_without_network_is_named_and_told_later(run, settings, recorder, caplog):
    recorder.is_down = True
    with caplog.at_level(logging.WARNING), tracked(run, settings):
        log(run, 1, (1, "train", {"loss": 3.0}))
    first, last = [r.getMessage() for r in caplog.records]
    assert first == (
        "recorder does not take what exp/main-1 logs (ConnectionError: no route to host); the run "
        "goes on without it"
    )
    assert "was not told everything of exp/main-1: the next command" in last
    recorder.is_down = False
    with tracked(run, settings):
        pass
    assert recorder.points() == [(1, "train/loss", 3.0)]


def test_a_service_that_has_forgotten_the_run_is_told_everything_again(run, settings, recorder):
    with tracked(run, settings):
        log(run, 1, (1, "train", {"loss": 3.0}))
    recorder.id = "id-2"
    recorder.calls.clear()
    with tracked(run, settings):
        pass
    assert recorder.named("open") == ["id-1"]
    assert recorder.points() == [(1, "train/loss", 3.0)]
    assert Told.read(run, "recorder").id == "id-2"


def test_a_tracker_that_hangs_is_left_behind(run, settings, recorder, monkeypatch, caplog):
    awaited = threading.Event()
    recorder.log = lambda entries: awaited.wait(60)
    monkeypatch.setattr(tell, "_LAST_WORDS_S", 0.05)
    with tracked(run, settings):
        log(run, 1, (1, "train", {"loss": 3.0}))
    assert "was not told everything" in caplog.text
    awaited.set()


def test_what_ends_the_work_is_told_and_goes_on(run, settings, recorder):
    with pytest.raises(ZeroDivisionError), tracked(run, settings):
        raise ZeroDivisionError
    assert recorder.named("close") == ["ZeroDivisionError"]


def test_a_damaged_record_tells_everything_again(run, settings, recorder):
    run.write(f"{FOLDER}/recorder.json", b'{"id": ')
    with tracked(run, settings):
        log(run, 1, (1, "train", {"loss": 3.0}))
    assert recorder.named("open") == [""]
    assert len(recorder.points()) == 1


def test_without_the_section_nothing_is_written(run, settings):
    with tracked(run, settings):
        pass
    assert not run.files(FOLDER)


def test_a_package_that_is_not_installed_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setattr(tell, "find_spec", lambda name: None)
    check_trackers(TrackSettings())
    for name in ("mlflow", "wandb"):
        with pytest.raises(SettingsError, match=f"track.{name} is set, but the package '{name}'"):
            check_trackers(TrackSettings.model_validate({name: {}}))


def test_trackers_are_no_part_of_a_run():
    plain, other = make_experiment(VALUES), make_experiment({**VALUES, "track": {"wandb": {}}})
    assert other.track.wandb is not None
    assert results_digest(plain) == results_digest(other)


def test_a_look_that_fails_once_is_made_up_for(run, settings, recorder):
    answers = iter([ConnectionError("once")])
    plain = recorder.log

    def log_or_fail(entries):
        error = next(answers, None)
        if error is not None:
            raise error
        plain(entries)

    recorder.log = log_or_fail
    facts = SimpleNamespace(name="exp/main-1")
    teller = tell.Teller("recorder", lambda: recorder, run, facts, every_s=0.001)
    log(run, 1, (1, "train", {"loss": 3.0}))
    teller.start()
    while not recorder.points():
        teller.join(0.001)
    teller.finish("done")
    assert recorder.points() == [(1, "train/loss", 3.0)]
    assert recorder.named("open") == [""]
