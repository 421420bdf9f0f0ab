"""Which item is blamed for workers that died."""

from __future__ import annotations

import pytest
from tests.eagleray.stages import Squares, folder_of

from eagleray.prepare.journal import DEATHS_ALLOWED, Journal, Suspects
from eagleray.prepare.shard import ShardWorker
from eagleray.task import EaglerayError


def attempts(journal, deadly, num_items=10):
    """Work on a shard with workers that die at some items; returns deaths and items left out."""
    for died in range(50):
        suspects = journal.begin("s")
        for item_idx in suspects.order(num_items):
            if suspects.is_suspect:
                journal.at("s", item_idx)
            if item_idx in deadly:
                break
        else:
            journal.end("s")
            return died, set(suspects.deadly)
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("deadly", "expected"), [(set(), 0), ({0}, 5), ({9}, 4), ({2, 5}, 7), ({0, 1, 2}, 13)]
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


def killed_from_outside(journal, items_per_life, lives, num_items=8):
    """Work on a shard with workers that are killed after so many items; returns the rejects."""
    for _ in range(lives):
        suspects = journal.begin("s")
        for done, item_idx in enumerate(suspects.order(num_items)):
            if suspects.is_suspect:
                journal.at("s", item_idx)
            if done == items_per_life:
                break
    return journal.begin("s").deadly


@pytest.mark.parametrize(("items_per_life", "lives"), [(0, 15), (1, 12), (3, 10)])
def test_a_healthy_item_survives_kills_soon_after_each_start(items_per_life, lives):
    assert killed_from_outside(Journal(), items_per_life, lives) == frozenset()


def test_a_shard_of_one_item_survives_four_kills():
    assert killed_from_outside(Journal(), 0, 4, num_items=1) == frozenset()


def test_the_number_of_deaths_at_no_item_of_their_own_is_known():
    journal = Journal()
    killed_from_outside(journal, 0, 5)
    assert journal.begin("s").died == 6


def test_workers_that_die_together_count_less_but_deadly_items_are_found():
    clock = [0.0]
    journal = Journal(lambda: clock[0])
    journal.begin("a")
    journal.begin("b")
    for lives in range(1, 20):
        deadly = [journal.begin(shard).deadly for shard in "ab"]
        if all(deadly):
            break
        for shard in "ab":
            journal.at(shard, 3)
        clock[0] += 60.0
        if lives == 3:  # both were killed at once, three times
            assert not any(deadly)
    assert deadly == [frozenset({3})] * 2 and lives > 4


def test_what_a_memory_killer_ended_is_told_apart():
    kills = [0]
    journal = Journal(memory_kills=lambda: kills[0])
    for died in range(5):
        suspects = journal.begin("s")
        for item_idx in suspects.order(4) if suspects.is_suspect else []:
            journal.at("s", item_idx)
            if item_idx == 2:
                break
        kills[0] += died > 0  # all deaths but the first
    assert (suspects.deadly, suspects.starved) == ({2}, {2})
    assert suspects.died_of_memory == 3


def test_a_death_by_another_cause_is_no_memory_kill():
    journal = Journal(memory_kills=lambda: 7)  # killed before this job
    journal.begin("s")
    assert journal.begin("s").died_of_memory == 0


@pytest.mark.parametrize("starved", [frozenset(), frozenset({1})])
def test_a_reject_names_the_memory_killer(tmp_path, starved):
    class Known(Journal):
        def begin(self, shard_id):
            return Suspects(deadly=frozenset({1}), starved=starved)

    stage = Squares(3)
    stage.setup("cpu", {}, {})
    with ShardWorker(stage, folder_of(tmp_path), journal=Known()) as worker:
        (reject,) = worker.run("s", list(stage.items({}))).rejected
    assert reject.error.startswith("WorkerDied") and ("memory" in reject.error) == bool(starved)


def test_a_job_that_ends_for_deaths_names_the_memory_killer(tmp_path):
    class Known(Journal):
        def begin(self, shard_id):
            return Suspects(is_suspect=True, died=DEATHS_ALLOWED + 1, died_of_memory=9)

    stage = Squares(3)
    stage.setup("cpu", {}, {})
    with (
        ShardWorker(stage, folder_of(tmp_path), journal=Known()) as worker,
        pytest.raises(EaglerayError, match="9 of them were ended by the memory killer"),
    ):
        worker.run("s", list(stage.items({})))
