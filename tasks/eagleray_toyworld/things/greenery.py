"""Trees, shrubs and hedges: trunks and ragged clumps of leaves."""

from __future__ import annotations

import math

from eagleray_toyworld.scene.dice import Dice
from eagleray_toyworld.scene.material import Color, Material, Pattern
from eagleray_toyworld.scene.pose import Pose
from eagleray_toyworld.scene.scene import Part
from eagleray_toyworld.scene.shape import Box, Ellipsoid
from eagleray_toyworld.things.person import bent_limb

_LEAVES: tuple[tuple[Color, Color], ...] = (
    ((0.030, 0.085, 0.020), (0.135, 0.230, 0.050)),
    ((0.050, 0.100, 0.020), (0.240, 0.260, 0.060)),
    ((0.020, 0.060, 0.030), (0.090, 0.160, 0.070)),
    ((0.170, 0.080, 0.020), (0.400, 0.220, 0.050)),
)


def _leaves(dice: Dice, scale_m: float) -> Material:
    dark, light = dice.choice(_LEAVES)
    return Material(
        pattern=Pattern.FOLIAGE,
        color=dice.vary(dark, 0.3),
        accent=dice.vary(light, 0.25),
        scale_m=scale_m,
        contrast=0.45,
        lidar_reflectance=0.35,
    )


def tree_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a broad-leaved tree: trunk, two branches, a crown of six to nine clumps."""
    trunk_height = dice.uniform(2.0, 3.2)
    crown = dice.uniform(1.5, 2.6)
    radius = dice.uniform(0.12, 0.22)
    bark = Material(pattern=Pattern.BARK, color=dice.vary((0.13, 0.09, 0.06), 0.3), contrast=0.6)
    leaves = _leaves(dice, 0.32)
    center = trunk_height + 0.75 * crown
    parts = [bent_limb("trunk", (0, 0, 0), (0, 0, center), radius, bark)]
    count = dice.integer(6, 9)
    for k in range(count):
        angle = 2.4 * k + dice.uniform(-0.4, 0.4)
        spread = crown * (0.0 if k == 0 else dice.uniform(0.4, 0.65))
        height = center + crown * (0.55 if k == 0 else dice.uniform(-0.4, 0.45))
        size = crown * dice.uniform(0.45, 0.62)
        position = (spread * math.cos(angle), spread * math.sin(angle), height)
        if k in (1, 2):
            parts.append(bent_limb("trunk", (0, 0, trunk_height), position, 0.45 * radius, bark))
        ball = Ellipsoid(radii_m=(size, size, 0.85 * size), hole_scale_m=0.22)
        parts.append(
            Part(name="crown", shape=ball, pose=Pose(position_m=position), material=leaves)
        )
    return tuple(parts)


def conifer_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a fir: trunk and a stack of shrinking whorls."""
    height = dice.uniform(4.5, 8.0)
    base = dice.uniform(1.1, 1.7)
    bark = Material(pattern=Pattern.BARK, color=(0.10, 0.07, 0.05), contrast=0.6)
    leaves = _leaves(dice, 0.25)
    parts = [bent_limb("trunk", (0, 0, 0), (0, 0, 0.9 * height), 0.12, bark)]
    levels = 5
    for k in range(levels):
        share = k / levels
        size = base * (1.0 - 0.82 * share)
        ball = Ellipsoid(radii_m=(size, size, 0.16 * height), hole_scale_m=0.2)
        z = height * (0.22 + 0.72 * share)
        parts.append(
            Part(name="crown", shape=ball, pose=Pose(position_m=(0, 0, z)), material=leaves)
        )
    return tuple(parts)


def shrub_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a low shrub of three clumps."""
    leaves = _leaves(dice, 0.16)
    parts = []
    for k in range(3):
        size = dice.uniform(0.4, 0.75)
        ball = Ellipsoid(radii_m=(size, size, 0.8 * size), hole_scale_m=0.12)
        position = (0.55 * (k - 1), dice.uniform(-0.25, 0.25), 0.6 * size)
        parts.append(
            Part(name="leaves", shape=ball, pose=Pose(position_m=position), material=leaves)
        )
    return tuple(parts)


def hedge_parts(dice: Dice, length_m: float) -> tuple[Part, ...]:
    """Return a clipped hedge along x."""
    height = dice.uniform(0.8, 1.7)
    shape = Box(half_size_m=(0.5 * length_m, 0.4, 0.5 * height), taper=(0.02, 0.15))
    pose = Pose(position_m=(0, 0, 0.5 * height))
    return (Part(name="leaves", shape=shape, pose=pose, material=_leaves(dice, 0.2)),)
