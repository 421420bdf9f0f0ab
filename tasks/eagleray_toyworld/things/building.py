"""Houses and blocks: walls with windows, ground floors, roofs, doors, chimneys."""

from __future__ import annotations

from eagleray_toyworld.scene.dice import SHARED_COLORS, Dice
from eagleray_toyworld.scene.material import Color, Material, Pattern
from eagleray_toyworld.scene.pose import Pose
from eagleray_toyworld.scene.scene import Part
from eagleray_toyworld.scene.shape import Box

_PLASTER: tuple[Color, ...] = (
    (0.62, 0.56, 0.44),
    (0.50, 0.40, 0.27),
    (0.66, 0.64, 0.60),
    (0.58, 0.45, 0.38),
    (0.40, 0.44, 0.46),
    *SHARED_COLORS[:6],
)
_ROOF: tuple[Color, ...] = ((0.30, 0.11, 0.07), (0.13, 0.13, 0.15), (0.22, 0.15, 0.11))


def _roof(dice: Dice, half_x: float, half_y: float, top: float) -> tuple[Part, ...]:
    if dice.chance(0.35):
        rim = Material(color=(0.38, 0.37, 0.35), contrast=0.2)
        shape = Box(half_size_m=(half_x + 0.15, half_y + 0.15, 0.22))
        return (
            Part(name="roof", shape=shape, pose=Pose(position_m=(0, 0, top + 0.22)), material=rim),
        )
    tiles = Material(
        pattern=Pattern.TILES, color=dice.vary(dice.choice(_ROOF), 0.25), scale_m=0.3, contrast=0.35
    )
    half = dice.uniform(0.9, 1.8)
    shape = Box(half_size_m=(half_x + 0.3, half_y + 0.35, half), taper=(0.04, 0.94))
    brick = Material(
        pattern=Pattern.BRICK, color=(0.3, 0.13, 0.09), scale_m=0.25, accent=(0.4, 0.4, 0.38)
    )
    chimney = Box(half_size_m=(0.35, 0.3, 1.1))
    place = (dice.uniform(-0.6, 0.6) * half_x, 0.2 * half_y, top + 1.7 * half)
    return (
        Part(name="roof", shape=shape, pose=Pose(position_m=(0, 0, top + half)), material=tiles),
        Part(name="chimney", shape=chimney, pose=Pose(position_m=place), material=brick),
    )


def building_parts(dice: Dice, half_x: float, half_y: float) -> tuple[Part, ...]:
    """Return a building centered on the origin; both long sides (+y and -y) are fronts.

    Args:
        dice: Random source: stories, wall, colors, roof.
        half_x: Half of the length along the street, meters.
        half_y: Half of the depth, meters.
    """
    bay = dice.uniform(1.7, 2.6)
    stories = dice.integer(2, 5)
    ground_floor = dice.uniform(2.8, 3.4)
    top = ground_floor + stories * 1.2 * bay
    half_wall = 0.5 * (top - ground_floor)
    wall = Material(
        pattern=Pattern.FACADE,
        color=dice.vary(dice.choice(_PLASTER), 0.2),
        accent=dice.vary((0.05, 0.07, 0.1), 0.3),
        scale_m=bay,
        contrast=0.16,
    )
    base = Material(
        pattern=dice.choice((Pattern.BRICK, Pattern.PLAIN, Pattern.FACADE)),
        color=dice.vary(dice.choice(_PLASTER), 0.25),
        accent=dice.vary((0.3, 0.3, 0.3), 0.5),
        scale_m=0.55 if dice.chance(0.5) else bay,
        contrast=0.2,
    )
    door = Material(
        pattern=Pattern.SLATS,
        color=dice.vary(dice.choice(SHARED_COLORS), 0.3),
        accent=(0.02, 0.02, 0.02),
        scale_m=0.3,
    )
    count = max(1, int(half_x / 3.0))
    doors = tuple(
        Part(
            name="door",
            shape=Box(half_size_m=(dice.uniform(0.5, 1.1), half_y + 0.06, 1.1)),
            pose=Pose(position_m=(half_x * ((2 * k + 1) / count - 1.0), 0, 1.1)),
            material=door,
            number=k,
            casts_shadow=False,
        )
        for k in range(count)
    )
    ledge = Material(color=(0.5, 0.49, 0.46), contrast=0.15)
    return (
        Part(
            name="wall",
            shape=Box(half_size_m=(half_x, half_y, half_wall)),
            pose=Pose(position_m=(0, 0, ground_floor + half_wall)),
            material=wall,
        ),
        Part(
            name="base",
            shape=Box(half_size_m=(half_x, half_y + 0.04, 0.5 * ground_floor)),
            pose=Pose(position_m=(0, 0, 0.5 * ground_floor)),
            material=base,
        ),
        Part(
            name="ledge",
            shape=Box(half_size_m=(half_x + 0.02, half_y + 0.18, 0.1)),
            pose=Pose(position_m=(0, 0, ground_floor)),
            material=ledge,
        ),
        *doors,
        *_roof(dice, half_x, half_y, top),
    )
