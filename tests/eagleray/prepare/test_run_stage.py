"""What a stage's run leaves behind: rows, rejects, resumed and shared work. All in this process."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.eagleray.stages import NumbersTask, Squares, Sums, folder_of, run, tree

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import open_rows, prepare_stages
from eagleray.prepare.item import DeviceLostError
from eagleray.prepare.keys import key_hash
from eagleray.storage import Store
from eagleray.task import EaglerayError, InputError, Item, Record, SettingsError


def test_every_row_comes_back_by_its_key(tmp_path):
    summary, rows = run(Squares(50), tmp_path)
    assert (summary.items, summary.done, summary.rejected, summary.rows) == (50, 50, 0, 50)
    assert list(rows.keys()) == [f"n{i:05d}" for i in range(50)]
    for i in (0, 17, 49):
        row = rows[f"n{i:05d}"]
        assert (row["number"], row["square"], row["text"]) == (i, float(i * i), "x" * (i % 7))
        assert row["digits"].tolist() == [int(d) for d in str(i)]


def test_a_missing_key_is_a_key_error(tmp_path):
    _, rows = run(Squares(3), tmp_path)
    with pytest.raises(KeyError, match="n00099"):
        rows["n00099"]
    assert "n00002" in rows and "n00099" not in rows


def test_rows_survive_pickling(tmp_path):
    _, rows = run(Squares(5), tmp_path)
    rows["n00001"]
    again = pickle.loads(pickle.dumps(rows))
    assert again["n00004"]["square"] == 16.0


def test_open_rows_finds_the_listing_finished_last(tmp_path):
    run(Squares(5), tmp_path)
    assert len(open_rows(folder_of(tmp_path))) == 5


def test_open_rows_says_what_to_do_where_nothing_is_finished(tmp_path):
    with pytest.raises(EaglerayError, match="eagleray prepare"):
        open_rows(folder_of(tmp_path))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("loader_threads", [1, 4])
def test_one_bad_item_is_one_reject(tmp_path, batch_size, loader_threads):
    stage = Squares(
        40, bad=[3, 17], raising=[5, 39], batch_size=batch_size, loader_threads=loader_threads
    )
    summary, rows = run(stage, tmp_path, items_per_shard=8)
    assert (summary.items, summary.done, summary.rejected) == (40, 36, 4)
    assert dict(summary.rejects) == {
        "n00003": "InputError: 3 is bad",
        "n00005": "InputError: cannot square [5]",
        "n00017": "InputError: 17 is bad",
        "n00039": "InputError: cannot square [39]",
    }
    assert [i for i in range(40) if f"n{i:05d}" in rows] == [
        i for i in range(40) if i not in (3, 5, 17, 39)
    ]


def test_a_stage_without_items_is_finished(tmp_path):
    summary, rows = run(Squares(0), tmp_path)
    assert (summary.items, len(rows), list(rows.keys())) == (0, 0, [])


def test_a_stage_that_rejects_everything_is_finished(tmp_path):
    summary, rows = run(Squares(3, bad=[0, 1, 2]), tmp_path)
    assert (summary.done, summary.rejected, len(rows)) == (0, 3, 0)


def test_items_and_rows_are_counted_apart(tmp_path):
    summary, rows = run(Squares(10, records=3), tmp_path)
    assert (summary.items, summary.done, summary.rows) == (10, 10, 30)
    assert rows["n00007/2"]["square"] == 49.0


def test_files_of_records_are_read_by_name(tmp_path):
    _, rows = run(Squares(10, files=True), tmp_path)
    assert rows.read_file("n00009", "notes/square.txt") == b"81"
    with pytest.raises(EaglerayError, match=r"notes/square.txt"):
        rows.read_file("n00009", "other.txt")


def test_markers_say_what_belongs_to_a_shard(tmp_path):
    run(Squares(6, files=True, bad=[2]), tmp_path, items_per_shard=3)
    markers = [json.loads(p.read_bytes()) for p in (tmp_path / "markers").iterdir()]
    assert sum(m["items"] for m in markers) == 6 and sum(m["done"] for m in markers) == 5
    for marker in markers:
        data = tmp_path / marker["data"]
        assert data.stat().st_size == marker["num_bytes"]
        assert pq.read_table(data).num_rows == marker["rows"]
        assert all((tmp_path / f["path"]).read_bytes() for f in marker["files"])


def test_data_are_plain_parquet_columns(tmp_path):
    run(Squares(6), tmp_path)
    path = next((tmp_path / "shards").iterdir())
    kinds = {f.name: str(f.type) for f in pq.read_schema(path)}
    assert kinds == {
        "key": "string", "item": "string", "number": "int64", "square": "double",
        "digits": "list<element: int32>", "text": "string",
    }  # fmt: skip


def test_a_second_run_computes_nothing(tmp_path):
    (tmp_path / "touched").mkdir()
    stage = Squares(20, touched=tmp_path / "touched")
    run(stage, tmp_path / "s")
    before = tree(tmp_path / "s")
    for mark in (tmp_path / "touched").iterdir():
        mark.unlink()
    summary, _ = run(stage, tmp_path / "s")
    assert summary.computed_shards == 0 and not list((tmp_path / "touched").iterdir())
    assert tree(tmp_path / "s") == before


class Interrupted(Squares):
    """Squares that are interrupted at one number."""

    def process(self, samples):
        if 13 in samples:
            raise KeyboardInterrupt
        return super().process(samples)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, batch_size):
    options = {"batch_size": batch_size, "loader_threads": 3, "files": True, "bad": [5]}
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(32, **options), tmp_path / "a", items_per_shard=2)
    halfway = len(list((tmp_path / "a/markers").iterdir()))
    assert 0 < halfway < 16
    summary, _ = run(Squares(32, **options), tmp_path / "a", items_per_shard=2)
    whole, _ = run(Squares(32, **options), tmp_path / "b", items_per_shard=2)
    assert summary.computed_shards == whole.computed_shards - halfway
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def computed(stage, folder, marks, **options):
    for mark in marks.iterdir():
        mark.unlink()
    run(stage, folder, **options)
    return {int(mark.name) for mark in marks.iterdir()}


def test_added_items_recompute_only_their_neighborhood(tmp_path):
    marks = tmp_path / "touched"
    marks.mkdir()
    folder, options = tmp_path / "s", {"items_per_shard": 4}
    run(Squares(200, touched=marks), folder, **options)
    appended = computed(Squares(203, touched=marks), folder, marks, **options)
    assert {200, 201, 202} <= appended and len(appended) <= 3 + 8
    put_before = computed(Squares(205, start=-2, touched=marks), folder, marks, **options)
    assert {-2, -1} <= put_before and len(put_before) <= 2 + 4 * 8


def test_a_changed_input_recomputes_only_its_shard(tmp_path):
    marks = tmp_path / "touched"
    marks.mkdir()
    run(Squares(100, touched=marks), tmp_path / "s", items_per_shard=4)
    stage = Squares(100, touched=marks, identities={50: "changed"})
    again = computed(stage, tmp_path / "s", marks, items_per_shard=4)
    assert 50 in again and len(again) <= 8


def test_the_first_items_only(tmp_path):
    summary, rows = run(Squares(1000), tmp_path, limit=7)
    assert summary.items == 7 and list(rows.keys())[-1] == "n00006"


def test_a_stage_is_not_set_up_in_the_callers_object(tmp_path):
    stage = Squares(3)
    run(stage, tmp_path)
    assert not stage.is_ready


class Duplicates(Squares):
    """Squares that list a number twice."""

    def items(self, upstream):
        yield from super().items(upstream)
        yield Item("n00001", "0", {"number": 1})


def test_keys_that_are_listed_twice_are_refused(tmp_path):
    with pytest.raises(EaglerayError, match="'n00001'"):
        run(Duplicates(5), tmp_path)


class Odd(Squares):
    """Squares whose records break the stage's own schema for some numbers."""

    def process(self, samples):
        (records,) = super().process(samples)
        record = records[0]
        row = dict(record.row)
        if row["number"] == 1:
            del row["text"]
        if row["number"] == 2:
            row["square"] = "many"
        if row["number"] == 3:
            return [[record, record]]
        if row["number"] == 4:
            return []
        if row["number"] == 5:
            return [[Record(record.key, row, {"../x": b""})]]
        return [[Record(record.key, row)]]


def test_records_that_break_the_schema_are_rejects(tmp_path):
    summary, _ = run(Odd(7), tmp_path)
    errors = dict(summary.rejects)
    assert sorted(errors) == [f"n0000{i}" for i in (1, 2, 3, 4, 5)]
    assert "'text'" in errors["n00001"] and "'square'" in errors["n00002"]
    assert "unique" in errors["n00003"] and "1 samples" in errors["n00004"]
    assert "../x" in errors["n00005"]


class SameKeys(Squares):
    """Squares whose records all have one key."""

    def process(self, samples):
        return [[Record("same", records[0].row)] for records in super().process(samples)]


def test_a_record_key_that_two_shards_give_is_refused(tmp_path):
    with pytest.raises(EaglerayError, match="'same'"):
        run(SameKeys(2), tmp_path, items_per_shard=1)


class Reserved(Squares):
    """Squares with a column that the engine needs."""

    schema: Mapping[str, str] = {"key": "string"}


def test_a_reserved_column_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="key"):
        run(Reserved(2), tmp_path)


def prepare(storage, *stages, **options):
    settings = PrepareSettings(**options)
    return prepare_stages(
        NumbersTask(stages), Store(str(storage)), settings, RunOptions(inline=True)
    )


def test_fit_and_finish(tmp_path):
    prepared = prepare(tmp_path, Squares(20), Sums())
    shown = sorted(range(20), key=lambda i: int.from_bytes(key_hash(f"n{i:05d}"), "little"))[:4]
    mean = sum(i * i for i in shown) / 4
    assert prepared.rows["sums"]["n00005"]["sum"] == 25 + mean
    total = sum(i * i + mean for i in range(20))
    assert prepared.rows["sums"].summary() == {"total": pytest.approx(total)}
    assert prepared.rejected == 0


def test_a_setting_recomputes_what_depends_on_it_and_nothing_else(tmp_path):
    first = prepare(tmp_path, Squares(20), Sums())
    other = prepare(tmp_path, Squares(20, factor=2), Sums())
    again = prepare(tmp_path, Squares(20), Sums())
    assert [s.computed_shards > 0 for s in first.summaries] == [True, True]
    assert [s.computed_shards > 0 for s in other.summaries] == [True, True]
    assert [s.computed_shards for s in again.summaries] == [0, 0]
    assert [s.fingerprint for s in again.summaries] == [s.fingerprint for s in first.summaries]
    assert {s.fingerprint for s in first.summaries}.isdisjoint(
        s.fingerprint for s in other.summaries
    )


def test_two_sources_share_what_they_have_in_common(tmp_path):
    first = prepare(tmp_path, Squares(20, source="train"))
    both = prepare(tmp_path, Squares(20, source="train"), Squares(20, source="val"))
    assert [s.computed_shards for s in both.summaries] == [0, 0]
    assert {s.fingerprint for s in both.summaries} == {first.summaries[0].fingerprint}
    assert set(both.rows) == {"squares:train", "squares:val"}


def test_a_change_upstream_reaches_the_items_that_read_it(tmp_path):
    options = {"items_per_shard": 2}
    prepare(tmp_path, Squares(40), Sums(), **options)
    changed = Squares(40, identities={30: "new"})
    after = prepare(tmp_path, changed, Sums(), **options)
    assert 0 < after.summaries[1].computed_shards <= 2


def test_a_change_among_the_fitted_items_reaches_everything(tmp_path):
    options = {"items_per_shard": 2}
    first = prepare(tmp_path, Squares(40), Sums(), **options)
    shown = min(range(40), key=lambda i: int.from_bytes(key_hash(f"n{i:05d}"), "little"))
    after = prepare(tmp_path, Squares(40, identities={shown: "new"}), Sums(), **options)
    assert after.summaries[1].computed_shards == first.summaries[1].computed_shards


def test_weights_enter_the_fingerprint_by_content(tmp_path):
    weights = tmp_path / "w.bin"
    weights.write_bytes(b"a")
    first = prepare(tmp_path / "s", Squares(3, weights=[weights]))
    weights.rename(tmp_path / "moved.bin")
    moved = prepare(tmp_path / "s", Squares(3, weights=[tmp_path / "moved.bin"]))
    (tmp_path / "moved.bin").write_bytes(b"b")
    changed = prepare(tmp_path / "s", Squares(3, weights=[tmp_path / "moved.bin"]))
    assert moved.summaries[0].fingerprint == first.summaries[0].fingerprint
    assert changed.summaries[0].fingerprint != first.summaries[0].fingerprint


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.bin"):
        prepare(tmp_path, Squares(3, weights=[tmp_path / "none.bin"]))


def test_a_stage_before_its_upstream_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="squares"):
        prepare(tmp_path, Sums(), Squares(3))


@pytest.mark.parametrize("uri", ["memory://bucket/run-stage", "local"])
def test_any_storage_gives_the_same_rows(tmp_path, uri):
    place = tmp_path if uri == "local" else uri
    summary, rows = run(Squares(30, files=True, bad=[4]), place)
    assert summary.rows == 29 and rows["n00029"]["square"] == 841.0
    assert rows.read_file("n00003", "notes/square.txt") == b"9"
    again, _ = run(Squares(30, files=True, bad=[4]), place)
    assert again.computed_shards == 0


def test_lists_of_numbers_are_arrays_that_may_be_written_to(tmp_path):
    _, rows = run(Squares(13), tmp_path)
    digits = rows["n00012"]["digits"]
    digits += 1
    assert isinstance(digits, np.ndarray) and rows["n00012"]["digits"].tolist() == [1, 2]


def test_two_drivers_at_the_same_stage_end_in_the_same_bytes(tmp_path):
    stages = [Squares(40, seconds=0.005, files=True, bad=[4]) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run, stage, tmp_path / "a", items_per_shard=2) for stage in stages]
        summaries = [job.result()[0] for job in jobs]
    run(Squares(40, files=True, bad=[4]), tmp_path / "b", items_per_shard=2)
    assert [summary.done for summary in summaries] == [39, 39]
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


class BadBytes(Squares):
    """Squares whose errors hold what no UTF-8 text can."""

    def load(self, item):
        raise InputError("cannot read \udcff.png")


def test_an_error_text_that_is_no_unicode_is_kept_readable(tmp_path):
    summary, _ = run(BadBytes(1), tmp_path)
    assert summary.rejects == [("n00000", "InputError: cannot read \\udcff.png")]


class LosingTheDevice(Squares):
    """Squares whose GPU fails at one number."""

    def process(self, samples):
        if 5 in samples:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return super().process(samples)


def test_a_lost_device_ends_the_job_and_rejects_nothing(tmp_path):
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        run(LosingTheDevice(16), tmp_path, items_per_shard=2)
    summary, _ = run(Squares(16), tmp_path, items_per_shard=2)
    assert summary.rejected == 0 and 0 < summary.computed_shards < 10


class OutOfMemory(Squares):
    """Squares that do not fit on the device two at a time."""

    def process(self, samples):
        if len(samples) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().process(samples)


def test_a_batch_that_does_not_fit_goes_item_by_item(tmp_path):
    summary, _ = run(OutOfMemory(8, batch_size=4), tmp_path)
    assert (summary.done, summary.rejected) == (8, 0)
