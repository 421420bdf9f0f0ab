"""GridMask (Chen et al., "GridMask Data Augmentation", 2020) as POP-3D's training uses it."""

from __future__ import annotations

import torch
from torch import Tensor

PROBABILITY = 0.7
"""Of a sample to be masked (released configuration)."""
_RATIO = 0.5
"""Width of a stripe over the period (released configuration)."""
_CANVAS = 1.5
"""Size of the canvas over the image, from whose middle the mask is cut."""


def grid_mask(size_hw: tuple[int, int], period: int, row_phase: int, column_phase: int) -> Tensor:
    """Return ``(H, W)`` bool, True where the image is kept: horizontal and vertical stripes.

    Args:
        size_hw: Size of the image in pixels.
        period: Distance of stripes in pixels, at least 2.
        row_phase: First row of the first horizontal stripe on the canvas, below ``period``.
        column_phase: The same of vertical stripes.
    """
    width = min(max(int(period * _RATIO + 0.5), 1), period - 1)
    rows, columns = (
        _stripes(size, period, phase, width)
        for size, phase in zip(size_hw, (row_phase, column_phase), strict=True)
    )
    return rows[:, None] | columns[None]


def draw_grid_mask(size_hw: tuple[int, int], generator: torch.Generator) -> Tensor | None:
    """Draw the mask of a sample, the same for all its cameras; None: it is left as it is."""
    if torch.rand((), generator=generator) >= PROBABILITY:
        return None
    period = int(torch.randint(2, size_hw[0], (), generator=generator))
    phases = torch.randint(0, period, (2,), generator=generator).tolist()
    return grid_mask(size_hw, period, *phases)


def _stripes(size: int, period: int, phase: int, width: int) -> Tensor:
    canvas = int(_CANVAS * size)
    place = torch.arange(canvas) - phase
    # The original draws whole periods only, so what is left of the canvas stays empty.
    whole = place < (canvas // period) * period
    kept = (place >= 0) & (place % period < width) & whole
    first = (canvas - size) // 2
    return kept[first : first + size]
