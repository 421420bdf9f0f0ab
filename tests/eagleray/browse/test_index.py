"""The index over runs: rebuilt from files, followed while they change, never trusted."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3

import pytest
from experiments.benchmarks.fake_store import FakeRun, write_run

from eagleray.browse import index as index_module
from eagleray.browse.index import RunIndex
from eagleray.runs.lease import Lease


@pytest.fixture(autouse=True)
def look_every_time(monkeypatch):
    monkeypatch.setattr(index_module, "_REFRESH_LOCAL_S", -1.0)


@pytest.fixture
def storage(tmp_path):
    for seed in range(3):
        write_run(
            str(tmp_path / "store"), FakeRun("exp", f"main-{seed}", seed=seed, points=2, pictures=0)
        )
    return tmp_path / "store"


def open_index(storage):
    return RunIndex(str(storage), storage.parent / "cache" / "runs.sqlite")


def test_runs_are_found_with_what_their_summary_says(storage):
    runs = open_index(storage).runs()
    assert [r.name for r in runs] == ["exp/main-0", "exp/main-1", "exp/main-2"]
    assert (runs[0].summary.task, runs[0].state, runs[0].summary.step) == (
        "seamseg",
        "evaluated",
        2,
    )
    assert runs[0].summary.results[0].metric == "miou"


def test_the_index_can_be_deleted_and_rebuilt(storage):
    first = open_index(storage)
    before = first.runs()
    first.path.unlink()
    assert open_index(storage).runs() == before


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00 but broken" * 99, b""])
def test_a_damaged_index_is_built_anew(storage, content):
    path = storage.parent / "cache" / "runs.sqlite"
    path.parent.mkdir()
    path.write_bytes(content)
    assert len(open_index(storage).runs()) == 3
    assert len(sqlite3.connect(path).execute("SELECT name FROM runs").fetchall()) == 3


def test_only_changed_runs_are_read_again(storage, monkeypatch):
    open_index(storage).runs()
    summary = storage / "runs/exp/main-1/summary.json"
    summary.write_text(json.dumps({"task": "seamseg", "state": "failed", "error": "x" * 7}))
    again = open_index(storage)
    read = []
    original = type(again.store).read_many
    monkeypatch.setattr(
        type(again.store),
        "read_many",
        lambda self, paths: read.extend(paths) or original(self, paths),
    )
    assert [r.state for r in again.runs()] == ["evaluated", "failed", "evaluated"]
    assert read == [f"exp/main-1/{file}" for file in ("summary.json", "marks.json")]


def test_new_and_deleted_runs_are_followed(storage):
    index = open_index(storage)
    index.runs()
    shutil.rmtree(storage / "runs/exp/main-0")
    write_run(str(storage), FakeRun("other", "main-9", points=1, pictures=0))
    assert [r.name for r in index.runs()] == ["exp/main-1", "exp/main-2", "other/main-9"]
    assert index.find("exp/main-0") is None
    assert [r.name for r in open_index(storage).runs()] == [
        "exp/main-1",
        "exp/main-2",
        "other/main-9",
    ]


@pytest.mark.parametrize("content", ["{", "[1]", '"x"', ""])
def test_a_damaged_summary_is_shown_as_damaged(storage, content):
    (storage / "runs/exp/main-1/summary.json").write_text(content)
    run = open_index(storage).find("exp/main-1")
    assert run.state == "damaged"
    assert "summary.json is damaged" in run.problem


def test_folders_that_are_no_runs_are_shown_as_what_they_are(storage):
    (storage / "runs/exp/notes").mkdir()
    (storage / "runs/exp/<b>x").mkdir()
    (storage / "runs/link").symlink_to("/")
    problems = {r.name: r.problem for r in open_index(storage).runs() if r.problem}
    assert set(problems) == {"exp/notes", "exp/<b>x"}, "links are not followed"
    assert "no run" in problems["exp/notes"]


@pytest.mark.parametrize("name", ["../x", "exp/../exp", "exp", "exp/main-0/log", "", "/etc/passwd"])
def test_names_that_leave_the_store_find_nothing(storage, name):
    assert open_index(storage).find(name) is None


def test_a_folder_without_runs_has_none(tmp_path):
    assert RunIndex(str(tmp_path), tmp_path / "i.sqlite").runs() == []


def test_a_run_in_training_is_live_while_its_lease_is_held(storage):
    summary = storage / "runs/exp/main-0/summary.json"
    summary.write_text(json.dumps({"task": "seamseg", "state": "training"}))
    index = open_index(storage)
    assert index.find("exp/main-0").state == "interrupted"
    with Lease(index.store.child("exp/main-0")):
        assert index.find("exp/main-0").state == "training"
    assert index.find("exp/main-0").state == "interrupted"


def test_a_cache_that_cannot_be_written_is_no_obstacle(storage):
    blocked = storage / "file"
    blocked.write_text("")
    assert len(RunIndex(str(storage), blocked / "runs.sqlite").runs()) == 3


def test_an_object_store_is_indexed_too(tmp_path):
    uri = f"memory://{tmp_path.name}"
    write_run(uri, FakeRun("exp", "main-0", points=2, pictures=0))
    index = RunIndex(uri, tmp_path / "i.sqlite")
    assert [(r.name, r.state) for r in index.runs()] == [("exp/main-0", "evaluated")]


def test_runs_stay_as_they_were_while_the_storage_does_not_answer(storage, monkeypatch):
    index = open_index(storage)
    before = index.runs()
    changed = json.loads((storage / "runs/exp/main-0/summary.json").read_text())
    (storage / "runs/exp/main-0/summary.json").write_text(json.dumps(changed) + "\n")

    def silent(path):
        raise OSError(errno.ESTALE, "stale file handle")

    with monkeypatch.context() as away:
        away.setattr(index.store, "read", silent)
        assert index.runs() == before
    assert index.runs()[0].summary == before[0].summary
