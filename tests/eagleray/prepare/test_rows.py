"""Reading rows: order, bounded memory, threads, and storage order."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from tests.eagleray.stages import LargeSquares, Squares, folder_of, run

from eagleray.options import RunOptions
from eagleray.prepare import ComputedRows, StageFolder, StageRun, columns, open_rows, rows
from eagleray.prepare.keys import KeyIndex
from eagleray.storage import Store
from eagleray.task import EaglerayError, InputError


@pytest.fixture
def folder(tmp_path):
    run(Squares(100, files=True, bad=[50]), tmp_path / "stage", items_per_shard=10)
    return folder_of(tmp_path / "stage")


def test_shard_numbers_follow_storage_order(folder):
    found = open_rows(folder)
    numbers = [found.shard_idx(key) for key in list(found.keys())]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(len(found.manifest.shards)))


def test_keys_are_a_sequence(folder):
    keys = open_rows(folder).keys()
    assert (len(keys), keys[0], keys[-1]) == (99, "n00000", "n00099")
    assert keys[49:51] == ["n00049", "n00051"] and "n00050" not in keys
    with pytest.raises(IndexError):
        keys[99]


def test_cached_row_groups_stay_within_their_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "ROW_GROUP_BYTES", 200)
    run(Squares(100), tmp_path)
    monkeypatch.setattr(rows, "CACHE_BYTES", 2000)
    found = open_rows(folder_of(tmp_path))
    order = np.random.default_rng(0).permutation(100)
    assert all(found[f"n{i:05d}"]["number"] == i for i in order)
    assert 1 < len(found._groups) < 20
    assert found._cached_bytes == sum(t.nbytes for t in found._groups.values()) <= 2000


class CountedFile(io.FileIO):
    """Counts the bytes that are read."""

    num_bytes = 0

    def read(self, size=-1):
        content = super().read(size)
        type(self).num_bytes += len(content)
        return content


def test_reading_samples_costs_little_more_than_their_bytes(tmp_path, monkeypatch):
    run(LargeSquares(12), tmp_path, items_per_shard=12)
    found = open_rows(folder_of(tmp_path))
    assert found["n00000"]["number"] == 0  # the file is compared with its checksum once

    def opened(folder, shard, *, exact):
        return CountedFile(folder.store.local_path(shard.data))

    monkeypatch.setattr(StageFolder, "open_rows", opened)
    wanted = [7, 2, 9, 4]
    assert [found[f"n{k:05d}"]["number"] for k in wanted] == wanted
    assert len(wanted) << 20 <= CountedFile.num_bytes <= 1.5 * (len(wanted) << 20)


def test_several_threads_may_read(folder):
    found = open_rows(folder)
    keys = [f"n{i:05d}" for i in range(100) if i != 50] * 5
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda key: found[key]["number"], keys))
    assert numbers == [int(key[1:]) for key in keys]


def test_nothing_is_opened_before_it_is_asked_for(folder, monkeypatch):
    found = open_rows(folder)
    monkeypatch.setattr(Store, "open", lambda *_: pytest.fail("opened a file"))
    monkeypatch.setattr(Store, "read", lambda *_: pytest.fail("read a file"))
    type(found)(folder, found.listing)


def test_a_damaged_shard_is_an_error_that_names_it(folder):
    found = open_rows(folder)
    path = folder.store.local_path(found.manifest.shards[0].data)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EaglerayError, match=path.name):
        found["n00000"]


def test_a_lost_shard_is_computed_again_as_the_error_says(folder):
    found = open_rows(folder)
    entry = found.manifest.shards[0]
    folder.store.delete(entry.data)
    with pytest.raises(EaglerayError, match=f"shard {entry.shard}.*eagleray verify .* --repair"):
        found["n00000"]
    stage = Squares(100, files=True, bad=[50])
    summary, again = run(stage, folder.uri, items_per_shard=10)
    assert summary.computed_shards == 1 and again["n00000"]["number"] == 0


def test_equal_hashes_are_told_apart_by_the_key(monkeypatch):
    monkeypatch.setattr("eagleray.prepare.keys.key_hash", lambda key: b"\1" * 8)
    index = KeyIndex(pa.chunked_array([["a", "b"], ["c"]]), "test")
    assert [index.find(key) for key in "abcd"] == [0, 1, 2, None]


def computed(tmp_path, stage):
    return ComputedRows.open(StageRun(stage, folder_of(tmp_path / "computed")), RunOptions())


def test_computed_rows_equal_stored_ones(tmp_path, folder):
    stored = open_rows(folder)
    found = computed(tmp_path, Squares(100, files=True, bad=[50]))
    assert len(found) == 100
    for key in list(stored.keys()):
        a, b = dict(stored[key]), dict(found[key])
        assert a.pop("digits").tolist() == b.pop("digits").tolist() and a == b
        assert found.read_file(key, "notes/square.txt") == stored.read_file(key, "notes/square.txt")


def test_a_bad_item_is_an_input_error_when_its_row_is_asked_for(tmp_path):
    found = computed(tmp_path, Squares(10, bad=[3], raising=[4]))
    for key in ("n00003", "n00004"):
        with pytest.raises(InputError, match=key):
            found[key]
    assert found["n00005"]["square"] == 25.0


def test_computed_rows_need_one_record_per_item(tmp_path):
    with pytest.raises(EaglerayError, match="materialise"):
        computed(tmp_path, Squares(10, records=2))["n00001"]


def test_computed_rows_store_no_rows(tmp_path):
    found = computed(tmp_path, Squares(40))
    assert [found[key]["number"] for key in list(found.keys())] == list(range(40))
    assert not (tmp_path / "computed/shards").exists()
    assert [found.shard_idx(key) for key in list(found.keys())] == sorted(
        map(found.shard_idx, found.keys())
    )
