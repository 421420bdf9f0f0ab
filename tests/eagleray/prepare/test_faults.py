"""Mistakes in a task's code are no rejects; storage that does not answer is tried again."""

from __future__ import annotations

import errno
import pickle
import urllib.error
import urllib.request
from collections.abc import Sequence
from email.message import Message

import pytest
import torch
from tests.eagleray.stages import Squares, folder_of, run, tree

from eagleray.options import RunOptions
from eagleray.prepare import ComputedRows, StageRun, faults, stage_run
from eagleray.prepare.faults import FaultError, TransientError
from eagleray.storage import Store
from eagleray.task import InputError, is_transient


class Mistaken(Squares):
    """Squares with a typo that only some numbers reach, in ``load``, ``process`` or ``encode``."""

    where = "load"
    wrong: Sequence[int] = ()

    def _fail(self, where, number):
        if where == self.where and number in self.wrong:
            raise KeyError(f"no such field at {number}")

    def load(self, item):
        self._fail("load", item.payload["number"])
        return super().load(item)

    def process(self, samples):
        for number in samples:
            self._fail("process", number)
        return samples

    def encode(self, processed):
        self._fail("encode", processed)
        return self._records(processed)


def mistaken(where, *wrong, count=12, batch_size=1):
    stage = Mistaken(count, batch_size=batch_size)
    stage.where, stage.wrong = where, wrong
    return stage


@pytest.mark.parametrize("where", ["load", "process", "encode"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_mistake_leaves_its_shard_open_and_the_rest_is_done(tmp_path, where, batch_size):
    place = tmp_path / "mended"
    with pytest.raises(FaultError, match="no such field at 5") as failed:
        run(mistaken(where, 5, batch_size=batch_size), place, items_per_shard=2)
    assert "Traceback" in str(failed.value) and "test_faults.py" in str(failed.value)
    assert [fault.key for fault in failed.value.faults] == ["n00005"]
    assert len(folder_of(place).done_shards()) >= 3
    logs = list((place / "log").glob("*-errors.txt"))
    assert "no such field at 5" in logs[0].read_text()
    summary, _ = run(mistaken(where), place, items_per_shard=2)
    assert (summary.done, summary.rejected) == (12, 0)
    run(Squares(12), tmp_path / "never", items_per_shard=2)
    assert tree(tmp_path / "never") == tree(place)


@pytest.mark.parametrize("items_per_shard", [1, 20])
def test_a_few_of_a_kind_end_the_job(tmp_path, items_per_shard):
    stage = mistaken("load", *range(100), count=100)
    with pytest.raises(FaultError, match="no such field at 0") as failed:
        run(stage, tmp_path, items_per_shard=items_per_shard)
    assert len(failed.value.faults) == faults.FAULTS_OF_A_KIND


def test_faults_travel_between_processes():
    error = FaultError("squares", [faults.Fault("a", "KeyError at x.py:1", "Traceback: a")])
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.faults == error.faults
    silent = pickle.loads(pickle.dumps(TransientError("no answer", "0a1b")))
    assert (str(silent), silent.shard) == ("no answer", "0a1b")


def test_rows_on_demand_do_not_take_a_mistake_for_bad_data(tmp_path):
    stage = mistaken("load", 3, count=5)
    rows = ComputedRows.open(StageRun(stage, folder_of(tmp_path)), RunOptions(inline=True))
    with pytest.raises(FaultError, match="no such field at 3"):
        rows["n00003"]


class Flaky(Squares):
    """Squares on a disk that does not answer the first times."""

    error: OSError = OSError(errno.EIO, "Input/output error")

    def __init__(self, count, silent):
        super().__init__(count)
        self.left = [silent]  # a list, which the copies of all workers share

    def load(self, item):
        if item.payload["number"] == 4 and self.left[0]:
            self.left[0] -= 1
            raise self.error
        return super().load(item)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O"), TimeoutError(), ConnectionError()])
def test_storage_that_does_not_answer_is_tried_again(tmp_path, monkeypatch, error):
    monkeypatch.setattr(faults, "_PAUSES_S", (0, 0, 0))
    stage = Flaky(6, silent=3)
    stage.error = error
    summary, _ = run(stage, tmp_path)
    assert (summary.done, summary.rejected) == (6, 0)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(faults, "_PAUSES_S", (0, 0, 0))
    monkeypatch.setattr(stage_run, "_ROUND_PAUSES_S", (0, 0))


def test_storage_that_stays_away_leaves_the_shard_open_and_the_rest_is_done(tmp_path, impatient):
    stage = Flaky(6, silent=12)  # four tries in each of three rounds
    with pytest.raises(TransientError, match=r"1 shards are left .*'n00004' of shard [0-9a-f]{16}"):
        run(stage, tmp_path / "a", items_per_shard=2)
    assert stage.left == [0] and len(folder_of(tmp_path / "a").done_shards()) == 2
    summary, _ = run(stage, tmp_path / "a", items_per_shard=2)
    assert (summary.done, summary.rejected, summary.computed_shards) == (6, 0, 1)
    run(Squares(6), tmp_path / "never", items_per_shard=2)
    assert tree(tmp_path / "never") == tree(tmp_path / "a")


def test_a_shard_is_tried_again_behind_all_others(tmp_path, impatient):
    stage = Flaky(6, silent=5)  # all tries of the first round, one of the second
    summary, _ = run(stage, tmp_path, items_per_shard=2)
    assert (summary.done, summary.rejected, stage.left) == (6, 0, [0])


def test_storage_that_is_gone_ends_the_job_before_all_shards_have_waited_for_it(
    tmp_path, impatient, monkeypatch
):
    monkeypatch.setattr(stage_run, "_SILENT_IN_A_ROW", 3)

    class Gone(Squares):
        def load(self, item):
            raise OSError(errno.EHOSTUNREACH, "No route to host")

    stage = Gone(50)
    with pytest.raises(TransientError, match="No route to host"):
        run(stage, tmp_path, items_per_shard=1)


@pytest.mark.parametrize("where", ["load", "process", "encode"])
@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_memory_that_is_short_rejects_nothing(tmp_path, impatient, where, error):
    class Starving(Mistaken):
        def _fail(self, place, number):
            if place == where and number == 4 and left[0]:
                left[0] -= 1
                raise error

    stage, left = Starving(6), [5]
    summary, _ = run(stage, tmp_path / "a", items_per_shard=2)
    assert (summary.done, summary.rejected, left) == (6, 0, [0])
    left[0] = 100
    with pytest.raises(TransientError, match="memory does not suffice for item 'n00004'"):
        run(stage, tmp_path / "b", items_per_shard=2)


@pytest.mark.parametrize("method", ["write", "create"])
def test_results_that_cannot_be_written_for_a_while_are_written_later(
    tmp_path, impatient, monkeypatch, method
):
    original, left = getattr(Store, method), [6]

    def silent(self, path, content):
        if path.startswith(("shards/", "files/", "markers/")) and left[0]:
            left[0] -= 1
            raise OSError(errno.EBUSY, "SlowDown")
        return original(self, path, content)

    monkeypatch.setattr(Store, method, silent)
    summary, _ = run(Squares(6, files=True), tmp_path / "a", items_per_shard=2)
    assert (summary.done, summary.rejected, left[0]) == (6, 0, 0)
    monkeypatch.undo()
    run(Squares(6, files=True), tmp_path / "never", items_per_shard=2)
    assert tree(tmp_path / "never") == tree(tmp_path / "a")


def test_what_libraries_raise_of_the_network_is_transient():
    aiohttp = pytest.importorskip("aiohttp")
    botocore = pytest.importorskip("botocore.exceptions")
    import requests

    request = urllib.request.Request("http://x/")
    for error in (
        botocore.EndpointConnectionError(endpoint_url="http://x"),
        botocore.ReadTimeoutError(endpoint_url="http://x"),
        aiohttp.ServerDisconnectedError(),
        requests.ConnectionError("no"),
        requests.ReadTimeout("no"),
        urllib.error.URLError(ConnectionRefusedError()),
        urllib.error.HTTPError(request.full_url, 503, "Slow Down", Message(), None),
    ):
        assert is_transient(error), error
    for error in (
        botocore.NoCredentialsError(),
        urllib.error.HTTPError(request.full_url, 404, "Not Found", Message(), None),
        PermissionError("no"),
        ValueError("no"),
    ):
        assert not is_transient(error), error


def test_rejects_are_gone_over_where_asked(tmp_path):
    summary, _ = run(Squares(12, bad=[1, 7]), tmp_path, items_per_shard=2)
    assert summary.rejected == 2
    summary, _ = run(Squares(12), tmp_path, items_per_shard=2)
    assert summary.rejected == 2
    summary, rows = run(Squares(12), tmp_path, items_per_shard=2, retry_rejects=True)
    assert (summary.done, summary.rejected, summary.computed_shards) == (12, 0, 2)
    assert rows["n00007"]["square"] == 49.0


def test_a_fit_stops_at_a_mistake_and_leaves_out_bad_items(tmp_path):
    class Fitted(Mistaken):
        fit_items = 6

        def fit(self, samples):
            return {"seen": len(list(samples))}

    stage = Fitted(6, bad=[2])
    run(stage, tmp_path / "a")
    stage = Fitted(6)
    stage.wrong = (1,)
    with pytest.raises(FaultError, match="no such field"):
        run(stage, tmp_path / "b")


def test_bad_data_stay_rejects(tmp_path):
    class Refusing(Squares):
        def process(self, samples):
            raise InputError("no good")

    summary, _ = run(Refusing(9), tmp_path)
    assert summary.rejected == 9
