"""Light: sky radiance, haze, and the tone curve from radiance to bytes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.rendering.noise import solid_noise
from eagleray_toyworld.scene.material import Color
from eagleray_toyworld.scene.scene import Sky, Sun

_CURVE_SIZE = 4096
_CURVE_MAX = 3.0
"""Radiance that maps to 255."""
_GAMMA = 1 / 2.2
_CONTRAST = 0.6
"""Share of an S-shaped curve over the display values."""
_CLOUD_SCALE = 0.55
_GROUND_RADIANCE = 0.12
"""What a mirror sees below the horizon."""


def sky_gradient(sky: Sky, up: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (3, n) radiance of the clear sky for the z component of viewing directions."""
    height = np.clip(up, 0.0, 1.0)
    share = height * (2.0 - height)
    share = share * (2.0 - share)
    rows = [h + (z - h) * share for h, z in zip(sky.horizon, sky.zenith, strict=True)]
    return np.stack(rows).astype(np.float32)


_AMBIENT_GRAY = 0.55
"""Share by which the sky's light is mixed with gray: walls and ground scatter light of all
colors.
"""


def ambient_light(sky: Sky) -> Color:
    """Return the irradiance of the whole sky on a horizontal surface, linear RGB."""
    mixed = [0.35 * h + 0.65 * z for h, z in zip(sky.horizon, sky.zenith, strict=True)]
    gray = sum(mixed) / 3.0
    r, g, b = (c + (gray - c) * _AMBIENT_GRAY for c in mixed)
    return (r, g, b)


def sky_radiance(sky: Sky, sun: Sun, directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what an unobstructed ray sees: gradient, clouds and the glow around the sun.

    Args:
        sky: Sky settings.
        sun: Sun settings.
        directions: (3, n) float32 unit vectors, world frame.

    Returns:
        (3, n) float32 linear RGB.
    """
    clear = sky_gradient(sky, directions[2])
    lift = np.float32(1.0) / (np.maximum(directions[2], 0.0) + np.float32(0.12))
    plane = np.stack([directions[0] * lift, directions[1] * lift, np.full_like(lift, 0.5)])
    offset = 17.0 * sun.direction[0] + 5.0 * sun.direction[1]
    puff = solid_noise(plane, _CLOUD_SCALE, offset=offset)
    for octave in (0.45, 0.2):
        puff += octave * 1.4 * solid_noise(plane, _CLOUD_SCALE * octave, offset=offset + octave)
    cover = np.clip(puff * 0.8 + (sky.cloud_cover * 2.2 - 0.9), 0.0, 1.0)
    cover *= np.clip(directions[2] * 8.0, 0.0, 1.0)
    gray = 0.62 + 0.25 * np.clip(puff, -1.0, 1.0)
    toward = sum(s * d for s, d in zip(sun.direction, directions, strict=True))
    glow = np.clip(toward, 0.0, 1.0)
    for _ in range(4):
        glow = glow * glow
    out = clear + (gray - clear) * (cover * 0.85)
    return (out + np.multiply.outer(np.array(sun.color, np.float32), glow * 0.18)).astype(
        np.float32
    )


def reflection(
    sky: Sky,
    directions: NDArray[np.float32],
    normals: NDArray[np.float32],
    cosine: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return (3, n) sky or ground radiance seen in a mirror, times Schlick's Fresnel term.

    Args:
        sky: Sky settings.
        directions: (3, n) float32 viewing directions, world frame.
        normals: (3, n) float32 surface normals, world frame.
        cosine: (n,) cosine between them, positive.
    """
    up = directions[2] + 2.0 * cosine * normals[2]
    seen = sky_gradient(sky, up)
    seen = np.where(up < 0, np.float32(_GROUND_RADIANCE), seen)
    rest = np.clip(1.0 - cosine, 0.0, 1.0)
    square = rest * rest
    return seen * (0.12 + 0.88 * square * square * rest)


@lru_cache(maxsize=1)
def _tone_curve() -> NDArray[np.uint8]:
    radiance = [_CURVE_MAX * i / (_CURVE_SIZE - 1) for i in range(_CURVE_SIZE)]
    shoulder = [x * (1.0 + x / _CURVE_MAX**2) / (1.0 + x) for x in radiance]
    display = [(s / shoulder[-1]) ** _GAMMA for s in shoulder]
    steep = [d + _CONTRAST * (d * d * (3.0 - 2.0 * d) - d) for d in display]
    return np.array([int(255.0 * s + 0.5) for s in steep], dtype=np.uint8)


def to_bytes(radiance: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map linear radiance to display values by a filmic shoulder and gamma 2.2.

    A table instead of ``pow``: bytes do not depend on the machine's math library.
    """
    step = np.float32((_CURVE_SIZE - 1) / _CURVE_MAX)
    index = np.clip(radiance * step + np.float32(0.5), 0, _CURVE_SIZE - 1).astype(np.int32)
    return _tone_curve().take(index)
