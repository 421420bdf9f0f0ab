"""The original's batch order where the parity data do not reach."""

from eagleray_seamseg.batch_sampler import OriginalBatchSampler

SIZES = [(10, 20)] * 7 + [(20, 10)] * 4


def flat(ranks):
    return [index for rank in ranks for batch in rank for index in batch]


def test_groups_are_never_mixed_in_training():
    sampler = OriginalBatchSampler(SIZES, batch_size=2, num_ranks=2, drop_last=True)
    for rank in sampler.epoch(0):
        for batch in rank:
            assert len({index < 7 for index in batch}) == 1


def test_every_image_comes_up_in_validation_and_ranks_get_equally_many():
    sampler = OriginalBatchSampler(SIZES, batch_size=2, num_ranks=4, drop_last=False)
    ranks = sampler.epoch(0)
    assert set(flat(ranks)) == set(range(11))
    assert {len(rank) for rank in ranks} == {2}


def test_shuffling_is_cumulative():
    fresh = OriginalBatchSampler(SIZES, batch_size=1, num_ranks=1, drop_last=True)
    used = OriginalBatchSampler(SIZES, batch_size=1, num_ranks=1, drop_last=True)
    used.epoch(0)
    assert flat(fresh.epoch(1)) != flat(used.epoch(1))


def test_fewer_batches_than_ranks_are_repeated():
    sampler = OriginalBatchSampler([(5, 9)], batch_size=1, num_ranks=3, drop_last=False)
    assert sampler.epoch(0) == [[[0]], [[0]], [[0]]]
