"""Which units of an evaluation are shown, and in which order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from eagleray.runs.evaluation import Picture, Unit

_FIRST_PICTURES = ("input", "truth", "prediction")


def picture_names(units: Iterable[Unit]) -> list[str]:
    """Return the names of all pictures that units have: input, truth, prediction, others."""
    names = {name for unit in units for name in unit.pictures}
    return [n for n in _FIRST_PICTURES if n in names] + sorted(names - set(_FIRST_PICTURES))


def pictures_in_order(unit: Unit) -> dict[str, Picture]:
    """Return a unit's pictures by name, in the order of ``picture_names``."""
    return {name: unit.pictures[name] for name in picture_names([unit])}


def leading_metric(metrics: Sequence[str], primary: str) -> str:
    """Return the number by which units are ranked: the benchmark's own one where they have it."""
    return primary if primary in metrics else next(iter(metrics), "")


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
