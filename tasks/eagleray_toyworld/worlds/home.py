"""Rooms of homes: living rooms, bedrooms, kitchens, bathrooms, halls, furnished along the walls.

Classes are those of Matterport3D and Stanford2D3D that a toy can have (`INDOOR_CLASSES`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from eagleray_toyworld.rendering.camera import Equirectangular, Pinhole, pinhole_with_fov
from eagleray_toyworld.scene.classes import indoor_class
from eagleray_toyworld.scene.collector import Collector
from eagleray_toyworld.scene.dice import SHARED_COLORS, Dice
from eagleray_toyworld.scene.material import Material, Pattern
from eagleray_toyworld.scene.pose import Pose, camera_at
from eagleray_toyworld.scene.scene import Part, Scene
from eagleray_toyworld.things import interior
from eagleray_toyworld.things.slab import slab
from eagleray_toyworld.worlds.room_light import room_sky, room_sun

_WALL_M = 0.1
_EYE_M = 1.45
_PURPOSE = 3
"""Stream of random numbers; streets and rooms of models have others."""


@dataclass(frozen=True, kw_only=True)
class _Size:
    """Half extent along x and y and height of a room, meters."""

    half_x: float
    half_y: float
    height: float


Builder = Callable[[Dice], tuple[Part, ...]]


@dataclass(frozen=True, kw_only=True)
class _Item:
    """What can stand or hang at a wall: class, builder, how much of the wall it takes, meters."""

    kind: str
    build: Builder
    width: float


def _item(kind: str, build: Builder, width: float) -> _Item:
    return _Item(kind=kind, build=build, width=width)


_SOFA = _item("sofa", interior.sofa_parts, 2.2)
_SHELVING = _item("shelving", interior.shelving_parts, 1.5)
_LAMP = _item("lamp", interior.lamp_parts, 0.6)
_BED = _item("bed", interior.bed_parts, 1.9)
_CHAIR = _item("chair", interior.chair_parts, 0.7)
_TABLE = _item("table", interior.table_parts, 1.9)
_TOILET = _item("toilet", interior.toilet_parts, 0.8)
_BATHTUB = _item("bathtub", interior.bathtub_parts, 1.9)
_BASIN = _item("sink", lambda dice: interior.sink_parts(dice, 0.85, hung=True), 0.8)
_SHOWER = _item("shower", interior.shower_parts, 1.0)
_STAIRS = _item("stairs", interior.stairs_parts, 2.3)
_COUNTER = _item("counter", lambda dice: interior.counter_parts(dice, 1.0), 2.1)
_DOOR = _item("door", interior.door_parts, 1.1)
_BOARD = _item("board", interior.board_parts, 2.0)
_WINDOW = _item("window", interior.window_parts, 1.8)
_PICTURE = _item("picture", interior.picture_parts, 1.2)
_MIRROR = _item("mirror", interior.mirror_parts, 0.9)

_KINDS: dict[str, tuple[tuple[_Item, ...], bool]] = {
    "living room": ((_SOFA, _SHELVING, _LAMP, _PICTURE, _WINDOW, _CHAIR, _SOFA, _DOOR), True),
    "bedroom": ((_BED, _SHELVING, _LAMP, _MIRROR, _WINDOW, _CHAIR, _PICTURE, _DOOR), False),
    "kitchen": ((_COUNTER, _COUNTER, _WINDOW, _SHELVING, _CHAIR, _DOOR, _PICTURE), True),
    "bathroom": ((_BATHTUB, _TOILET, _BASIN, _SHOWER, _WINDOW, _DOOR, _MIRROR, _TOILET), False),
    "hall": ((_STAIRS, _DOOR, _DOOR, _PICTURE, _MIRROR, _TABLE, _LAMP, _BOARD), False),
    "study": ((_BOARD, _TABLE, _CHAIR, _SHELVING, _WINDOW, _DOOR, _LAMP, _CHAIR), True),
}
"""What may be at the walls, and whether a table with chairs stands in the middle."""


def _add_shell(out: Collector, dice: Dice, size: _Size) -> None:
    """Add floor, ceiling, a beam in some rooms, and four walls; none of them takes light."""
    hx, hy, h, w = size.half_x, size.half_y, size.height, _WALL_M
    floor = Material(
        pattern=dice.choice((Pattern.PAVING, Pattern.SLATS, Pattern.TILES, Pattern.PLAIN)),
        color=dice.vary(
            dice.choice(((0.34, 0.26, 0.18), (0.30, 0.29, 0.27), (0.2, 0.12, 0.07))), 0.3
        ),
        accent=(0.08, 0.06, 0.05),
        scale_m=dice.uniform(0.15, 0.5),
        contrast=0.3,
    )
    white = Material(color=dice.vary((0.74, 0.73, 0.70), 0.05), contrast=0.04)
    out.add(indoor_class("floor"), (slab("floor", (0, 0, -w), (hx + w, hy + w, w), floor),))
    out.add(indoor_class("ceiling"), (slab("ceiling", (0, 0, h + w), (hx, hy, w), white),))
    paper = Material(
        pattern=dice.choice((Pattern.PLAIN, Pattern.PLAIN, Pattern.TILES, Pattern.BRICK)),
        color=dice.vary(dice.choice(((0.62, 0.56, 0.44), (0.55, 0.55, 0.53), *SHARED_COLORS)), 0.2),
        accent=(0.45, 0.44, 0.42),
        scale_m=dice.uniform(0.15, 0.4),
        contrast=0.15,
    )
    for x, y, half in (
        (hx + w, 0.0, (w, hy + w, 0.5 * h)),
        (-hx - w, 0.0, (w, hy + w, 0.5 * h)),
        (0.0, hy + w, (hx, w, 0.5 * h)),
        (0.0, -hy - w, (hx, w, 0.5 * h)),
    ):
        out.add(indoor_class("wall"), (slab("wall", (x, y, 0.5 * h), half, paper),))
    if dice.chance(0.4):
        wood = Material(pattern=Pattern.SLATS, color=(0.16, 0.09, 0.05), scale_m=0.3, contrast=0.3)
        x = dice.uniform(-0.5, 0.5) * hx
        beam = slab("beam", (x, 0.0, h - 0.12), (0.12, hy, 0.12), wood)
        out.add(indoor_class("beam"), (beam,))


def _at_wall(size: _Size, wall: int, along: float, depth: float = 0.0) -> Pose:
    """Return the pose of an object with its back to a wall.

    Args:
        size: The room.
        wall: 0 at +x, 1 at +y, 2 at -x, 3 at -y.
        along: Place along the wall to the left of its middle, seen from the wall, meters.
        depth: Distance from the wall, meters.
    """
    yaw = math.pi + 0.5 * math.pi * wall
    inward = (math.cos(yaw), math.sin(yaw))
    away = depth - (size.half_x if wall % 2 == 0 else size.half_y)
    x = inward[0] * away - inward[1] * along
    y = inward[1] * away + inward[0] * along
    return Pose(position_m=(x, y, 0.0), yaw_rad=yaw)


def _add_at_walls(out: Collector, dice: Dice, size: _Size, items: tuple[_Item, ...]) -> None:
    """Fill the walls one after the other, each from one corner, with what still fits."""
    queue = list(items)
    for wall in range(4):
        half = size.half_y if wall % 2 == 0 else size.half_x
        free = -half + 0.45
        for _ in range(6):
            fitting = [item for item in queue if free + item.width < half - 0.25]
            if not fitting:
                break
            item = dice.choice(fitting)
            queue.remove(item)
            pose = _at_wall(size, wall, free + 0.5 * item.width, dice.uniform(0.005, 0.02))
            out.add(indoor_class(item.kind), item.build(dice), pose)
            _add_above(out, dice, item, pose)
            free += item.width + dice.uniform(0.05, 0.35)


def _add_above(out: Collector, dice: Dice, item: _Item, pose: Pose) -> None:
    """Put a sink on a counter, a mirror over a wash basin, a picture over low furniture."""
    if item.kind == "counter":
        out.add(indoor_class("sink"), interior.sink_parts(dice, 0.9, hung=False), pose)
    elif item.kind == "sink":
        out.add(indoor_class("mirror"), interior.mirror_parts(dice), pose)
    elif item.kind in ("sofa", "bed", "table") and dice.chance(0.5):
        out.add(indoor_class("picture"), interior.picture_parts(dice), pose)


def _add_middle(out: Collector, dice: Dice) -> None:
    """Stand a table in the middle with chairs that face it."""
    out.add(indoor_class("table"), interior.table_parts(dice), Pose(position_m=(-0.45, 0.0, 0.0)))
    for side in (1.0, -1.0):
        if dice.chance(0.8):
            place = (dice.uniform(-0.2, 0.2), side * dice.uniform(1.15, 1.35), 0.0)
            yaw = -side * 0.5 * math.pi + dice.uniform(-0.3, 0.3)
            out.add(
                indoor_class("chair"),
                interior.chair_parts(dice),
                Pose(position_m=place, yaw_rad=yaw),
            )


def home_scene(seed: int, index: int) -> Scene:
    """Build one room of a home; the same numbers give the same room everywhere.

    Args:
        seed: Seed of the world, not negative.
        index: Number of the room under that seed, not negative.

    Returns:
        A static, closed scene around the origin, floor at z = 0.

    Raises:
        ValueError: A number is negative.
    """
    dice = Dice(seed, index, purpose=_PURPOSE)
    size = _size(dice)
    out = Collector()
    _add_shell(out, dice, size)
    items, has_table = _KINDS[dice.choice(tuple(_KINDS))]
    _add_at_walls(out, dice, size, items)
    if has_table:
        _add_middle(out, dice)
    if dice.chance(0.3):
        corner = _at_wall(size, 0, size.half_y - 0.2)
        out.add(indoor_class("column"), interior.column_parts(dice, size.height), corner)
    light = room_sun(dice)
    sky = room_sky(dice.uniform(0.95, 1.35))
    return Scene(seed=seed, index=index, objects=tuple(out.objects), sun=light, sky=sky)


def _size(dice: Dice) -> _Size:
    return _Size(
        half_x=dice.uniform(2.3, 3.0), half_y=dice.uniform(2.3, 3.0), height=dice.uniform(2.4, 2.8)
    )


def _eye(scene: Scene, view_idx: int) -> Pose:
    """Return where a viewer stands: near the middle, turning on from view to view."""
    dice = Dice(scene.seed, scene.index, purpose=_PURPOSE)
    size = _size(dice)
    turn = 2.399963 * view_idx + 0.7 * scene.index
    """The golden angle spreads the views of a room evenly."""
    x = 0.35 * size.half_x * math.cos(1.3 * turn + 1.0)
    y = 0.35 * size.half_y * math.sin(1.7 * turn)
    return Pose(position_m=(x, y, _EYE_M), pitch_rad=0.12, yaw_rad=turn)


def home_camera(
    scene: Scene, *, size_hw: tuple[int, int], view_idx: int = 0, horizontal_fov_deg: float = 85.0
) -> Pinhole:
    """Return a camera near the middle of a room, looking a little down.

    Args:
        scene: A scene of `home_scene`.
        size_hw: Image height and width, pixels.
        view_idx: Number of the view, not negative; others look elsewhere.
        horizontal_fov_deg: Horizontal field of view, degrees.
    """
    return pinhole_with_fov(size_hw, horizontal_fov_deg, camera_at(_eye(scene, view_idx)))


def home_panorama_camera(scene: Scene, *, size_hw: tuple[int, int]) -> Equirectangular:
    """Return a full panorama camera near the middle of a room, level."""
    eye = _eye(scene, 0)
    level = Pose(position_m=eye.position_m, yaw_rad=eye.yaw_rad)
    return Equirectangular(size_hw=size_hw, world_from_cam=camera_at(level))
