"""Random draws that builders share: one seeded generator per scene, plain Python values out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from eagleray_toyworld.scene.material import Color

T = TypeVar("T")


class Dice:
    """Seeded random source of one scene.

    Args:
        seed: World seed, not negative.
        index: Scene number, not negative.
        purpose: Number of the stream, so that independent builders do not disturb each other.

    Raises:
        ValueError: A number is negative.
    """

    def __init__(self, seed: int, index: int, purpose: int = 0) -> None:
        if seed < 0 or index < 0:
            raise ValueError(f"seed and index must not be negative, got {seed} and {index}")
        self._rng = np.random.Generator(np.random.PCG64([seed, index, purpose]))

    def uniform(self, low: float, high: float) -> float:
        """Return a float in [low, high)."""
        return low + (high - low) * float(self._rng.random())

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return float(self._rng.random()) < probability

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high], both included."""
        return int(self._rng.integers(low, high + 1))

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self._rng.integers(len(options)))]

    def vary(self, color: Color, amount: float) -> Color:
        """Return the color with brightness and each channel changed by up to ``amount``."""
        brightness = 1.0 + self.uniform(-amount, amount)
        r, g, b = (
            min(max(c * brightness * (1.0 + 0.5 * self.uniform(-amount, amount)), 0.0), 1.0)
            for c in color
        )
        return (r, g, b)


SHARED_COLORS: tuple[Color, ...] = (
    (0.55, 0.55, 0.53),
    (0.30, 0.30, 0.31),
    (0.09, 0.09, 0.10),
    (0.42, 0.16, 0.11),
    (0.50, 0.40, 0.27),
    (0.16, 0.24, 0.38),
    (0.15, 0.27, 0.14),
    (0.62, 0.56, 0.44),
    (0.45, 0.08, 0.08),
    (0.33, 0.36, 0.22),
)
"""Walls, paint and clothes draw from one list, so that a color does not give its class away."""
