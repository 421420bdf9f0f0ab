"""A stage on an object store that speaks S3: no rename, whole uploads, markers created once."""

from __future__ import annotations

import socket
import threading

import pytest
from tests.eagleray.prepare.test_run_stage import Interrupted
from tests.eagleray.stages import LargeSquares, Squares, folder_of, run

from eagleray.prepare import StageFolder, open_rows
from eagleray.storage import Store

pytest.importorskip("s3fs", reason="s3fs is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed")


@pytest.fixture(scope="module")
def bucket():
    import s3fs

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = moto_server.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().makedirs("prepared-stages", exist_ok=True)
        yield "s3://prepared-stages"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def contents(store):
    own = ("log/", "code.json")  # times, and who computed it
    return {p: store.read(p) for p in store.files(recursive=True) if not p.startswith(own)}


def test_a_stage_is_resumed_on_an_object_store(bucket):
    broken, whole = Store(f"{bucket}/broken"), Store(f"{bucket}/whole")
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(24, files=True, bad=[3]), broken.uri, items_per_shard=4)
    assert 0 < len(broken.files("markers")) < 6
    run(Squares(24, files=True, bad=[3]), whole.uri, items_per_shard=4)
    summary, rows = run(Squares(24, files=True, bad=[3]), broken.uri, items_per_shard=4)
    assert (summary.done, summary.rejected) == (23, 1)
    assert contents(broken) == contents(whole)
    assert rows["n00023"]["square"] == 529.0
    assert open_rows(folder_of(whole.uri)).read_file("n00020", "notes/square.txt") == b"400"


def test_reading_samples_fetches_little_more_than_their_bytes(bucket, monkeypatch):
    import s3fs

    run(LargeSquares(12), f"{bucket}/large", items_per_shard=12)
    rows, fetched = open_rows(folder_of(f"{bucket}/large")), []
    assert len(rows.keys()) == 12
    fetch = s3fs.S3File._fetch_range

    def counted(file, start, end):
        content = fetch(file, start, end)
        fetched.append(len(content))
        return content

    monkeypatch.setattr(s3fs.S3File, "_fetch_range", counted)
    wanted = [7, 2, 9, 4]
    assert [rows[f"n{k:05d}"]["number"] for k in wanted] == wanted
    assert len(wanted) << 20 <= sum(fetched) <= 1.5 * (len(wanted) << 20)
    assert len(fetched) <= 4 * len(wanted)


def test_a_marker_is_created_once(bucket):
    store = Store(f"{bucket}/once")
    assert store.create("markers/a.json", b"1")
    assert not store.create("markers/a.json", b"2")
    assert store.read("markers/a.json") == b"1"


def test_what_stands_for_a_folder_is_no_file(bucket):
    store = Store(f"{bucket}/with-places")
    for key in ("with-places/", "with-places/runs/", "with-places/runs/toy/"):
        store._fs.call_s3("put_object", Bucket="prepared-stages", Key=key, Body=b"")
    store.write("runs/toy/summary.json", b"{}")
    assert store.files(recursive=True) == ["runs/toy/summary.json"]
    assert store.files() == [] and store.folders("runs") == ["toy"]
    assert store.folders() == ["runs"]


def test_keys_of_several_shards_are_read_at_a_time(monkeypatch):
    met, inside, lock = threading.Event(), set(), threading.Lock()
    read_rows = StageFolder.read_rows

    def together(folder, shard):
        with lock:
            inside.add(threading.get_ident())
            if len(inside) > 1:
                met.set()
        assert met.wait(20), "another shard is read only when this one is done"
        return read_rows(folder, shard)

    monkeypatch.setattr(StageFolder, "read_rows", together)
    _, rows = run(Squares(24), "memory://many-shards", items_per_shard=4)
    assert list(rows.keys()) == [f"n{n:05d}" for n in range(24)]


def test_as_many_connections_are_open_as_there_are_readers(bucket):
    store = Store(f"{bucket}/connections")
    store.exists("nothing")
    config = store._fs.s3.meta.config
    assert config.max_pool_connections == store.readers == 64
