"""Content-defined cuts: sizes, independence of chunking, and locality of changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eagleray.stages import folder_of

from eagleray.prepare.listing import spool
from eagleray.prepare.survey import average_items, cut, shards_of
from eagleray.task import Item


def hashes_of(seed, count):
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 400), average=st.integers(1, 40))
def test_sizes_stay_between_half_and_twice_the_average(seed, count, average):
    sizes = cut([hashes_of(seed, count)], average)
    assert sum(sizes) == count and all(sizes)
    assert all(max(1, average // 2) <= size <= 2 * average for size in sizes[:-1])


@pytest.mark.parametrize("average", [1, 2, 3, 16, 100])
def test_sizes_are_the_average_on_average(average):
    sizes = cut([hashes_of(1, 20_000)], average)
    assert 0.8 * average <= np.mean(sizes) <= 1.1 * average


def test_an_average_of_one_puts_each_item_in_its_own_shard():
    assert cut([hashes_of(0, 50)], 1) == [1] * 50


def test_cuts_do_not_depend_on_how_the_hashes_come_in():
    hashes = hashes_of(3, 1000)
    assert cut(np.array_split(hashes, 7), 10) == cut([hashes], 10)


def borders(hashes, average):
    ends = np.cumsum(cut([hashes], average))
    return {tuple(hashes[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)}


@pytest.mark.parametrize("position", [0, 500, 999])
def test_an_inserted_item_recuts_its_neighborhood_only(position):
    changes = []
    for seed in range(20):
        hashes = hashes_of(seed, 1000)
        inserted = np.insert(hashes, position, hashes_of(seed + 1000, 1))
        changes.append(len(borders(inserted, 10) - borders(hashes, 10)))
    assert np.mean(changes) < 4 and max(changes) <= 15


def test_all_items_alike_are_cut_by_size_alone():
    assert cut([np.ones(50, np.uint64)], 10) == [20, 20, 10]


@pytest.mark.parametrize(
    ("num_items", "seconds", "asked", "expected"),
    [
        (1_000_000, 0.5, None, 120),  # a minute of work
        (2000, 0.5, None, 16),  # a sixty-fourth, rounded down to a power of two
        (100, 0.5, None, 1),
        (480, 0.05, None, 10),  # half a second
        (100, 0.001, None, 4),  # a sixteenth, rounded down to a power of two
        (3, 0.5, None, 1),
        (1_000_000, 600.0, None, 1),  # an item of ten minutes
        (100, 0.5, 33, 33),
        (0, 0.5, None, 1),
    ],
)
def test_average_size(num_items, seconds, asked, expected):
    assert average_items(num_items, seconds, asked) == expected


def spooled(folder, identities):
    items = (Item(f"k{i}", identity, {}) for i, identity in enumerate(identities))
    return spool(items, folder_of(folder), "test")


def test_a_shards_id_follows_its_items_and_the_fit(tmp_path):
    before = shards_of(spooled(tmp_path, ["0"] * 100), 10, "")
    changed = shards_of(spooled(tmp_path, ["0"] * 50 + ["1"] + ["0"] * 49), 10, "")
    fitted = shards_of(spooled(tmp_path, ["0"] * 100), 10, "fit")
    differ = [a for a, b in zip(before, changed, strict=True) if a.id != b.id]
    assert [s.start <= 50 < s.start + s.num_items for s in differ] == [True]
    assert {s.id for s in before}.isdisjoint(s.id for s in fitted)


def test_shards_that_span_parts_of_the_listing(tmp_path, monkeypatch):
    whole = shards_of(spooled(tmp_path / "a", ["0"] * 100), 10, "")
    monkeypatch.setattr("eagleray.prepare.listing.ITEMS_PER_PART", 7)
    assert shards_of(spooled(tmp_path / "b", ["0"] * 100), 10, "") == whole
