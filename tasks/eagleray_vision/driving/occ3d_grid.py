"""The grid of Occ3D-nuScenes (Tian et al., "Occ3D", NeurIPS 2023): who writes it and who reads it.

Voxels lie in the vehicle's frame at the time of the key frame's sweep: x ahead, y left, z up.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SIZE_XYZ: Final = (200, 200, 16)
"""Voxels along x, y and z."""
VOXEL_M: Final = 0.4
RANGE_MIN_M: Final = (-40.0, -40.0, -1.0)
"""Lower corner of the box in meters."""
FREE: Final = 17
"""Label of free space; 0 is "others", 1 to 16 are nuScenes' classes."""


def voxel_centers_m() -> NDArray[np.float64]:
    """Return the centers of all voxels, ``(200, 200, 16, 3)``, in the vehicle's frame."""
    axes = [
        low + VOXEL_M * (np.arange(count) + 0.5)
        for low, count in zip(RANGE_MIN_M, SIZE_XYZ, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
