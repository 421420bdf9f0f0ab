"""Street furniture: lamp posts, signs, traffic lights, fences, walls, bins.

Object frame: x along the object's front, z up, origin on the ground.
"""

from __future__ import annotations

import math

from eagleray_toyworld.scene.dice import SHARED_COLORS, Dice
from eagleray_toyworld.scene.material import Color, Material, Pattern
from eagleray_toyworld.scene.pose import Pose
from eagleray_toyworld.scene.scene import Part
from eagleray_toyworld.scene.shape import Box, Cylinder
from eagleray_toyworld.things.person import bent_limb

_STEEL: tuple[Color, ...] = ((0.35, 0.35, 0.36), (0.12, 0.14, 0.13), (0.22, 0.23, 0.24))
_SIGN_FACES: tuple[tuple[Color, Color], ...] = (
    ((0.75, 0.75, 0.72), (0.5, 0.03, 0.03)),
    ((0.04, 0.14, 0.5), (0.75, 0.75, 0.72)),
    ((0.5, 0.03, 0.03), (0.75, 0.75, 0.72)),
    ((0.7, 0.5, 0.05), (0.05, 0.05, 0.05)),
)


def _steel(dice: Dice) -> Material:
    return Material(color=dice.choice(_STEEL), contrast=0.2, gloss=0.15, lidar_reflectance=0.4)


def post_parts(dice: Dice, height_m: float, radius_m: float = 0.05) -> tuple[Part, ...]:
    """Return a bare vertical post."""
    return (bent_limb("post", (0, 0, 0), (0, 0, height_m), radius_m, _steel(dice)),)


def lamp_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a street lamp: post, arm towards +x, lamp head."""
    height, reach = dice.uniform(5.5, 7.5), dice.uniform(1.2, 2.2)
    steel = _steel(dice)
    glass = Material(color=(0.8, 0.78, 0.7), contrast=0.05, glow=0.2, gloss=0.3)
    return (
        bent_limb("post", (0, 0, 0), (0, 0, height), 0.085, steel),
        bent_limb("post", (0, 0, 0), (0, 0, 0.9), 0.13, steel),
        bent_limb("arm", (0, 0, height - 0.05), (reach, 0, height + 0.3), 0.05, steel),
        Part(
            name="lamp",
            shape=Box(half_size_m=(0.35, 0.13, 0.06), taper=(0.2, 0.3)),
            pose=Pose(position_m=(reach, 0, height + 0.3)),
            material=glass,
        ),
    )


def sign_parts(dice: Dice, height_m: float) -> tuple[Part, ...]:
    """Return the plate of a traffic sign that faces -x, centered at the given height."""
    face, rim = dice.choice(_SIGN_FACES)
    half = dice.uniform(0.3, 0.42)
    material = Material(
        pattern=Pattern.SIGN, color=face, accent=rim, scale_m=half, lidar_reflectance=0.98
    )
    pose = Pose(position_m=(-0.08, 0, height_m), pitch_rad=-math.pi / 2)
    if dice.chance(0.6):
        return (
            Part(
                name="plate",
                shape=Cylinder(radius_m=half, half_height_m=0.012),
                pose=pose,
                material=material,
            ),
        )
    shape = Box(half_size_m=(half, half * dice.uniform(0.8, 1.3), 0.012))
    return (Part(name="plate", shape=shape, pose=pose, material=material),)


def signal_parts(dice: Dice, height_m: float) -> tuple[Part, ...]:
    """Return the case of a traffic light that faces -x, centered at the given height."""
    half = dice.uniform(0.42, 0.52)
    case = Material(
        pattern=Pattern.SIGNAL,
        color=(0.025, 0.03, 0.028),
        scale_m=half,
        glow=0.25,
        lidar_reflectance=0.1,
    )
    return (
        Part(
            name="case",
            shape=Box(half_size_m=(0.13, 0.17, half)),
            pose=Pose(position_m=(-0.16, 0, height_m)),
            material=case,
        ),
    )


def fence_parts(dice: Dice, length_m: float) -> tuple[Part, ...]:
    """Return a fence along x: posts and rails, or closed boards."""
    color = dice.vary(dice.choice(SHARED_COLORS), 0.2)
    height = dice.uniform(0.9, 1.4)
    if dice.chance(0.5):
        boards = Material(
            pattern=Pattern.SLATS,
            color=color,
            accent=(0.03, 0.03, 0.03),
            scale_m=0.14,
            contrast=0.3,
        )
        shape = Box(half_size_m=(0.5 * length_m, 0.03, 0.5 * height))
        return (
            Part(
                name="boards",
                shape=shape,
                pose=Pose(position_m=(0, 0, 0.5 * height)),
                material=boards,
            ),
        )
    steel = Material(color=color, contrast=0.2, gloss=0.1)
    half = 0.5 * length_m
    rails = tuple(
        bent_limb("rail", (-half, 0, z * height), (half, 0, z * height), 0.03, steel, k)
        for k, z in enumerate((0.3, 0.65, 1.0))
    )
    count = max(2, round(length_m / 2.0) + 1)
    posts = tuple(
        bent_limb("post", (x, 0, 0), (x, 0, height + 0.05), 0.045, steel, k)
        for k, x in enumerate(-half + length_m * i / (count - 1) for i in range(count))
    )
    return (*rails, *posts)


def wall_parts(dice: Dice, length_m: float) -> tuple[Part, ...]:
    """Return a free-standing garden wall along x with a coping."""
    height = dice.uniform(0.8, 1.9)
    stone = Material(
        pattern=Pattern.BRICK,
        color=dice.vary(dice.choice(SHARED_COLORS), 0.2),
        accent=(0.4, 0.39, 0.36),
        scale_m=dice.uniform(0.25, 0.6),
        contrast=0.3,
    )
    cap = Material(color=(0.4, 0.39, 0.37), contrast=0.25)
    return (
        Part(
            name="wall",
            shape=Box(half_size_m=(0.5 * length_m, 0.14, 0.5 * height)),
            pose=Pose(position_m=(0, 0, 0.5 * height)),
            material=stone,
        ),
        Part(
            name="coping",
            shape=Box(half_size_m=(0.5 * length_m + 0.04, 0.18, 0.04), taper=(0.0, 0.3)),
            pose=Pose(position_m=(0, 0, height + 0.04)),
            material=cap,
        ),
    )


def bin_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a litter bin."""
    color = dice.vary(dice.choice(SHARED_COLORS), 0.2)
    body = Material(pattern=Pattern.SLATS, color=color, scale_m=0.08, contrast=0.2)
    return (
        bent_limb("bin", (0, 0, 0), (0, 0, 0.8), 0.24, body),
        bent_limb("lid", (0, 0, 0.8), (0, 0, 0.87), 0.27, Material(color=(0.05, 0.05, 0.05))),
    )
