"""Content, checksum, marker last: whole results or none, the first writer's marker counts."""

from __future__ import annotations

import pytest

from eagleray.storage import DamagedError, Store, commit, have_sizes, read_checked, retract, sha256
from eagleray.task import EaglerayError


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(f"memory://{tmp_path.name}")


def test_marker_is_written_after_all_content(tmp_path, monkeypatch):
    store, order = Store(str(tmp_path)), []
    for name in ("write", "create"):
        original = getattr(store, name)
        monkeypatch.setattr(
            store,
            name,
            lambda path, content, original=original: (order.append(path), original(path, content))[
                1
            ],
        )
    assert commit(store, {"r/a": b"1", "r/b": b"2"}, "r.json", b"{}")
    assert order == ["r/a", "r/b", "r.json"]


def test_result_that_cannot_be_written_has_no_marker(tmp_path):
    store = Store(str(tmp_path))
    (tmp_path / "r").write_text("in the way of the folder")
    with pytest.raises(EaglerayError, match="r/b"):
        commit(store, {"a": b"1", "r/b": b"2"}, "r.json", b"{}")
    assert not store.exists("r.json")


def test_marker_of_the_first_writer_counts(store):
    assert commit(store, {"data-1": b"1"}, "r.json", b"first")
    assert not commit(store, {"data-2": b"2"}, "r.json", b"second")
    assert store.read("r.json") == b"first"


def test_damaged_content_is_named_with_its_remedy(store):
    store.write("data", b"right")
    assert read_checked(store, "data", sha256(b"right")) == b"right"
    store.write("data", b"wrong")
    with pytest.raises(DamagedError, match=r"data is damaged.*prepare again"):
        read_checked(store, "data", sha256(b"right"), remedy="prepare again")


def test_missing_and_torn_files_do_not_have_their_sizes(store):
    store.write("a", b"123")
    assert have_sizes(store, {"a": 3})
    assert not have_sizes(store, {"a": 4})
    assert not have_sizes(store, {"a": 3, "b": 1})


def test_retracting_deletes_the_marker_first(store, monkeypatch):
    commit(store, {"r/a": b"1", "data": b"2"}, "r.json", b"{}")
    order, delete = [], store.delete
    monkeypatch.setattr(
        store, "delete", lambda path, **how: (order.append(path), delete(path, **how))[1]
    )
    retract(store, "r.json", "r", "data")
    assert order == ["r.json", "r", "data"]
    assert store.files(recursive=True) == []
    retract(store, "r.json", "r")
