"""Which item is blamed for workers that died."""

from __future__ import annotations

import pytest

from eagleray.prepare.journal import Journal


def attempts(journal, deadly, num_items=10):
    """Work on a shard with workers that die at some items; returns deaths and items left out."""
    for died in range(50):
        suspects = journal.begin("s")
        for item_idx in range(num_items):
            if item_idx in suspects.deadly:
                continue
            if suspects.is_suspect:
                journal.at("s", item_idx)
            if item_idx in deadly:
                break
        else:
            journal.end("s")
            return died, set(suspects.deadly)
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("deadly", "expected"), [(set(), 0), ({0}, 3), ({9}, 3), ({2, 5}, 6), ({0, 1, 2}, 9)]
)
def test_each_deadly_item_kills_three_workers_and_is_left_out(deadly, expected):
    assert attempts(Journal(), deadly) == (expected, deadly)


def test_a_worker_that_dies_for_another_reason_blames_no_one():
    journal = Journal()
    for item_idx in (3, 7, 1):  # killed from outside, each time at another item
        suspects = journal.begin("s")
        if suspects.is_suspect:
            journal.at("s", item_idx)
    assert journal.begin("s").deadly == frozenset()


def test_a_shard_that_ended_is_forgotten():
    journal = Journal()
    journal.begin("s")
    journal.end("s")
    assert not journal.begin("s").is_suspect


def test_shards_are_apart():
    journal = Journal()
    journal.begin("a")
    assert not journal.begin("b").is_suspect and journal.begin("a").is_suspect


def test_setups_that_died_are_counted_until_one_comes_through():
    journal = Journal()
    assert [journal.starting() for _ in range(3)] == [0, 1, 2]
    journal.started()
    assert journal.starting() == 0
