"""Loading the next shard ahead of the device, and encoding behind it: order, rejects, ends of jobs,
memory, deaths.
"""

import threading
import time
from collections.abc import Sequence

import pytest
from tests.eagleray.stages import Squares, folder_of, run, tree

from eagleray.prepare.journal import Journal
from eagleray.prepare.shard import ShardWorker
from eagleray.task import EaglerayError, InputError


class EncodedSquares(Squares):
    """Squares whose records are made in ``encode``, the first ones the slowest."""

    refused: Sequence[int] = ()
    full_disk: Sequence[int] = ()
    pause_s = 0.0

    def process(self, samples):
        super().process([number for number in samples if number in self.raising])
        return list(samples)

    def encode(self, processed):
        time.sleep(self.pause_s if processed % 3 == 0 else 0)
        if processed in self.refused:
            raise InputError(f"{processed} cannot be encoded")
        if processed in self.full_disk:
            raise EaglerayError("the disk is full")
        return self._records(processed)


def test_encoded_records_are_those_of_process_to_the_byte(tmp_path):
    run(Squares(20, files=True, bad=[3], raising=[5]), tmp_path / "plain")
    stage = EncodedSquares(20, files=True, bad=[3], raising=[5], batch_size=3, loader_threads=2)
    stage.pause_s = 0.01
    run(stage, tmp_path / "encoded")
    assert tree(tmp_path / "plain") == tree(tmp_path / "encoded")


def test_what_cannot_be_encoded_is_one_reject(tmp_path):
    stage = EncodedSquares(12)
    stage.refused = [4, 9]
    summary, rows = run(stage, tmp_path)
    assert [key for key, _ in summary.rejects] == ["n00004", "n00009"]
    assert "cannot be encoded" in summary.rejects[0][1]
    assert (summary.done, len(rows)) == (10, 10)


def test_failing_storage_ends_the_job_and_rejects_nothing(tmp_path):
    stage = EncodedSquares(12)
    stage.full_disk = [4]
    with pytest.raises(EaglerayError, match="disk is full"):
        run(stage, tmp_path)
    stage = EncodedSquares(12)
    summary, _ = run(stage, tmp_path)
    assert (summary.done, summary.rejected) == (12, 0)


class Counting(EncodedSquares):
    """Counts the samples that are processed, but not encoded yet."""

    waiting = most = 0

    def setup(self, device, upstream, fitted):
        super().setup(device, upstream, fitted)
        self.lock, self.threads = threading.Lock(), set()

    def process(self, samples):
        with self.lock:
            self.waiting += len(samples)
            self.most = max(self.most, self.waiting)
        return super().process(samples)

    def encode(self, processed):
        time.sleep(0.002)
        with self.lock:
            self.waiting -= 1
            self.threads.add(threading.current_thread())
        return super().encode(processed)


def test_few_samples_wait_for_the_writers_and_the_device_goes_on(tmp_path):
    stage = Counting(60, batch_size=2)
    stage.setup("cpu", {}, {})
    with ShardWorker(stage, folder_of(tmp_path)) as worker:
        marker = worker.run("one", list(stage.items({})))
    assert marker.done == 60
    assert 2 < stage.most <= 2 + 2 * 2 + 2 * 2
    assert threading.main_thread() not in stage.threads
    assert len(stage.threads) == 2


def test_journal_ends_a_shard_when_it_is_encoded(tmp_path):
    class Notes(Journal):
        ended = ()

        def end(self, shard_id):
            super().end(shard_id)
            self.ended = (*self.ended, (shard_id, stage.left))

    class Slow(EncodedSquares):
        left = 4

        def encode(self, processed):
            time.sleep(0.01)
            self.left -= 1
            return super().encode(processed)

    stage, notes = Slow(4), Notes()
    stage.setup("cpu", {}, {})
    with ShardWorker(stage, folder_of(tmp_path), journal=notes) as worker:
        shard = worker.compute("one", list(stage.items({})))
        worker.commit(shard)
    assert notes.ended == (("one", 0),)


def test_shard_that_killed_while_encoding_is_encoded_item_by_item(tmp_path):
    stage, journal = Counting(4), Journal()
    stage.setup("cpu", {}, {})
    journal.begin("one")  # a worker that died without an end
    with ShardWorker(stage, folder_of(tmp_path), journal=journal) as worker:
        marker = worker.run("one", list(stage.items({})))
    assert (marker.done, stage.most) == (4, 1)
    assert stage.threads == {threading.main_thread()}


class Loading(EncodedSquares):
    """Notes in which order items are loaded and processed."""

    def setup(self, device, upstream, fitted):
        super().setup(device, upstream, fitted)
        self.events = []

    def load(self, item):
        self.events.append(f"load {item.payload['number']}")
        return super().load(item)

    def process(self, samples):
        time.sleep(0.05)
        self.events += [f"process {number}" for number in samples]
        return super().process(samples)


def two_shards(stage, folder, journal=None):
    items = list(stage.items({}))
    worker = ShardWorker(stage, folder_of(folder), journal=journal)
    return worker, {"one": items[:4], "two": items[4:]}


def test_next_shard_is_loaded_while_this_one_is_computed(tmp_path):
    stage = Loading(8, bad=[5])
    stage.setup("cpu", {}, {})
    worker, shards = two_shards(stage, tmp_path)
    with worker:
        for name, items in shards.items():
            worker.load_ahead(name, items)
            worker.load_ahead(name, items)
        markers = [worker.run(name, items) for name, items in shards.items()]
    assert [marker.done for marker in markers] == [4, 3]
    assert stage.events.index("load 4") < stage.events.index("process 1")
    assert sorted(stage.events) == sorted(
        [f"load {n}" for n in range(8)] + [f"process {n}" for n in range(8) if n != 5]
    )


def test_nothing_is_loaded_beside_a_shard_that_a_worker_died_in(tmp_path):
    stage, journal = Loading(8), Journal()
    stage.setup("cpu", {}, {})
    journal.begin("one")
    worker, shards = two_shards(stage, tmp_path, journal)
    with worker:
        worker.load_ahead("one", shards["one"])
        worker.load_ahead("two", shards["two"])
        assert stage.events == []
        worker.run("one", shards["one"])
        assert not {"load 4", "load 5"} & set(stage.events)
        worker.load_ahead("two", shards["two"])
        assert worker.run("two", shards["two"]).done == 4


def test_shard_that_is_merely_loaded_when_its_worker_dies_is_not_charged(tmp_path):
    stage, journal = Loading(8), Journal()
    stage.setup("cpu", {}, {})
    worker, shards = two_shards(stage, tmp_path, journal)
    with worker:
        worker.load_ahead("two", shards["two"])
    assert not journal.begin("two").is_suspect


def test_closed_worker_loads_nothing(tmp_path):
    stage, journal = Loading(8), Journal()
    stage.setup("cpu", {}, {})
    worker, shards = two_shards(stage, tmp_path, journal)
    worker.close()
    worker.load_ahead("one", shards["one"])
    assert not journal.begin("one").is_suspect
