"""An axis for any quantity of trials: numbers, numbers over decades, or texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eagleray.analysis.spread import is_finite
from eagleray.sweep.results import setting_text

_LOG_RATIO = 20.0
"""Positive numbers that span more than this are drawn on a logarithmic axis."""
_FEW_VALUES = 6
"""So many different numbers or fewer are all written at their axis."""


@dataclass(frozen=True)
class Axis:
    """One quantity of several trials, placed from 0 to 1.

    Args:
        label: Its name.
        values: One per trial; None where a trial has none.
        places: Where each value lies; None where there is none.
        ticks: Text by place.
        is_log: It is placed by its logarithm.
        is_text: It is one of some texts.
    """

    label: str
    values: Sequence[Any]
    places: Sequence[float | None]
    ticks: Mapping[float, str]
    is_log: bool = False
    is_text: bool = False


def make_axis(label: str, values: Sequence[Any]) -> Axis:
    """Return the axis of some values: of numbers if all are numbers, else of texts."""
    known = [value for value in values if value is not None]
    if not all(type(v) in (int, float) and is_finite(v) for v in known):
        return _text_axis(label, [None if v is None else setting_text(v) for v in values])
    low, high = min(known, default=0.0), max(known, default=0.0)
    is_log = low > 0 and high / low > _LOG_RATIO
    first, last = (math.log10(low), math.log10(high)) if is_log else (float(low), float(high))

    def place(value: float) -> float:
        scaled = math.log10(value) if is_log else float(value)
        return (scaled - first) / (last - first) if last > first else 0.5

    ticks = {place(value): f"{value:.4g}" for value in _tick_values(known, is_log=is_log)}
    places = [None if value is None else place(value) for value in values]
    return Axis(label, values, places, ticks, is_log)


def _tick_values(known: Sequence[float], *, is_log: bool) -> list[float]:
    """Return the values themselves where there are few, else round ones between their ends."""
    distinct = sorted(set(known))
    if len(distinct) <= _FEW_VALUES:
        return distinct
    low, high = distinct[0], distinct[-1]
    if is_log:
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        return [10.0**power for power in powers]
    rough = (high - low) / 5
    unit: float = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    if all(isinstance(value, int) for value in known):
        step = max(1.0, step)
    count = math.floor(high / step) - math.ceil(low / step) + 1
    return [(math.ceil(low / step) + idx) * step for idx in range(count)]


def _text_axis(label: str, values: Sequence[str | None]) -> Axis:
    texts = sorted({value for value in values if value is not None})
    place = {t: idx / (len(texts) - 1) if len(texts) > 1 else 0.5 for idx, t in enumerate(texts)}
    places = [None if value is None else place[value] for value in values]
    return Axis(label, values, places, {at: text for text, at in place.items()}, is_text=True)
