"""Mistakes in a task's code are no rejects; storage that does not answer is tried again."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Sequence

import pytest
from tests.eagleray.stages import Squares, folder_of, run, tree

from eagleray.options import RunOptions
from eagleray.prepare import ComputedRows, StageRun, faults
from eagleray.prepare.faults import FaultError
from eagleray.task import EaglerayError, InputError


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


def test_rows_on_demand_do_not_take_a_mistake_for_bad_data(tmp_path):
    stage = mistaken("load", 3, count=5)
    rows = ComputedRows.open(StageRun(stage, folder_of(tmp_path)), RunOptions(inline=True))
    with pytest.raises(FaultError, match="no such field at 3"):
        rows["n00003"]


class Flaky(Squares):
    """Squares on a disk that does not answer the first times."""

    silent = 0
    error: OSError = OSError(errno.EIO, "Input/output error")

    def load(self, item):
        if item.payload["number"] == 4 and self.silent:
            self.silent -= 1
            raise self.error
        return super().load(item)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O"), TimeoutError(), ConnectionError()])
def test_storage_that_does_not_answer_is_tried_again(tmp_path, monkeypatch, error):
    monkeypatch.setattr(faults, "_PAUSES_S", (0, 0, 0))
    stage = Flaky(6)
    stage.silent, stage.error = 3, error
    summary, _ = run(stage, tmp_path)
    assert (summary.done, summary.rejected) == (6, 0)


def test_storage_that_stays_away_ends_the_job_and_leaves_the_shard_open(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "_PAUSES_S", (0, 0, 0))
    stage = Flaky(6)
    stage.silent = 10
    with pytest.raises(EaglerayError, match=r"'n00004' of shard [0-9a-f]{16}.*stays open"):
        run(stage, tmp_path, items_per_shard=2)
    summary, _ = run(Squares(6), tmp_path, items_per_shard=2)
    assert (summary.done, summary.rejected) == (6, 0)


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
