"""The order of the data: what it may depend on, and that no sample is lost or favored."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagleray.task import InputError, SettingsError
from eagleray.train.order import DataOrder, num_micro_batches, rank_streams


def order_of(n: int, batch_size: int, groups: int = 1, shards: int = 1, seed: int = 0) -> DataOrder:
    indices = np.arange(n)
    return DataOrder(
        indices % groups, indices * shards // n, batch_size=batch_size, seed=seed, phase="main"
    )


def epoch_batches(order: DataOrder, epoch: int) -> list[np.ndarray]:
    steps = range(order.steps_before(epoch), order.steps_before(epoch + 1))
    found = [order.batch(s) for s in steps]
    assert all(e == epoch for e, _ in found)
    return [b for _, b in found]


sizes = st.tuples(
    st.integers(1, 60), st.integers(1, 9), st.integers(1, 4), st.integers(1, 5), st.integers(0, 5)
)


@settings(max_examples=60, deadline=None)
@given(sizes)
def test_batches_never_mix_groups_and_are_full(size: tuple[int, int, int, int, int]) -> None:
    n, batch_size, groups, shards, seed = size
    order = order_of(n, batch_size, groups, shards, seed)
    for step in range(12):
        _, batch = order.batch(step)
        assert batch.shape == (batch_size,)
        assert len(set(batch % groups)) == 1


@settings(max_examples=60, deadline=None)
@given(sizes)
def test_quota_of_every_group_is_carried_over_epochs(size: tuple[int, int, int, int, int]) -> None:
    n, batch_size, groups, shards, seed = size
    order = order_of(n, batch_size, groups, shards, seed)
    epochs = 7
    seen = Counter(int(b[0]) % groups for e in range(epochs) for b in epoch_batches(order, e))
    for group in range(groups):
        members = len(range(group, n, groups))
        assert seen.get(group, 0) == epochs * members // batch_size


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 40))
def test_order_from_any_step_is_the_order_of_all(
    size: tuple[int, int, int, int, int], step: int
) -> None:
    order = order_of(*size[:4], seed=size[4])
    for earlier in range(step):
        order.batch(earlier)
    fresh = order_of(*size[:4], seed=size[4])
    np.testing.assert_array_equal(order.batch(step)[1], fresh.batch(step)[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9))
def test_ranks_own_all_streams_once_for_any_world_size(batch_size: int, world_size: int) -> None:
    streams = np.arange(batch_size)
    owned = [streams[rank_streams(batch_size, r, world_size)] for r in range(world_size)]
    np.testing.assert_array_equal(np.concatenate(owned), streams)
    assert max(map(len, owned)) - min(map(len, owned)) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 10))
def test_every_micro_batch_has_a_sample(world_size: int, per_rank: int, micro: int) -> None:
    batch_size = world_size * per_rank + world_size // 2
    count = num_micro_batches(batch_size, world_size, micro)
    for rank in range(world_size):
        own = np.arange(batch_size)[rank_streams(batch_size, rank, world_size)]
        assert all(len(part) for part in np.array_split(own, count))


def test_divisible_epoch_has_every_sample_once() -> None:
    order = order_of(24, 4, groups=2, shards=3)
    for epoch in (0, 5):
        seen = np.concatenate(epoch_batches(order, epoch))
        np.testing.assert_array_equal(np.sort(seen), np.arange(24))


def test_no_sample_is_systematically_lost_or_favored() -> None:
    order = order_of(10, 4, shards=2)
    seen = Counter(int(i) for e in range(400) for b in epoch_batches(order, e) for i in b)
    mean = sum(seen.values()) / 10
    assert mean == 400
    assert all(abs(seen[i] - mean) < 0.1 * mean for i in range(10))


def test_tiny_set_repeats_inside_a_batch() -> None:
    order = order_of(3, 8)
    assert order.steps_in(1) == 1
    assert set(order.batch(0)[1].tolist()) == {0, 1, 2}


def test_one_sample_trains() -> None:
    assert order_of(1, 2).batch(5)[1].tolist() == [0, 0]


def test_streams_of_a_worker_touch_few_shards() -> None:
    shards = 40
    order = order_of(4000, 8, shards=shards)
    batches = np.stack(epoch_batches(order, 0))
    touched = {int(i) * shards // 4000 for i in batches[:, rank_streams(8, 0, 4)].ravel()}
    assert len(touched) <= shards // 4 + 2


def test_seed_phase_and_epoch_change_the_order() -> None:
    base = order_of(64, 4)
    other_phase = DataOrder(
        np.zeros(64, int), np.zeros(64, int), batch_size=4, seed=0, phase="other"
    )
    firsts = [base.batch(0), base.batch(16), order_of(64, 4, seed=1).batch(0), other_phase.batch(0)]
    assert len({tuple(b.tolist()) for _, b in firsts}) == 4


def test_epochs_give_steps() -> None:
    order = order_of(30, 4)
    assert [order.steps_in(e) for e in (0.01, 0.5, 1, 2, 0.1 * 3)] == [1, 3, 7, 15, 2]


def test_any_step_of_a_million_samples_is_cheap() -> None:
    order = order_of(1_000_000, 32, shards=1000)
    begin = time.perf_counter()
    order.batch(10_000_000)
    assert time.perf_counter() - begin < 5


def test_empty_set_is_refused() -> None:
    with pytest.raises(InputError, match="no samples"):
        DataOrder(np.empty(0, int), np.empty(0, int), batch_size=2, seed=0, phase="main")


def test_more_workers_than_samples_in_a_batch_are_refused() -> None:
    with pytest.raises(SettingsError, match="batch_size is 2, but there are 3 workers"):
        num_micro_batches(2, 3, None)
