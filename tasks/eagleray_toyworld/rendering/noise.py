"""Solid noise out of a fixed lattice: the raw material of every texture.

A texture is a function of the point in the object's own frame, so it stays on the object when that
moves, and two cameras see the same speckle at the same place.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_SIZE = 64
_LATTICE_SEED = 20190417
"""The lattice is one constant for all scenes; scenes differ by the offset into it."""


@lru_cache(maxsize=1)
def _lattice() -> NDArray[np.float32]:
    """Return the flat (65 * 65 * 65) lattice; the last plane of each axis repeats the first."""
    values = np.random.Generator(np.random.PCG64(_LATTICE_SEED)).random((_SIZE,) * 3) * 2 - 1
    return np.pad(values, ((0, 1),) * 3, mode="wrap").astype(np.float32).ravel()


def solid_noise(
    points: NDArray[np.float32], scale_m: float, *, offset: float = 0.0
) -> NDArray[np.float32]:
    """Return smooth value noise in [-1, 1].

    Args:
        points: (3, n) float32, own frame of the object, meters.
        scale_m: Distance between lattice points, meters.
        offset: Displacement in lattice units; gives every object its own pattern.

    Returns:
        (n,) float32.
    """
    lattice = _lattice()
    shifted = points * np.float32(1.0 / scale_m) + np.float32(offset)
    whole = np.floor(shifted)
    f = shifted - whole
    f = f * f * (3.0 - 2.0 * f)
    i = whole.astype(np.int32) & (_SIZE - 1)
    stride = _SIZE + 1
    base = (i[0] * stride + i[1]) * stride + i[2]

    def line(at: NDArray[np.int32]) -> NDArray[np.float32]:
        low = lattice.take(at)
        return low + f[2] * (lattice.take(at + 1) - low)

    def plane(at: NDArray[np.int32]) -> NDArray[np.float32]:
        low = line(at)
        return low + f[1] * (line(at + stride) - low)

    low = plane(base)
    return low + f[0] * (plane(base + stride * stride) - low)


def speckle(
    points: NDArray[np.float32], scale_m: float, *, offset: float = 0.0
) -> NDArray[np.float32]:
    """Return three independent values in [-1, 1] per cell of ``scale_m``, constant in the cell.

    Args:
        points: (3, n) float32, meters.
        scale_m: Edge of a cell, meters.
        offset: Displacement in cells.

    Returns:
        (3, n) float32.
    """
    lattice = _lattice()
    i = np.floor(points * np.float32(1.0 / scale_m) + np.float32(offset)).astype(np.int32)
    i &= _SIZE - 1
    stride = _SIZE + 1
    base = (i[0] * stride + i[1]) * stride + i[2]
    step = 7 * stride + 3
    return np.stack([lattice.take((base + k * step) % _SIZE**3) for k in range(3)])
