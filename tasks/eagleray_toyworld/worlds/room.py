"""Closed rooms for radiance fields: model cars on a table, furniture and people.

All depth is finite.

Rooms are bounded, because a radiance field needs a bounding box; their diagonal stays below 10 m,
the longest depth of Replica's 16-bit depth files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from eagleray_toyworld.rendering.camera import Pinhole, pinhole_with_fov
from eagleray_toyworld.scene.classes import STATIC
from eagleray_toyworld.scene.collector import Collector
from eagleray_toyworld.scene.dice import SHARED_COLORS, Dice
from eagleray_toyworld.scene.material import Material, Pattern
from eagleray_toyworld.scene.pose import Pose, Vector3, look_at
from eagleray_toyworld.scene.scene import Part, Scene
from eagleray_toyworld.scene.shape import Box, Cylinder, Ellipsoid, Shape
from eagleray_toyworld.things.furniture import bin_parts, sign_parts
from eagleray_toyworld.things.person import bent_limb, person_parts
from eagleray_toyworld.things.vehicle import (
    bicycle_parts,
    bus_parts,
    car_parts,
    planter_parts,
    truck_parts,
)
from eagleray_toyworld.worlds.room_light import room_sky, room_sun

ROOM_HALF_M = (3.2, 2.8)
ROOM_HEIGHT_M = 2.8
_TABLE_HEIGHT_M = 0.72
_WALL_M = 0.1


def _scaled_shape(shape: Shape, factor: float) -> Shape:
    if isinstance(shape, Box):
        x, y, z = shape.half_size_m
        return replace(
            shape,
            half_size_m=(x * factor, y * factor, z * factor),
            top_shift_m=shape.top_shift_m * factor,
        )
    if isinstance(shape, Ellipsoid):
        x, y, z = shape.radii_m
        hole = shape.hole_scale_m * factor
        return replace(shape, radii_m=(x * factor, y * factor, z * factor), hole_scale_m=hole)
    if isinstance(shape, Cylinder):
        return Cylinder(
            radius_m=shape.radius_m * factor, half_height_m=shape.half_height_m * factor
        )
    return shape


def scale_parts(parts: tuple[Part, ...], factor: float) -> tuple[Part, ...]:
    """Return the parts of a model at another scale, textures included."""
    scaled = []
    for part in parts:
        x, y, z = part.pose.position_m
        pose = replace(part.pose, position_m=(x * factor, y * factor, z * factor))
        material = replace(part.material, scale_m=part.material.scale_m * factor)
        shape = _scaled_shape(part.shape, factor)
        scaled.append(replace(part, pose=pose, material=material, shape=shape))
    return tuple(scaled)


def _block(
    name: str, center: Vector3, half: Vector3, material: Material, *, shadow: bool = True
) -> Part:
    shape = Box(half_size_m=half)
    return Part(
        name=name, shape=shape, pose=Pose(position_m=center), material=material, casts_shadow=shadow
    )


def _add_shell(out: Collector, dice: Dice) -> None:
    """Add floor, ceiling and four walls, each an object of its own; none of them takes light."""
    hx, hy = ROOM_HALF_M
    h = ROOM_HEIGHT_M
    w = _WALL_M
    floor = Material(
        pattern=dice.choice((Pattern.PAVING, Pattern.SLATS)),
        color=dice.vary((0.34, 0.26, 0.18), 0.3),
        accent=(0.08, 0.06, 0.05),
        scale_m=dice.uniform(0.25, 0.5),
        contrast=0.3,
    )
    white = Material(color=(0.72, 0.71, 0.68), contrast=0.06)
    out.add("road", (_block("floor", (0, 0, -w), (hx + w, hy + w, w), floor, shadow=False),))
    out.add("building", (_block("ceiling", (0, 0, h + w), (hx, hy, w), white, shadow=False),))
    for x, y, half in (
        (hx + w, 0.0, (w, hy + w, 0.5 * h)),
        (-hx - w, 0.0, (w, hy + w, 0.5 * h)),
        (0.0, hy + w, (hx, w, 0.5 * h)),
        (0.0, -hy - w, (hx, w, 0.5 * h)),
    ):
        wall = Material(
            pattern=dice.choice((Pattern.BRICK, Pattern.PLAIN, Pattern.TILES)),
            color=dice.vary(dice.choice(SHARED_COLORS[:1] + SHARED_COLORS[3:8]), 0.3),
            accent=(0.45, 0.44, 0.42),
            scale_m=0.3,
            contrast=0.25,
        )
        out.add("wall", (_block("wall", (x, y, 0.5 * h), half, wall, shadow=False),))


def _table_parts(dice: Dice, half_x: float, half_y: float) -> tuple[Part, ...]:
    wood = Material(
        pattern=Pattern.SLATS,
        color=dice.vary((0.30, 0.19, 0.10), 0.3),
        accent=(0.1, 0.06, 0.03),
        scale_m=0.2,
        contrast=0.3,
    )
    legs = tuple(
        bent_limb("leg", (x, y, 0), (x, y, _TABLE_HEIGHT_M - 0.04), 0.04, wood, 2 * i + j)
        for i, x in enumerate((half_x - 0.1, 0.1 - half_x))
        for j, y in enumerate((half_y - 0.1, 0.1 - half_y))
    )
    top = _block("top", (0, 0, _TABLE_HEIGHT_M - 0.025), (half_x, half_y, 0.025), wood)
    return (top, *legs)


def _add_table(out: Collector, dice: Dice) -> None:
    """Stand a table in the middle with three vehicle models and a potted plant."""
    out.add(STATIC, _table_parts(dice, 1.15, 0.75), Pose(yaw_rad=dice.uniform(-0.3, 0.3)))
    models = (("truck", truck_parts, 0.11), ("car", car_parts, 0.2), ("bus", bus_parts, 0.075))
    for row, (kind, build, scale) in enumerate(models):
        pose = Pose(
            position_m=(dice.uniform(-0.35, 0.2), 0.46 * (row - 1), _TABLE_HEIGHT_M),
            yaw_rad=dice.uniform(-0.2, 0.2) + math.pi * dice.integer(0, 1),
        )
        out.add(kind, scale_parts(build(dice), scale * dice.uniform(0.9, 1.1)), pose)
    plant = scale_parts(planter_parts(dice), 0.25)
    out.add("vegetation", plant, Pose(position_m=(0.92, 0.0, _TABLE_HEIGHT_M)))


def _add_furniture(out: Collector, dice: Dice) -> None:
    """Stand people, plants, bins, a bicycle and a sign along the walls."""
    hx, hy = ROOM_HALF_M
    out.add("person", person_parts(dice), Pose(position_m=(hx - 0.55, 0.9, 0), yaw_rad=3.0))
    out.add("person", person_parts(dice), Pose(position_m=(-1.9, hy - 0.55, 0), yaw_rad=-1.4))
    out.add("bicycle", bicycle_parts(dice), Pose(position_m=(0.6, hy - 0.35, 0)))
    out.add("vegetation", planter_parts(dice), Pose(position_m=(hx - 0.6, -hy + 0.6, 0)))
    out.add("vegetation", planter_parts(dice), Pose(position_m=(-hx + 0.6, hy - 0.6, 0)))
    out.add(STATIC, bin_parts(dice), Pose(position_m=(-hx + 0.5, -hy + 0.6, 0)))
    sign = Pose(position_m=(-0.6, -hy + 0.02, 0), yaw_rad=-math.pi / 2)
    out.add("traffic sign", sign_parts(dice, 1.55), sign)
    for k in range(3):
        half = dice.uniform(0.2, 0.34)
        crate = Material(
            pattern=Pattern.SLATS,
            color=dice.vary(dice.choice(SHARED_COLORS), 0.3),
            accent=(0.03, 0.03, 0.03),
            scale_m=0.12,
            contrast=0.3,
        )
        place = Pose(position_m=(-hx + 0.45, -1.1 + 0.85 * k, 0), yaw_rad=dice.uniform(-0.3, 0.3))
        out.add(STATIC, (_block("crate", (0, 0, half), (half, half, half), crate),), place)


def room_scene(seed: int, index: int) -> Scene:
    """Build one furnished room; the same numbers give the same room everywhere.

    Args:
        seed: Seed of the world, not negative.
        index: Number of the room under that seed, not negative.

    Returns:
        A static scene inside :data:`ROOM_HALF_M` and :data:`ROOM_HEIGHT_M`, floor at z = 0.

    Raises:
        ValueError: A number is negative.
    """
    dice = Dice(seed, index, purpose=2)
    out = Collector()
    _add_shell(out, dice)
    _add_table(out, dice)
    _add_furniture(out, dice)
    light = room_sun(dice)
    sky = room_sky(1.15)
    return Scene(seed=seed, index=index, objects=tuple(out.objects), sun=light, sky=sky)


def room_bounds_m() -> tuple[Vector3, Vector3]:
    """Return the lower and upper corner of the box that holds all surfaces of a room, meters."""
    hx, hy = ROOM_HALF_M
    return (-hx, -hy, 0.0), (hx, hy, ROOM_HEIGHT_M)


@dataclass(frozen=True, kw_only=True)
class RoomPath:
    """A closed walk around the table, looking at it from changing height.

    Attributes:
        num_views: Views on the path.
        size_hw: Image height and width, pixels.
        horizontal_fov_deg: Horizontal field of view, degrees.
        turns: Rounds around the table.
    """

    num_views: int
    size_hw: tuple[int, int]
    horizontal_fov_deg: float = 75.0
    turns: int = 2

    def camera(self, view_idx: int) -> Pinhole:
        """Return the camera of one view."""
        angle = 2.0 * math.pi * self.turns * view_idx / self.num_views
        slow = 2.0 * math.pi * view_idx / self.num_views
        radius = 2.0 + 0.25 * math.sin(3.0 * slow)
        eye = (radius * math.cos(angle), radius * math.sin(angle), 1.55 + 0.45 * math.sin(slow))
        target = (0.25 * math.sin(2.0 * slow), 0.25 * math.cos(3.0 * slow), 0.85)
        return pinhole_with_fov(self.size_hw, self.horizontal_fov_deg, look_at(eye, target))
