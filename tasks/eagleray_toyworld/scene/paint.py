"""Names of colors, and objects in other colors."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from eagleray_toyworld.scene.material import Color, Pattern
from eagleray_toyworld.scene.scene import Part, SceneObject
from eagleray_toyworld.scene.shape import Box, Cylinder, Ellipsoid

PAINTS: Mapping[str, Color] = MappingProxyType(
    {
        "red": (0.50, 0.025, 0.025),
        "orange": (0.72, 0.20, 0.02),
        "yellow": (0.75, 0.52, 0.03),
        "green": (0.05, 0.32, 0.06),
        "blue": (0.03, 0.10, 0.50),
        "purple": (0.22, 0.05, 0.36),
        "white": (0.78, 0.78, 0.76),
        "black": (0.015, 0.015, 0.017),
    }
)
"""A clear example of each named color but gray and brown, linear RGB."""

_UNPAINTED = (Pattern.GLASS, Pattern.WHEEL, Pattern.SIGNAL, Pattern.FOLIAGE, Pattern.GRASS)
"""Patterns whose color is not that of the thing."""
_BLACK_BELOW, _WHITE_ABOVE = 0.27, 0.82
"""Display values (0 to 1) of the brightest channel."""
_GRAY_RANGE = (0.36, 0.76)
_GRAY_SATURATION, _CLEAR_SATURATION = 0.12, 0.45
_HUES: tuple[tuple[str, float, float, float], ...] = (
    ("red", -16.0, 12.0, 0.4),
    ("orange", 18.0, 38.0, 0.75),
    ("yellow", 44.0, 64.0, 0.6),
    ("green", 85.0, 160.0, 0.2),
    ("blue", 205.0, 248.0, 0.3),
    ("purple", 262.0, 310.0, 0.25),
)
"""Name, hues in degrees, and the brightness from which on it is called so."""
_BROWN_HUES, _BROWN_BELOW = (8.0, 40.0), 0.66


def color_name(color: Color) -> str | None:
    """Return what people call a reflectance; None where two names would do.

    Args:
        color: Linear RGB reflectance in 0..1.

    Returns:
        red, orange, yellow, green, blue, purple, brown, white, gray, black, or None.

    Example:
        >>> color_name((0.50, 0.03, 0.03)), color_name((0.33, 0.36, 0.22))
        ('red', None)
    """
    hue, saturation, value = colorsys.rgb_to_hsv(*(_display(c) for c in color))
    if value < _BLACK_BELOW:
        return "black"
    if saturation < _GRAY_SATURATION:
        if value > _WHITE_ABOVE:
            return "white"
        return "gray" if _GRAY_RANGE[0] < value < _GRAY_RANGE[1] else None
    if saturation < _CLEAR_SATURATION:
        return None
    degrees = hue * 360.0
    if _BROWN_HUES[0] < degrees < _BROWN_HUES[1] and value < _BROWN_BELOW:
        return "brown"
    for name, low, high, least in _HUES:
        if value >= least and any(low <= degrees - turn <= high for turn in (0.0, 360.0)):
            return name
    return None


def _display(linear: float) -> float:
    """Return a linear value as sRGB encodes it."""
    clipped = min(max(linear, 0.0), 1.0)
    return 12.92 * clipped if clipped <= 0.0031308 else 1.055 * clipped ** (1 / 2.4) - 0.055


def main_part(item: SceneObject) -> Part:
    """Return the largest part of an object whose color is the object's: paint, cargo, cloth."""
    painted = [part for part in item.parts if part.material.pattern not in _UNPAINTED]
    return max(painted or item.parts, key=_extent)


def object_color(item: SceneObject) -> str | None:
    """Return the name of an object's color, as `color_name` does."""
    part = main_part(item)
    return None if part.material.pattern in _UNPAINTED else color_name(part.material.color)


def repaint(item: SceneObject, color: Color) -> SceneObject:
    """Return an object whose main color is another; parts of other colors keep theirs."""
    old = main_part(item).material.color
    parts = tuple(
        replace(part, material=replace(part.material, color=color))
        if part.material.color == old and part.material.pattern not in _UNPAINTED
        else part
        for part in item.parts
    )
    return replace(item, parts=parts)


def _extent(part: Part) -> float:
    """Return half the surface of a part's bounding box; 0 for what has no end."""
    shape = part.shape
    if isinstance(shape, Box):
        x, y, z = shape.half_size_m
    elif isinstance(shape, Ellipsoid):
        x, y, z = shape.radii_m
    elif isinstance(shape, Cylinder):
        x, y, z = shape.radius_m, shape.radius_m, shape.half_height_m
    else:
        return 0.0
    return x * y + y * z + z * x
