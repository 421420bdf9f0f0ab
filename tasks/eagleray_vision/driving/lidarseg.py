"""Classes of nuScenes' lidar points: 32 raw ones, and the 16 that are evaluated."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eagleray.task import InputError

RAW_NAMES: Final = (
    *("noise", "animal", "human.pedestrian.adult", "human.pedestrian.child"),
    *("human.pedestrian.construction_worker", "human.pedestrian.personal_mobility"),
    *("human.pedestrian.police_officer", "human.pedestrian.stroller"),
    *("human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris"),
    *("movable_object.pushable_pullable", "movable_object.trafficcone"),
    *("static_object.bicycle_rack", "vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid"),
    *("vehicle.car", "vehicle.construction", "vehicle.emergency.ambulance"),
    *("vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer", "vehicle.truck"),
    *("flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain", "static.manmade"),
    *("static.other", "static.vegetation", "vehicle.ego"),
)
"""Names of the values of lidarseg files, in their order."""

CLASS_NAMES: Final = (
    *("noise", "barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle"),
    *("pedestrian", "traffic_cone", "trailer", "truck", "driveable_surface", "other_flat"),
    *("sidewalk", "terrain", "manmade", "vegetation", "free"),
)
"""Names of 0 (ignored), the 16 evaluated classes, and 17 (free space)."""

CLASS_COLORS: Final = (
    *((0, 0, 0), (255, 120, 50), (255, 192, 203), (255, 255, 0), (0, 150, 245), (0, 255, 255)),
    *((255, 127, 0), (255, 0, 0), (255, 240, 150), (135, 60, 0), (160, 32, 240), (255, 0, 255)),
    *((139, 137, 137), (75, 0, 75), (150, 240, 80), (230, 230, 250), (0, 175, 0)),
    (255, 255, 255),
)
"""RGB of ``CLASS_NAMES``."""

NUM_CLASSES: Final = 16
"""Evaluated classes: 1 to 16."""

CLASS_OF_RAW: Final = (
    *(0, 0, 7, 7, 7, 0, 7, 0, 0, 1, 0, 0, 8, 0, 2, 3, 3, 4, 5, 0, 0, 6, 9, 10),
    *(11, 12, 13, 14, 15, 0, 16, 0),
)
"""Class of every raw value."""


def evaluated_classes(raw: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """Return the evaluated classes of points.

    Args:
        raw: Any shape, 0..31.

    Raises:
        InputError: A value is beyond 31.
    """
    if raw.size and (raw.min() < 0 or raw.max() >= len(RAW_NAMES)):
        odd = sorted(set(raw[(raw < 0) | (raw >= len(RAW_NAMES))].tolist()))
        raise InputError(
            f"lidarseg labels are 0 to {len(RAW_NAMES) - 1}, found {odd[:5]}; the file is damaged, "
            "or labels of another kind"
        )
    return np.array(CLASS_OF_RAW, dtype=np.uint8)[raw]
