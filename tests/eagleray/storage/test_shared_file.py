"""Files that processes on several machines read: by URI and checksum, once per node."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import time

import fsspec
import pytest

from eagleray.storage import DamagedError, SharedFile, Store
from eagleray.storage import shared_file as module
from eagleray.task import SettingsError

CONTENT = b"weights" * 1000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/eagleray/files"


@pytest.fixture
def remote(tmp_path):
    store = Store(f"memory://{tmp_path.name}/runs/main-1")
    store.write("model.safetensors", CONTENT)
    return store


def shared(store):
    checksum = hashlib.sha256(CONTENT).hexdigest()
    return SharedFile(f"{store.uri}/model.safetensors", checksum)


def test_a_node_fetches_it_once_whoever_asks(cache, remote, monkeypatch):
    opened = []
    original = Store.open
    monkeypatch.setattr(Store, "open", lambda *a: opened.append(a) or original(*a))
    file, paths = pickle.loads(pickle.dumps(shared(remote))), []
    threads = [threading.Thread(target=lambda: paths.append(file.local())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1 and len(set(paths)) == 1
    assert paths[0].read_bytes() == CONTENT and paths[0].is_relative_to(cache)
    assert not list(cache.glob(".tmp-*"))


def test_what_was_replaced_meanwhile_is_refused(cache, remote):
    remote.write("model.safetensors", b"other")
    with pytest.raises(DamagedError, match="replaced or damaged"):
        shared(remote).local()
    assert not list(cache.rglob("model.safetensors"))


def test_a_checksum_that_nobody_has_said_is_learnt_and_follows_the_content(cache, remote):
    uri = f"{remote.uri}/model.safetensors"
    first = SharedFile.fetched(uri)
    assert first == shared(remote) and first.local().read_bytes() == CONTENT
    time.sleep(0.01)  # the file system's own clock tells versions apart
    remote.write("model.safetensors", b"x" * len(CONTENT))
    assert SharedFile.fetched(uri).local().read_bytes() == b"x" * len(CONTENT)
    with pytest.raises(SettingsError, match=r"none\.safetensors cannot be read"):
        SharedFile.fetched(f"{remote.uri}/none.safetensors")


def test_a_path_must_be_seen_alike_by_other_machines(cache, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(CONTENT)
    file = SharedFile.of(path)
    assert file.local() == path
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    assert file.local() == path
    path.write_bytes(b"another")
    with pytest.raises(SettingsError, match=r"on elsewhere is not that of"):
        file.local()
    path.unlink()
    with pytest.raises(SettingsError, match=r"is not there on elsewhere: put it where all"):
        file.local()


def test_what_nobody_uses_is_forgotten(cache, remote):
    old = shared(remote).local()
    os.utime(old, (0, 0))
    remote.write("other.safetensors", b"other")
    SharedFile.fetched(f"{remote.uri}/other.safetensors")
    assert not old.exists() and shared(remote).local() == old
    assert module.is_uri("gs://bucket/x") and not module.is_uri("C:/x")
    fsspec.filesystem("memory").store.clear()
