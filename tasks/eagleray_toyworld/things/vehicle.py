"""Cars, trucks, buses and bicycles, built of bodies, windows, wheels and lamps.

Object frame: x forward, y left, z up, origin on the ground under the middle.
"""

from __future__ import annotations

import math

from eagleray_toyworld.scene.dice import SHARED_COLORS, Dice
from eagleray_toyworld.scene.material import Color, Material, Pattern
from eagleray_toyworld.scene.pose import Pose, Vector3
from eagleray_toyworld.scene.scene import Part
from eagleray_toyworld.scene.shape import Box, Cylinder, Ellipsoid
from eagleray_toyworld.things.person import bent_limb, person_parts

_GLASS = Material(
    pattern=Pattern.GLASS,
    color=(0.03, 0.035, 0.04),
    contrast=0.05,
    gloss=0.9,
    lidar_reflectance=0.05,
)
_RUBBER: Color = (0.025, 0.025, 0.027)
_RIM: Color = (0.42, 0.42, 0.44)
_CAR_PAINTS: tuple[Color, ...] = (
    (0.60, 0.60, 0.60),
    (0.02, 0.02, 0.025),
    (0.50, 0.03, 0.03),
    (0.03, 0.09, 0.33),
    (0.70, 0.70, 0.68),
    *SHARED_COLORS,
)
_TURN_TO_Y = math.pi / 2


def _paint(dice: Dice) -> Material:
    return Material(
        pattern=Pattern.PAINT,
        color=dice.vary(dice.choice(_CAR_PAINTS), 0.2),
        scale_m=1.15,
        contrast=dice.uniform(0.1, 0.5),
        gloss=0.55,
        lidar_reflectance=dice.uniform(0.1, 0.6),
    )


def _lamp(color: Color, glow: float) -> Material:
    return Material(color=color, contrast=0.05, gloss=0.5, glow=glow, lidar_reflectance=0.8)


def _box(
    name: str,
    center: Vector3,
    half: Vector3,
    material: Material,
    *,
    taper: tuple[float, float] = (0.0, 0.0),
    top_shift_m: float = 0.0,
    number: int = 0,
    casts_shadow: bool = True,
) -> Part:
    return Part(
        name=name,
        shape=Box(half_size_m=half, taper=taper, top_shift_m=top_shift_m),
        pose=Pose(position_m=center),
        material=material,
        number=number,
        casts_shadow=casts_shadow,
    )


def _wheels(
    axles_x: tuple[float, ...], half_track: float, radius: float, width: float = 0.22
) -> tuple[Part, ...]:
    material = Material(
        pattern=Pattern.WHEEL, color=_RUBBER, accent=_RIM, scale_m=radius, lidar_reflectance=0.08
    )
    return tuple(
        Part(
            name="wheel",
            shape=Cylinder(radius_m=radius, half_height_m=0.5 * width),
            pose=Pose(position_m=(x, side * half_track, radius), roll_rad=-side * _TURN_TO_Y),
            material=material,
            number=2 * k + (side < 0),
            casts_shadow=False,
        )
        for k, x in enumerate(axles_x)
        for side in (1.0, -1.0)
    )


def _arches(axles_x: tuple[float, ...], half_width: float, radius: float) -> tuple[Part, ...]:
    """Dark disks behind the wheels that read as wheel arches."""
    material = Material(color=(0.01, 0.01, 0.012), contrast=0.0, lidar_reflectance=0.05)
    return tuple(
        Part(
            name="body",
            shape=Cylinder(radius_m=radius * 1.17, half_height_m=half_width + 0.004),
            pose=Pose(position_m=(x, 0.0, radius * 1.08), roll_rad=_TURN_TO_Y),
            material=material,
            casts_shadow=False,
        )
        for x in axles_x
    )


def _lamps(front_x: float, back_x: float, half_y: float, z: float) -> tuple[Part, ...]:
    parts = []
    for k, y in enumerate((half_y, -half_y)):
        parts.append(
            _box(
                "headlight",
                (front_x, y, z),
                (0.03, 0.17, 0.075),
                _lamp((0.85, 0.85, 0.8), 0.5),
                number=k,
                casts_shadow=False,
            )
        )
        parts.append(
            _box(
                "taillight",
                (back_x, y, z + 0.06),
                (0.03, 0.15, 0.09),
                _lamp((0.5, 0.02, 0.02), 0.35),
                number=k,
                casts_shadow=False,
            )
        )
    return tuple(parts)


def car_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a passenger car: body with hood and roof, window belt, four wheels, lamps, plates."""
    length, width = dice.uniform(3.7, 4.9), dice.uniform(1.68, 1.9)
    height = dice.uniform(1.4, 1.75)
    paint = _paint(dice)
    hx, hy = 0.5 * length, 0.5 * width
    belt = dice.uniform(0.86, 0.98)
    radius = dice.uniform(0.3, 0.36)
    cabin_x = dice.uniform(0.30, 0.36) * length
    shift = dice.uniform(-0.12, 0.02)
    middle = -0.07 * length
    roof = height - 0.07
    axles = (0.31 * length, -0.30 * length)
    low = Box(half_size_m=(hx, hy, 0.5 * (belt - 0.16)), taper=(0.035, 0.07))
    window_half = 0.5 * (roof - belt)
    plate = Material(color=(0.8, 0.8, 0.75), contrast=0.1, lidar_reflectance=0.95)
    dark = Material(color=(0.03, 0.03, 0.03), contrast=0.2)
    pillar = 0.5 * dice.uniform(0.09, 0.13)
    taper = (0.36, 0.2)
    bent = (cabin_x, hy - 0.06, window_half)
    seat = (middle, 0.0, belt + window_half)
    return (
        Part(
            name="body",
            shape=low,
            pose=Pose(position_m=(0, 0, 0.5 * (belt + 0.16))),
            material=paint,
        ),
        _box("body", (0, 0, 0.3), (hx + 0.03, hy - 0.1, 0.12), dark, casts_shadow=False),
        *_arches(axles, hy - 0.005, radius),
        _box("window", seat, bent, _GLASS, taper=taper, top_shift_m=shift),
        _box(
            "body",
            (middle + shift, 0, roof + 0.025),
            (cabin_x * (1 - taper[0]) + 0.02, bent[1] * (1 - taper[1]) + 0.02, 0.045),
            paint,
            taper=(0.08, 0.1),
        ),
        *(
            _box(
                "body",
                (middle + x * cabin_x, 0, seat[2]),
                (pillar, bent[1] + 0.012, window_half),
                paint,
                taper=(0.1, taper[1]),
                top_shift_m=shift * 0.8,
                casts_shadow=False,
            )
            for x in (-0.02, -0.60)
        ),
        *_wheels(axles, hy - 0.10, radius),
        *_lamps(hx - 0.01, -hx + 0.01, hy - 0.3, 0.68),
        _box(
            "plate", (hx + 0.02, 0, 0.42), (0.02, 0.26, 0.06), plate, number=0, casts_shadow=False
        ),
        _box(
            "plate", (-hx - 0.02, 0, 0.5), (0.02, 0.26, 0.06), plate, number=1, casts_shadow=False
        ),
        *(
            _box(
                "mirror",
                (middle + 0.55 * cabin_x, side * (hy + 0.05), belt + 0.06),
                (0.06, 0.09, 0.06),
                paint,
                number=int(side < 0),
                casts_shadow=False,
            )
            for side in (1.0, -1.0)
        ),
    )


def truck_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a box truck: cab with windows, cargo body, six wheels, lamps."""
    length, width = dice.uniform(6.5, 9.0), dice.uniform(2.3, 2.5)
    hx, hy = 0.5 * length, 0.5 * width
    cab = dice.uniform(1.7, 2.1)
    top = dice.uniform(3.0, 3.7)
    paint = _paint(dice)
    cargo = Material(
        pattern=Pattern.CARGO,
        color=dice.vary(dice.choice(SHARED_COLORS), 0.2),
        accent=dice.vary(dice.choice(SHARED_COLORS), 0.2),
        scale_m=0.3,
        lidar_reflectance=0.5,
    )
    dark = Material(color=(0.04, 0.04, 0.045), contrast=0.3)
    front = hx - 0.5 * cab
    axles = (hx - 0.9, -hx + 1.7, -hx + 0.75)
    return (
        _box("body", (0, 0, 0.62), (hx - 0.05, hy - 0.35, 0.16), dark),
        _box("body", (front, 0, 1.45), (0.5 * cab, hy - 0.05, 0.95), paint, taper=(0.08, 0.06)),
        _box("window", (hx - 0.05, 0, 1.85), (0.05, hy - 0.2, 0.34), _GLASS, top_shift_m=-0.06),
        _box("window", (front + 0.15, 0, 1.85), (0.42, hy - 0.045, 0.3), _GLASS, taper=(0.1, 0.02)),
        _box(
            "cargo",
            (-0.5 * cab - 0.1, 0, 0.5 * (top + 0.8)),
            (hx - 0.5 * cab - 0.1, hy, 0.5 * (top - 0.8)),
            cargo,
        ),
        *_wheels(axles, hy - 0.16, 0.46, 0.3),
        *_lamps(hx + 0.0, -hx + 0.02, hy - 0.3, 0.85),
    )


def bus_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a city bus: body, window band, doors, four wheels, lamps."""
    length = dice.uniform(10.5, 12.5)
    hx, hy = 0.5 * length, 1.26
    paint = _paint(dice)
    windows = 8
    pitch = (length - 1.6) / windows
    panes = tuple(
        _box(
            "window",
            (-hx + 0.8 + pitch * (k + 0.5), 0, 1.95),
            (0.43 * pitch, hy + 0.012, 0.48),
            _GLASS,
            number=k,
            casts_shadow=False,
        )
        for k in range(windows)
    )
    axles = (0.32 * length, -0.28 * length)
    return (
        _box("body", (0, 0, 1.62), (hx, hy, 1.32), paint, taper=(0.01, 0.04)),
        _box("body", (-0.1 * length, 0, 3.02), (0.25 * length, 0.8, 0.12), paint, taper=(0.1, 0.2)),
        _box("window", (hx, 0, 1.9), (0.04, hy - 0.15, 0.75), _GLASS, number=windows),
        _box("window", (-hx, 0, 2.1), (0.04, hy - 0.3, 0.45), _GLASS, number=windows + 1),
        *panes,
        *_arches(axles, hy + 0.002, 0.48),
        *_wheels(axles, hy - 0.12, 0.48, 0.3),
        *_lamps(hx + 0.02, -hx - 0.02, hy - 0.3, 0.75),
    )


_FRAME_JOINTS: tuple[tuple[Vector3, Vector3], ...] = (
    ((-0.52, 0, 0.34), (-0.05, 0, 0.32)),
    ((-0.05, 0, 0.32), (-0.18, 0, 0.88)),
    ((-0.18, 0, 0.84), (0.36, 0, 0.86)),
    ((-0.05, 0, 0.32), (0.38, 0, 0.76)),
    ((0.34, 0, 1.0), (0.52, 0, 0.34)),
    ((-0.52, 0, 0.34), (-0.17, 0, 0.80)),
)
"""Tubes of a bicycle frame as pairs of end points, meters."""


def bicycle_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a bicycle: two wheels, a frame of tubes, saddle and handlebar."""
    paint = Material(color=dice.vary(dice.choice(_CAR_PAINTS), 0.2), gloss=0.3)
    tire = Material(pattern=Pattern.WHEEL, color=_RUBBER, accent=(0.25, 0.25, 0.25), scale_m=0.34)
    dark = Material(color=(0.03, 0.03, 0.03))
    wheels = tuple(
        Part(
            name="wheel",
            shape=Cylinder(radius_m=0.34, half_height_m=0.02),
            pose=Pose(position_m=(x, 0, 0.34), roll_rad=_TURN_TO_Y),
            material=tire,
            number=k,
        )
        for k, x in enumerate((0.52, -0.52))
    )
    tubes = tuple(bent_limb("frame", a, b, 0.028, paint) for a, b in _FRAME_JOINTS)
    return (
        *wheels,
        *tubes,
        _box("saddle", (-0.2, 0, 0.93), (0.13, 0.07, 0.03), dark),
        _box("handlebar", (0.34, 0, 1.03), (0.03, 0.28, 0.02), dark),
    )


def rider_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a person in the posture of riding; stands in the frame of the bicycle."""
    return person_parts(dice, riding=True)


def planter_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a round tub with a small shrub."""
    tub = Material(
        pattern=Pattern.BRICK, color=dice.vary(dice.choice(SHARED_COLORS), 0.2), scale_m=0.2
    )
    leaves = Material(
        pattern=Pattern.FOLIAGE, color=(0.04, 0.10, 0.03), accent=(0.16, 0.26, 0.07), scale_m=0.12
    )
    ball = Ellipsoid(radii_m=(0.42, 0.42, 0.45), hole_scale_m=0.06)
    return (
        Part(
            name="tub",
            shape=Cylinder(radius_m=0.38, half_height_m=0.28),
            pose=Pose(position_m=(0, 0, 0.28)),
            material=tub,
        ),
        Part(name="leaves", shape=ball, pose=Pose(position_m=(0, 0, 0.9)), material=leaves),
    )
