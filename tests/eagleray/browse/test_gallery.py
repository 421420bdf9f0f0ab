"""The order in which units are shown."""

from __future__ import annotations

from eagleray.browse.gallery import worst_first
from eagleray.runs.evaluation import Unit


def test_the_worst_come_first_and_units_without_the_number_last():
    units = [
        Unit("b", {"m": 2.0}),
        Unit("x", {}),
        Unit("nan", {"m": float("nan")}),
        Unit("a", {"m": 1.0}),
    ]
    assert [u.key for u in worst_first(units, "m")] == ["a", "b", "x", "nan"]
    assert [u.key for u in worst_first(units, "m", higher_is_better=False)] == [
        "b",
        "a",
        "x",
        "nan",
    ]
