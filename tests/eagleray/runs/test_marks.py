"""Tags, notes, archive and trash: in files, and by the command."""

from __future__ import annotations

import pytest
from experiments.benchmarks.fake_store import FakeRun, write_run

from eagleray.cli.main import run as command
from eagleray.runs.lease import Lease
from eagleray.runs.marks import MOST_TAGS, RunMarks, change_marks, read_marks
from eagleray.runs.run_folder import find_run, list_runs
from eagleray.runs.trash import delete_run, empty_trash, restore_run, trashed
from eagleray.task import SettingsError


@pytest.fixture
def store(tmp_path):
    for name in ("main-0", "main-1"):
        write_run(str(tmp_path), FakeRun("exp", name, points=2, pictures=0))
    return str(tmp_path)


def test_marks_are_kept_and_what_is_not_named_stays(store):
    run = find_run(store, "main-0")
    assert read_marks(run) == RunMarks()
    change_marks(run, add=["good", "<b>"], note="a note\nof two lines")
    assert change_marks(run, add=["good", "new"], remove=["<b>"], archived=True) == read_marks(run)
    assert read_marks(run) == RunMarks(("good", "new"), "a note\nof two lines", True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"tags": 3, "note": [], "archived": 1}'])
def test_damaged_marks_are_none(content):
    assert RunMarks.parse(content) == RunMarks()


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "x" * 41])
def test_what_is_no_tag_is_refused(store, tag):
    with pytest.raises(SettingsError, match="is no tag"):
        change_marks(find_run(store, "main-0"), add=[tag])


def test_there_is_an_end_to_tags(store):
    with pytest.raises(SettingsError, match="20 are allowed"):
        change_marks(find_run(store, "main-0"), add=[f"t{n}" for n in range(MOST_TAGS + 1)])


def test_a_deleted_run_comes_back_as_it_was(store):
    before = find_run(store, "main-0").files(recursive=True)
    assert delete_run(store, "exp/main-0") == "exp/main-0"
    assert [run.name for run in list_runs(store)] == ["exp/main-1"]
    assert trashed(store) == ["exp/main-0"]
    restore_run(store, "exp/main-0")
    assert find_run(store, "main-0").files(recursive=True) == before


def test_a_second_run_of_the_name_has_its_own_place_in_the_trash(store):
    delete_run(store, "exp/main-0")
    write_run(store, FakeRun("exp", "main-0", points=2, pictures=0))
    with pytest.raises(SettingsError, match="there is a run 'exp/main-0' again"):
        restore_run(store, "exp/main-0")
    assert delete_run(store, "exp/main-0") == "exp/main-0.2"
    assert empty_trash(store) == ["exp/main-0", "exp/main-0.2"]
    assert trashed(store) == []


@pytest.mark.parametrize("name", ["exp/none", "../exp/main-0", "exp"])
def test_what_is_no_run_is_not_deleted(store, name):
    with pytest.raises(SettingsError, match="there is no run"):
        delete_run(store, name)


def test_a_run_that_somebody_works_on_is_not_deleted(store):
    with (
        Lease(find_run(store, "main-0")),
        pytest.raises(SettingsError, match="somebody works on exp/main-0"),
    ):
        delete_run(store, "exp/main-0")


def test_a_folder_moves_in_an_object_store_too(tmp_path):
    uri = f"memory://{tmp_path.name}"
    write_run(uri, FakeRun("exp", "main-0", points=2, pictures=0))
    delete_run(uri, "exp/main-0")
    assert list_runs(uri) == [] and trashed(uri) == ["exp/main-0"]


def test_the_verbs_mark_delete_and_restore(store, capsys):
    assert command(["mark", "main-0", "--storage", store, "--tag", "good", "--archive"]) == 0
    assert command(["mark", "main-0", "--storage", store, "--untag", "bad", "--note", "why"]) == 0
    assert command(["mark", "main-0", "main-1", "--storage", store]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "exp/main-0: good; archived; why",
        "exp/main-1: no marks",
    ]
    assert command(["trash", "main-0", "--storage", store]) == 0
    assert command(["trash", "--storage", store]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "exp/main-0"
    assert command(["trash", "exp/main-0", "--restore", "--storage", store]) == 0
    assert command(["trash", "main-9", "--storage", store]) == 2
    assert len(list_runs(store)) == 2
