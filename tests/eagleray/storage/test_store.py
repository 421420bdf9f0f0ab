"""Whole-file writes, markers for exactly one writer, and paths that never leave their root."""

from __future__ import annotations

import errno
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from eagleray.storage import Store, checked_name
from eagleray.task import EaglerayError, SettingsError


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(f"memory://{tmp_path.name}")


def test_write_read_list_delete(store):
    store.write("a/b.json", b"1")
    store.write("a/b.json", b"2")
    store.write("a/c/d.json", b"3")
    assert store.read("a/b.json") == b"2"
    assert store.files("a") == ["a/b.json"]
    assert store.files("a", recursive=True) == ["a/b.json", "a/c/d.json"]
    assert store.folders("a") == ["c"]
    assert store.exists("a/c/d.json")
    assert store.size("a/b.json") == 1
    store.delete("a", recursive=True)
    assert store.files(recursive=True) == []
    store.delete("a/b.json")


def test_create_has_exactly_one_winner(tmp_path):
    store = Store(str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.create("marker", str(n).encode()), range(32)))
    assert sum(won) == 1
    assert store.read("marker") == str(won.index(True)).encode()
    assert [p.name for p in tmp_path.iterdir()] == ["marker"]


def test_child_and_pickle_open_the_same_folder(store):
    child = pickle.loads(pickle.dumps(store.child("x/y")))
    child.write("z", b"1")
    assert store.read("x/y/z") == b"1"


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../../b", "", "a\\b"])
def test_paths_never_leave_the_store(store, path):
    with pytest.raises(EaglerayError, match="relative"):
        store.write(path, b"")
    with pytest.raises(EaglerayError, match="relative"):
        store.child(path)


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "a b", "x" * 129, "<b>"])
def test_names_with_a_path_in_them_are_refused(name):
    with pytest.raises(SettingsError, match="run name"):
        checked_name(name, "run name")


def test_missing_files_are_no_surprise(store):
    with pytest.raises(FileNotFoundError):
        store.read("nothing")
    assert store.files("nothing") == []
    assert store.folders("nothing") == []


def test_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    store.write("a", b"old")

    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eagleray.storage.store.os.fsync", no_space)
    for write, path in ((store.write, "a"), (store.create, "b")):
        with pytest.raises(EaglerayError, match="No space left on device"):
            write(path, b"new")
    store.write("a", b"old")  # changes nothing
    assert not store.create("a", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert store.read("a") == b"old"


def test_what_is_not_there_is_left_out_and_silent_storage_is_told(store, monkeypatch):
    store.write("a", b"1")
    assert store.read_many(["a", "b"]) == {"a": b"1"}

    def silent(path):
        raise OSError(errno.ESTALE, "stale file handle")

    monkeypatch.setattr(store, "read", silent)
    with pytest.raises(OSError, match="stale"):
        store.read_many(["a", "b"])


def test_what_may_not_be_read_is_left_out(store, monkeypatch):
    def forbidden(path):
        raise PermissionError(path)

    monkeypatch.setattr(store, "read", forbidden)
    assert store.read_many(["a"]) == {}
