"""Metrics of single units."""

from __future__ import annotations

from eagleray.evaluate.driver import unit_values
from eagleray.task import Metrics


class Halves:
    """A task that refuses one unit and has no finite metric for another."""

    def compute(self, benchmark, rows):
        (row,) = rows
        if row["x"] < 0:
            raise ValueError("nothing to divide by")
        return Metrics({"half": row["x"] / 2, "odd": float("nan")})


def test_each_unit_has_its_own_metrics_as_far_as_they_are_finite():
    rows = {"a": {"x": 1.0}, "b": {"x": -1.0}, "c": {"x": float("inf")}, "d": {"x": 3.0}}
    found = unit_values(Halves(), "val", rows, ["a", "b", "c"])
    assert found == {"a": {"half": 0.5}, "c": {}}
