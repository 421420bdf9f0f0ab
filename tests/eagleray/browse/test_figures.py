"""Curves as they are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from eagleray.browse.figures import NamedHistory, curves_figure, smooth
from eagleray.runs.metrics import History


def test_smoothing_is_the_unbiased_moving_average():
    values = np.random.default_rng(3).normal(size=40)
    weight = 0.7
    expected = [
        sum(weight ** (n - k) * values[k] for k in range(n + 1))
        / sum(weight**k for k in range(n + 1))
        for n in range(40)
    ]
    assert smooth(values, weight) == pytest.approx(expected)
    assert smooth(values, 0.0) is values


def test_smoothing_passes_over_what_is_not_finite():
    found = smooth(np.array([1.0, np.nan, 1.0]), 0.9)
    assert found[[0, 2]].tolist() == pytest.approx([1.0, 1.0])
    assert np.isnan(found[1])


def test_short_curves_are_smoothed_and_keep_their_points():
    steps = np.arange(8)
    values = np.array([1.0, 5.0, 1.0, 5.0, 1.0, 5.0, 1.0, 5.0])
    history = History(steps, ("main",) * 8, {"validate/miou": values})
    figure = curves_figure([NamedHistory("a", history)], "validate/miou", smoothing=0.9)
    points, line = figure.data
    assert (points.mode, points.y.tolist()) == ("markers", values.tolist())
    assert np.ptp(line.y[1:]) < 2
