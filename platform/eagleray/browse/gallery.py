"""Which units of an evaluation are shown, and in which order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from eagleray.runs.evaluation import Unit


def leading_values(values: Mapping[str, float], first: str, most: int) -> dict[str, float]:
    """Return at most ``most`` numbers of a unit, with the one called ``first`` in front."""
    names = [name for name in values if name == first] + [n for n in values if n != first]
    return {name: values[name] for name in names[:most]}


def worst_first(units: Sequence[Unit], metric: str, *, higher_is_better: bool = True) -> list[Unit]:
    """Return the units from the worst to the best; those without the number come last."""

    def rank(unit: Unit) -> float:
        value = unit.values.get(metric, math.nan)
        if math.isnan(value):
            return math.inf
        return value if higher_is_better else -value

    return sorted(units, key=rank)
