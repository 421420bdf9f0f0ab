"""Mean, spread and paired differences of the same metric over several seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TypeGuard

CONFIDENCE = 0.95
"""Confidence level of the intervals that tables show."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of several seeds in two numbers.

    Args:
        mean: Arithmetic mean, None without a value.
        deviation: Sample standard deviation (n - 1 in the denominator), None below two values.
        count: Number of finite values.
    """

    mean: float | None
    deviation: float | None
    count: int


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How a variant differs from another one with the same seeds.

    Args:
        mean: Mean of the differences, None without a pair.
        low: Lower end of its confidence interval, None below two pairs.
        high: Upper end.
        pairs: Number of seeds with a finite value on both sides.
    """

    mean: float | None
    low: float | None
    high: float | None
    pairs: int

    def is_better(self, higher_is_better: bool | None) -> bool | None:
        """Return whether the variant is the better one; None where its interval holds zero, or
        where it is not known which way is better.
        """
        if higher_is_better is None or self.low is None or self.high is None:
            return None
        return None if self.low <= 0 <= self.high else (self.low > 0) == higher_is_better


def spread(values: Iterable[float | None]) -> Spread:
    """Return mean and spread of what is a finite number.

    Example:
        >>> spread([1.0, None, 3.0, float("nan")])
        Spread(mean=2.0, deviation=1.4142135623730951, count=2)
    """
    known = [value for value in values if is_finite(value)]
    mean, deviation = fmean(known) if known else None, stdev(known) if len(known) > 1 else None
    return Spread(mean, deviation, len(known))


def paired_difference(
    values: Mapping[int, float | None],
    reference: Mapping[int, float | None],
    confidence: float = CONFIDENCE,
) -> PairedDifference:
    """Return the mean of ``values`` minus ``reference`` over common seeds, with its interval.

    The interval is Student's for the mean of paired differences: mean ± t(n - 1) · s / √n.
    Differences that are all alike have an interval of no width.

    Args:
        values: Value by seed.
        reference: Value by seed of what it is compared with.
        confidence: Share of such intervals that hold the true mean, if differences are normal.
    """
    differences = [
        value - other
        for seed, value in values.items()
        if is_finite(value) and is_finite(other := reference.get(seed))
    ]
    of_pairs = spread(differences)
    if of_pairs.mean is None or of_pairs.deviation is None:
        return PairedDifference(of_pairs.mean, None, None, of_pairs.count)
    from scipy.special import stdtrit

    t = float(stdtrit(of_pairs.count - 1, (1 + confidence) / 2))
    half = t * of_pairs.deviation / math.sqrt(of_pairs.count)
    return PairedDifference(
        of_pairs.mean, of_pairs.mean - half, of_pairs.mean + half, of_pairs.count
    )


def is_finite(value: float | None) -> TypeGuard[float]:
    """Return whether a value is there and a finite number."""
    return value is not None and math.isfinite(value)
