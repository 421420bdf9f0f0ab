"""Spread and paired differences, compared with scipy's own tests and with sums by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from eagleray.analysis.spread import paired_difference, spread


def test_spread_is_the_sample_standard_deviation():
    values = [0.31, 0.29, 0.36, 0.33]
    mean = sum(values) / 4
    by_hand = math.sqrt(sum((v - mean) ** 2 for v in values) / 3)
    found = spread(values)
    assert found.mean == pytest.approx(mean, rel=1e-15)
    assert found.deviation == pytest.approx(by_hand, rel=1e-12)
    assert found.deviation == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert found.count == 4


def test_one_value_has_no_spread():
    assert (spread([0.5]).mean, spread([0.5]).deviation, spread([0.5]).count) == (0.5, None, 1)


@pytest.mark.parametrize("values", [[], [None], [math.nan, math.inf, None]])
def test_nothing_finite_has_no_mean(values):
    found = spread(values)
    assert (found.mean, found.deviation, found.count) == (None, None, 0)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_interval_is_that_of_the_paired_t_test(count, confidence):
    rng = np.random.default_rng(count)
    ours, reference = rng.normal(0.5, 0.1, count), rng.normal(0.4, 0.1, count)
    found = paired_difference(
        dict(enumerate(ours.tolist())), dict(enumerate(reference.tolist())), confidence
    )
    expected = stats.ttest_rel(ours, reference).confidence_interval(confidence)
    assert found.pairs == count
    assert found.mean == pytest.approx((ours - reference).mean(), rel=1e-12)
    assert found.low == pytest.approx(expected.low, rel=1e-9)
    assert found.high == pytest.approx(expected.high, rel=1e-9)


def test_three_pairs_by_hand():
    """Differences 1, 2, 3: mean 2, deviation 1, and t(2) at 0.975 is 4.302653 in any table."""
    found = paired_difference({0: 1.0, 1: 3.0, 2: 5.0}, {0: 0.0, 1: 1.0, 2: 2.0})
    half = 4.302652729911275 / math.sqrt(3)
    assert found.mean == pytest.approx(2)
    assert (found.low, found.high) == (pytest.approx(2 - half), pytest.approx(2 + half))


def test_only_seeds_on_both_sides_are_pairs():
    found = paired_difference(
        {0: 1.0, 1: 2.0, 2: math.nan, 3: None, 9: 7.0}, {0: 0.5, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}
    )
    assert found.pairs == 2
    assert found.mean == pytest.approx(0.75)


def test_one_pair_has_a_difference_but_no_interval():
    found = paired_difference({0: 1.0, 1: 5.0}, {0: 0.25, 2: 1.0})
    assert (found.mean, found.low, found.high, found.pairs) == (0.75, None, None, 1)


def test_no_pair_has_no_difference():
    found = paired_difference({0: 1.0}, {1: 1.0})
    assert (found.mean, found.low, found.high, found.pairs) == (None, None, None, 0)


def test_equal_differences_have_an_interval_of_no_width():
    found = paired_difference({0: 1.0, 1: 2.0}, {0: 0.5, 1: 1.5})
    assert (found.low, found.mean, found.high) == (0.5, 0.5, 0.5)
