"""Which matches a camera cannot see: a z-buffer of the points themselves.

The lidar sits above the cameras and looks over things that hide the ground behind them. The
original keeps such points, and they get the feature of what is in front. A sweep is sparse, so a
point counts as hidden where a much nearer one lies beside it or above: what is nearer and a beam
*below* is ordinary ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from eagleray_vision.driving.pose import FloatArray
from eagleray_vision.driving.projection import Matches

_CELL_DEG = 0.15
"""Side of a cell of the buffer, degrees; half of the lidar's step between two firings."""


@dataclass(frozen=True, kw_only=True)
class ZBuffer:
    """How far a near point hides what lies behind.

    Attributes:
        beside_deg: To the left and right, degrees: more than one firing (0.33 degrees on nuScenes).
        below_deg: Downwards, degrees: more than one beam (1.33 degrees on nuScenes).
        nearer_m: Least distance in front.
        nearer_share: Least distance in front as a share of the point's depth.
        above_deg: Upwards, degrees, by points that are nearer by `above_share`.
        above_share: The same share for what lies below a point, where level ground is nearer too:
            by a fifth from one beam to the next at 20 m.
    """

    beside_deg: float = 0.6
    below_deg: float = 2.0
    nearer_m: float = 0.5
    nearer_share: float = 0.05
    above_deg: float = 1.2
    above_share: float = 0.3

    def visible(
        self, matches: Matches, intrinsic: FloatArray, size_hw: tuple[int, int]
    ) -> NDArray[np.bool_]:
        """Return (n,) whether no other point of the sweep hides a match from its camera.

        Args:
            matches: The matches of one camera.
            intrinsic: (3, 3) its matrix, pixels.
            size_hw: Height and width of its photographs.
        """
        cell_px = math.radians(_CELL_DEG) * np.array((intrinsic[0, 0], intrinsic[1, 1]))
        column, row = np.floor(matches.uv / cell_px).astype(np.int64).T
        shape = [int(side / cell) + 1 for side, cell in zip(size_hw, cell_px[::-1], strict=True)]
        nearest = np.full(shape, np.inf, dtype=np.float32)
        np.minimum.at(nearest, (row, column), matches.depth_m)
        beside, below, above = (
            round(angle / _CELL_DEG) for angle in (self.beside_deg, self.below_deg, self.above_deg)
        )
        kept = np.ones(len(row), dtype=bool)
        for up, down, share in ((below, 0, self.nearer_share), (0, above, self.above_share)):
            in_front = _nearest_within(nearest, up, down, beside)[row, column]
            least = np.maximum(self.nearer_m, share * matches.depth_m)
            kept &= in_front >= matches.depth_m - least
        return kept


def _nearest_within(
    nearest: NDArray[np.float32], up: int, down: int, beside: int
) -> NDArray[np.float32]:
    """Return the smallest value within so many cells upwards, downwards and to both sides."""
    size = (up + down + 1, 2 * beside + 1)
    origin = (up - size[0] // 2, 0)
    out: NDArray[np.float32] = minimum_filter(
        nearest, size, mode="constant", cval=np.inf, origin=origin
    )
    return out
