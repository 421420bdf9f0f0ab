"""Spooled listings: what was listed comes back, digests follow content, memory stays bounded."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from tests.eagleray.stages import folder_of

from eagleray.prepare import keys
from eagleray.prepare.listing import open_listing, spool
from eagleray.task import EaglerayError, Item


def items(count, identity="0"):
    return [Item(f"key/{i:04d}", identity, {"path": f"p{i}", "idx": i}) for i in range(count)]


@pytest.fixture(params=[7, 1 << 16], ids=["many-parts", "one-part"])
def folder(request, tmp_path, monkeypatch):
    monkeypatch.setattr("eagleray.prepare.listing.ITEMS_PER_PART", request.param)
    monkeypatch.setattr("eagleray.prepare.listing._ITEMS_PER_ROW_GROUP", 3)
    return folder_of(tmp_path)


@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 30), (5, 4), (6, 10), (29, 1), (3, 0)])
def test_items_come_back_from_any_stretch(folder, start, count):
    listing = spool(items(30), folder, "test")
    assert listing.items(start, count) == items(30)[start : start + count]


def test_a_spooled_listing_opens_by_its_digest(folder):
    listing = spool(items(30), folder, "test")
    again = open_listing(folder, listing.digest)
    assert again.parts == listing.parts and again.items(11, 3) == items(30)[11:14]


def test_the_digest_follows_keys_identities_payloads_and_order(folder):
    listed = items(20)
    others = [
        items(19),
        items(20, "1"),
        listed[::-1],
        [Item(i.key, i.identity, {"path": "elsewhere"}) for i in listed],
    ]
    digests = [spool(some, folder, "test").digest for some in (listed, *others)]
    assert len(set(digests)) == len(digests)
    assert spool(items(20), folder, "test").digest == digests[0]


def test_an_empty_listing(folder):
    listing = spool([], folder, "test")
    assert (listing.num_items, listing.items(0, 5), list(listing.key_hashes())) == (0, [], [])


@pytest.mark.parametrize("hashes_per_pass", [1, 5, 1 << 20])
def test_a_key_that_is_listed_twice_is_named(folder, monkeypatch, hashes_per_pass):
    monkeypatch.setattr(keys, "HASHES_PER_PASS", hashes_per_pass)
    spool(items(30), folder, "test")
    with pytest.raises(EaglerayError, match=r"key/0003.*twice"):
        spool([*items(30), items(30)[3]], folder, "test")


def test_equal_hashes_of_different_keys_are_no_duplicates(folder, monkeypatch):
    monkeypatch.setattr("eagleray.prepare.listing.key_hash", lambda key: b"\0" * 8)
    assert spool(items(10), folder, "test").num_items == 10


@pytest.mark.parametrize(
    "item",
    [
        Item("", "0", {}),
        Item(3, "0", {}),  # type: ignore[arg-type]
        Item("a", None, {}),  # type: ignore[arg-type]
        Item("a", "0", {"x": object()}),
        Item("caf\udce9.png", "0", {}),
        Item("a", "0", {"path": "caf\udce9.png"}),
    ],
    ids=["empty key", "number as key", "no identity", "payload", "key bytes", "payload bytes"],
)
def test_malformed_items_are_named(folder, item):
    with pytest.raises(EaglerayError, match="stage test"):
        spool([item], folder, "test")


def test_numpy_values_in_a_payload_become_plain(folder):
    listing = spool([Item("a", "0", {"x": np.float32(0.5), "y": np.arange(2)})], folder, "test")
    assert listing.items(0, 1)[0].payload == {"x": 0.5, "y": [0, 1]}


def test_memory_does_not_follow_the_number_of_items(tmp_path, monkeypatch):
    monkeypatch.setattr("eagleray.prepare.listing.ITEMS_PER_PART", 1000)
    peaks = []
    for count in (5_000, 40_000):
        tracemalloc.start()
        spool(
            (Item(f"k{i}", "0", {"p": "x" * 50}) for i in range(count)),
            folder_of(tmp_path / str(count)),
            "test",
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 40_000 * 40
