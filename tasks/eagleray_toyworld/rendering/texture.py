"""Procedural textures: linear RGB reflectance as a function of the point on the object.

Each function takes the material, (3, n) points and normals in the part's frame (meters), the size
of a pixel on the surface in meters, and a per-part offset into the noise. It returns (3, n)
float32. Details smaller than a pixel fade out, so distant surfaces do not sparkle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.rendering.noise import solid_noise, speckle
from eagleray_toyworld.scene.material import Color, Material, Pattern

Values: TypeAlias = NDArray[np.float32]
Texture: TypeAlias = Callable[[Material, Values, Values, Values, float], Values]

LANE_MARK_WIDTH_M = 0.15
LANE_DASH_PERIOD_M = 9.0
LANE_DASH_SHARE = 0.4
"""Painted share of a dashed line's period."""


def _column(values: tuple[float, float, float]) -> Values:
    """Return three constants as (3, 1) float32."""
    return np.array(values, dtype=np.float32)[:, None]


def _fade(feature_m: float, pixel_m: Values) -> Values:
    """1 where a feature covers two pixels or more, falling to 0 where it is half a pixel."""
    ratio = np.float32(feature_m) / (pixel_m + np.float32(1e-6))
    faded: Values = np.clip((ratio - 0.5) / 1.5, 0.0, 1.0)
    return faded


def _mix(a: Color, b: Color, share: Values) -> Values:
    """Blend two constant colors by a per-point share of the second."""
    return np.stack([x + (y - x) * share for x, y in zip(a, b, strict=True)]).astype(np.float32)


def _grain(material: Material, p: Values, scale_m: float, pixel_m: Values, offset: float) -> Values:
    """Brightness factor around 1 out of two octaves of noise."""
    fine = solid_noise(p, scale_m, offset=offset) * _fade(scale_m, pixel_m)
    coarse = solid_noise(p, scale_m * 6.3, offset=offset + 11.5) * _fade(scale_m * 6.3, pixel_m)
    return (1.0 + material.contrast * (0.6 * fine + 0.8 * coarse)).astype(np.float32)


def _plain(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    return _column(m.color) * _grain(m, p, 0.12, pixel_m, offset)


def _repeat(value: Values, period: float) -> Values:
    """Return the fraction in [0, 1) of the period."""
    q = value * np.float32(1.0 / period)
    return q - np.floor(q)


def _line(distance_m: Values, width_m: float, pixel_m: Values) -> Values:
    """Anti-aliased coverage of a line: 1 inside, 0 outside, soft over a pixel."""
    soft = pixel_m + np.float32(0.004)
    coverage: Values = np.clip((0.5 * width_m - distance_m) / soft + 0.5, 0.0, 1.0)
    return coverage * np.clip(width_m / soft, 0.0, 1.0)


def _ground(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Asphalt with patches and painted lanes; ``scale_m`` is the lane width, 0 for no paint."""
    base = _column(m.color) * _grain(m, p, 0.05, pixel_m, offset)
    patches = solid_noise(p, 4.0, offset=offset) + 0.6 * solid_noise(p, 1.3, offset=offset)
    base *= 1.0 + 0.5 * m.contrast * patches
    crack = abs(solid_noise(p, 1.7, offset=offset + 5.5))
    base *= 1.0 - 0.35 * np.clip(1.0 - crack * 28.0, 0.0, 1.0) * _fade(0.08, pixel_m)
    if m.scale_m <= 0:
        return base
    lane = p[1] * np.float32(1.0 / m.scale_m)
    nearest = np.floor(lane + 0.5)
    paint = _line(abs(lane - nearest) * m.scale_m, LANE_MARK_WIDTH_M, pixel_m)
    dashed = _repeat(p[0], LANE_DASH_PERIOD_M) < LANE_DASH_SHARE
    paint = paint * np.where(nearest == 0, 1.0, dashed)
    worn = np.clip(0.8 + 0.9 * solid_noise(p, 0.23, offset=offset + 2.5), 0.15, 0.9)
    paint = (paint * worn).astype(np.float32)
    return base + (_column(m.accent) - base) * paint


def _paving(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Square slabs with joints; ``scale_m`` is the slab's edge."""
    row = np.floor(p[1] * np.float32(1.0 / m.scale_m))
    x = p[0] + 0.5 * m.scale_m * row
    joint = np.zeros_like(x)
    for value in (x, p[1]):
        f = _repeat(value, m.scale_m)
        joint = np.maximum(joint, _line(np.minimum(f, 1.0 - f) * m.scale_m, 0.03, pixel_m))
    slab = speckle(np.stack([x, p[1], np.zeros_like(x)]), m.scale_m, offset=offset)[0]
    tone = _grain(m, p, 0.07, pixel_m, offset) * (
        1.0 + m.contrast * 0.8 * slab * _fade(m.scale_m, pixel_m)
    )
    flat = _mix(m.color, m.accent, joint * 0.8)
    return np.where(n[2] > 0.5, flat, _column(m.color) * np.float32(0.9)) * tone


def _grass(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    share = 0.5 + 0.5 * solid_noise(p, 2.7, offset=offset)
    share += 0.35 * solid_noise(p, 0.4, offset=offset) * _fade(0.4, pixel_m)
    blades = solid_noise(p, 0.035, offset=offset) * _fade(0.05, pixel_m)
    return _mix(m.color, m.accent, np.clip(share, 0, 1)) * (1.0 + m.contrast * blades)


def _across(p: Values, n: Values) -> Values:
    """Horizontal coordinate along a vertical face."""
    return np.where(abs(n[0]) > abs(n[1]), p[1], p[0])


def _facade(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Wall with rows of windows; ``scale_m`` is the width of a window bay."""
    story = 1.2 * m.scale_m
    u, v = _across(p, n), p[2]
    fu, fv = _repeat(u, m.scale_m), _repeat(v, story)
    side = np.maximum(abs(fu - 0.5) * m.scale_m / 0.28, abs(fv - 0.52) * story / 0.30)
    soft = pixel_m / np.float32(0.3 * m.scale_m) + np.float32(0.02)
    frame = np.clip((1.16 * m.scale_m - side) / soft, 0.0, 1.0)
    glass = np.clip((1.0 * m.scale_m - side) / soft, 0.0, 1.0)
    bars = _line(abs(fu - 0.5) * m.scale_m, 0.07, pixel_m)
    cell = np.stack([np.floor(u / m.scale_m), np.floor(v / story), np.sign(n[0] + 2 * n[1])])
    look = speckle(cell + 0.5, 1.0, offset=offset)
    wall = _column(m.color) * _grain(m, p, 0.35, pixel_m, offset)
    wall *= 1.0 - 0.25 * np.clip(1.0 - fv * story / 0.25, 0, 1) * _fade(0.2, pixel_m)
    pane = _mix(m.accent, (0.55, 0.5, 0.4), np.where(look[0] > 0.55, 0.7, 0.08 + 0.1 * look[1]))
    out = wall + (np.float32(0.75) - wall) * (frame * 0.55)
    out = out + (pane - out) * (glass * (1.0 - 0.6 * bars))
    return np.where(abs(n[2]) > 0.5, _column(m.color) * 0.6, out)


def _brick(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Courses of bricks; ``scale_m`` is the brick's length."""
    height = m.scale_m * 0.32
    course = np.floor(p[2] * np.float32(1.0 / height))
    u = _across(p, n) + 0.5 * m.scale_m * course
    fu, fv = _repeat(u, m.scale_m), _repeat(p[2], height)
    joint = np.maximum(
        _line(np.minimum(fu, 1 - fu) * m.scale_m, 0.02, pixel_m),
        _line(np.minimum(fv, 1 - fv) * height, 0.02, pixel_m),
    )
    cell = np.stack([np.floor(u / m.scale_m), course, np.zeros_like(u)]) + 0.5
    tone = 1.0 + m.contrast * speckle(cell, 1.0, offset=offset)[0] * _fade(m.scale_m, pixel_m)
    return _mix(m.color, m.accent, joint) * tone * _grain(m, p, 0.3, pixel_m, offset)


def _tiles(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Rows of roof tiles; ``scale_m`` is the height of a row."""
    f = _repeat(p[2], m.scale_m)
    shade = 1.0 - 0.4 * (1.0 - f) * _fade(m.scale_m, pixel_m)
    return _column(m.color) * shade * _grain(m, p, 0.3, pixel_m, offset)


def _foliage(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Leaves: light and dark clumps; ``scale_m`` is the size of a leaf clump."""
    clump = solid_noise(p, m.scale_m * 3.0, offset=offset)
    leaf = solid_noise(p, m.scale_m * 0.7, offset=offset + 3.5) * _fade(m.scale_m, pixel_m)
    share = np.clip(0.5 + 0.55 * clump + 0.3 * leaf, 0, 1)
    return _mix(m.color, m.accent, share) * (1.0 + m.contrast * (leaf + 0.5 * clump))


def _bark(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    stretched = p * _column((1.0, 1.0, 0.2))
    return _column(m.color) * _grain(m, stretched, 0.05, pixel_m, offset)


def _paint(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Car paint with dust that grows downwards and a dark seam every ``scale_m`` along x."""
    f = _repeat(p[0] + 0.31 * m.scale_m, m.scale_m)
    seam = _line(np.minimum(f, 1 - f) * m.scale_m, 0.02, pixel_m)
    side = abs(n[1]) > 0.7
    dust = np.clip(0.25 - 0.6 * p[2], 0.0, 0.4) * (1.0 + solid_noise(p, 0.4, offset=offset))
    out = _mix(m.color, (0.22, 0.2, 0.17), (m.contrast * dust).astype(np.float32))
    return out * (1.0 - 0.5 * seam * side) * _grain(m, p, 0.5, pixel_m, offset)


def _wheel(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Tire with a rim; ``scale_m`` is the wheel's radius."""
    r = np.sqrt(p[0] * p[0] + p[1] * p[1]) * np.float32(1.0 / m.scale_m)
    cap = abs(n[2]) > 0.5
    soft = pixel_m * np.float32(1.0 / m.scale_m) + np.float32(0.02)
    rim = np.clip((0.64 - r) / soft, 0, 1) * cap
    spoke = np.maximum(p[0] * p[1], -p[0] * p[1]) * np.float32(1.0 / m.scale_m**2)
    gap = ((spoke > 0.03) & (r > 0.2) & (r < 0.52)) * _fade(0.2 * m.scale_m, pixel_m)
    rim = (rim * (1.0 - 0.75 * gap)).astype(np.float32)
    return _mix(m.color, m.accent, rim) * _grain(m, p, 0.05, pixel_m, offset)


def _sign(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Disk with a rim in the accent color and a bar; ``scale_m`` is its half size."""
    x, y = p[0] / m.scale_m, p[1] / m.scale_m
    r = np.sqrt(x * x + y * y)
    rim = (r > 0.76) | ((abs(y) < 0.16) & (abs(x) < 0.5))
    front = abs(n[2]) > 0.5
    face = _mix(m.color, m.accent, (rim & front).astype(np.float32))
    return np.where(front, face, np.float32(0.35)) * _grain(m, p, 0.1, pixel_m, offset)


_LAMPS: tuple[Color, ...] = ((0.75, 0.03, 0.02), (0.85, 0.4, 0.02), (0.03, 0.6, 0.25))
"""Reflectance of a signal's lamps from top to bottom."""


def _signal(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Dark case with three lamps down its -x face; ``scale_m`` is its half height."""
    out = np.repeat(_column(m.color), p.shape[1], axis=1)
    lit = int(offset * 7.0) % len(_LAMPS)
    for k, lamp in enumerate(_LAMPS):
        dz = p[2] - np.float32(m.scale_m * (0.62 - 0.62 * k))
        disk = (p[1] * p[1] + dz * dz < (0.27 * m.scale_m) ** 2) & (abs(n[0]) > 0.5)
        strength = 2.2 if k == lit else 0.25
        out = np.where(disk, _column(lamp) * np.float32(strength), out)
    return out


def _cargo(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Corrugated wall with a stripe; ``scale_m`` is the width of a rib."""
    f = _repeat(_across(p, n), m.scale_m)
    rib = 1.0 - 0.25 * (f < 0.35) * _fade(0.4 * m.scale_m, pixel_m)
    stripe = (abs(p[2] - 0.2) < 0.22) & (abs(n[2]) < 0.5)
    return (
        _mix(m.color, m.accent, stripe * np.float32(0.9)) * rib * _grain(m, p, 0.6, pixel_m, offset)
    )


def _cloth(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Fabric with folds, and stripes of the accent color every ``scale_m``."""
    fold = 1.0 + 0.35 * m.contrast * solid_noise(p * _column((2.0, 2.0, 0.7)), 0.2, offset=offset)
    stripe = (_repeat(p[2], m.scale_m) < 0.22) * _fade(0.22 * m.scale_m, pixel_m)
    return _mix(m.color, m.accent, stripe.astype(np.float32)) * fold


def _slats(m: Material, p: Values, n: Values, pixel_m: Values, offset: float) -> Values:
    """Boards with gaps; ``scale_m`` is the width of a board."""
    f = _repeat(_across(p, n), m.scale_m)
    gap = _line(np.minimum(f, 1 - f) * m.scale_m, 0.03, pixel_m)
    board = speckle(np.stack([_across(p, n), n[0], n[1]]), m.scale_m, offset=offset)[0]
    tone = 1.0 + m.contrast * board * _fade(m.scale_m, pixel_m)
    return _mix(m.color, m.accent, gap) * tone * _grain(m, p, 0.1, pixel_m, offset)


TEXTURES: Mapping[Pattern, Texture] = MappingProxyType(
    {
        Pattern.PLAIN: _plain,
        Pattern.GROUND: _ground,
        Pattern.PAVING: _paving,
        Pattern.GRASS: _grass,
        Pattern.FACADE: _facade,
        Pattern.BRICK: _brick,
        Pattern.TILES: _tiles,
        Pattern.FOLIAGE: _foliage,
        Pattern.BARK: _bark,
        Pattern.PAINT: _paint,
        Pattern.GLASS: _plain,
        Pattern.WHEEL: _wheel,
        Pattern.SIGN: _sign,
        Pattern.SIGNAL: _signal,
        Pattern.CARGO: _cargo,
        Pattern.CLOTH: _cloth,
        Pattern.SLATS: _slats,
    }
)
