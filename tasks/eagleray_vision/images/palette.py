"""Colors for labels that bring none of their own."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

_GOLDEN_RATIO_CONJUGATE = 0.618033988749895
_SATURATIONS = (0.85, 0.55)
_VALUES = (0.95, 0.7, 0.5)


def distinct_palette(num_colors: int) -> npt.NDArray[np.uint8]:
    """Return colors that stay apart, the same ones for the same number every time.

    Hues step by the golden ratio, so that neighboring labels differ strongly and any prefix of the
    palette is spread over the color circle.

    Args:
        num_colors: How many colors.

    Returns:
        ``(num_colors, 3)`` uint8 RGB.

    Example:
        >>> distinct_palette(3).shape
        (3, 3)
    """
    colors = [
        colorsys.hsv_to_rgb(
            (index * _GOLDEN_RATIO_CONJUGATE) % 1.0,
            _SATURATIONS[index % len(_SATURATIONS)],
            _VALUES[index % len(_VALUES)],
        )
        for index in range(num_colors)
    ]
    return np.round(np.array(colors).reshape(-1, 3) * 255).astype(np.uint8)
