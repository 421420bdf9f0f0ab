"""grid_sample at positions that may be anything."""

import torch
import torch.nn.functional as F
from torch import Tensor

_OUTSIDE = 3.0  # samples of a map in [-1, 1] end before 2, however small the map is


def sample(maps: Tensor, grid: Tensor) -> Tensor:
    """Sample maps bilinearly, zero outside of them and where a position is no number.

    Args:
        maps: (B, C, H, W).
        grid: (B, R, S, 2) x and y, -1 to 1 from edge to edge.

    Returns:
        (B, C, R, S).
    """
    # grid_sample itself turns infinite positions into samples that are no numbers.
    grid = torch.nan_to_num(grid, nan=_OUTSIDE, posinf=_OUTSIDE, neginf=-_OUTSIDE)
    return F.grid_sample(maps, grid, align_corners=False)
