"""The light in closed rooms: a warm sun that leans a little to a side, and an even gray sky."""

from __future__ import annotations

import math

from eagleray_toyworld.scene.dice import Dice
from eagleray_toyworld.scene.scene import Sky, Sun


def room_sun(dice: Dice) -> Sun:
    """Draw to which side the light leans."""
    lean = dice.uniform(0.0, 2.0 * math.pi)
    return Sun(
        direction=(0.45 * math.cos(lean), 0.45 * math.sin(lean), 0.893), color=(1.0, 0.95, 0.86)
    )


def room_sky(exposure: float) -> Sky:
    """Return light from all sides.

    Args:
        exposure: Factor on all radiance.
    """
    return Sky(
        zenith=(0.62, 0.62, 0.64),
        horizon=(0.6, 0.6, 0.6),
        cloud_cover=0.0,
        haze_distance_m=1e6,
        exposure=exposure,
    )
