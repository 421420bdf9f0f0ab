"""What stands and hangs in homes.

Object frame: x points from the wall into the room, y left, z up; the origin is on the floor at the
wall, in the middle of the object's back.
"""

from __future__ import annotations

import math

from eagleray_toyworld.scene.dice import Dice
from eagleray_toyworld.scene.material import Color, Material, Pattern
from eagleray_toyworld.scene.paint import PAINTS
from eagleray_toyworld.scene.pose import Pose, Vector3
from eagleray_toyworld.scene.scene import Part
from eagleray_toyworld.scene.shape import Box, Cylinder, Ellipsoid
from eagleray_toyworld.things.person import bent_limb

_WOODS: tuple[Color, ...] = ((0.30, 0.19, 0.10), (0.18, 0.10, 0.05), (0.45, 0.32, 0.18))
_CERAMIC = Material(color=(0.80, 0.80, 0.78), contrast=0.04, gloss=0.4)
_STEEL = Material(color=(0.45, 0.46, 0.47), contrast=0.05, gloss=0.6)
_DARK = Material(color=(0.05, 0.05, 0.05), contrast=0.1)


def _block(
    name: str,
    low: Vector3,
    high: Vector3,
    material: Material,
    *,
    number: int = 0,
    taper: tuple[float, float] = (0.0, 0.0),
) -> Part:
    """Return a box between two corners."""
    center = tuple(0.5 * (a + b) for a, b in zip(low, high, strict=True))
    half = tuple(0.5 * (b - a) for a, b in zip(low, high, strict=True))
    return Part(
        name=name,
        shape=Box(half_size_m=(half[0], half[1], half[2]), taper=taper),
        pose=Pose(position_m=(center[0], center[1], center[2])),
        material=material,
        number=number,
    )


def painted(dice: Dice, *, gloss: float = 0.0) -> Material:
    """Return a surface in one of the clear colors, each as likely."""
    color = dice.vary(PAINTS[dice.choice(tuple(PAINTS))], 0.12)
    return Material(color=color, contrast=dice.uniform(0.05, 0.2), gloss=gloss)


def _wood(dice: Dice) -> Material:
    return Material(
        pattern=Pattern.SLATS,
        color=dice.vary(dice.choice(_WOODS), 0.2),
        accent=(0.08, 0.05, 0.03),
        scale_m=0.25,
        contrast=0.25,
    )


def _legs(places: tuple[tuple[float, float], ...], top: float, m: Material) -> tuple[Part, ...]:
    return tuple(
        bent_limb("leg", (x, y, 0), (x, y, top), 0.025, m, k) for k, (x, y) in enumerate(places)
    )


def chair_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a chair with four legs, a seat and a back, which is at the wall's side."""
    cover, frame = painted(dice), _wood(dice)
    half, seat, back = dice.uniform(0.2, 0.25), dice.uniform(0.42, 0.48), dice.uniform(0.85, 1.05)
    spots = tuple((x, y) for x in (0.04, 2 * half - 0.04) for y in (-half + 0.04, half - 0.04))
    return (
        _block("seat", (0, -half, seat), (2 * half, half, seat + 0.06), cover),
        _block("back", (0, -half, seat + 0.06), (0.05, half, back), cover),
        *_legs(spots, seat, frame),
    )


def table_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a table with a top and four legs, or a round one on a post."""
    wood = _wood(dice) if dice.chance(0.5) else painted(dice)
    hx, hy, z = dice.uniform(0.35, 0.55), dice.uniform(0.5, 0.9), dice.uniform(0.68, 0.78)
    if dice.chance(0.35):
        top = Part(
            name="top",
            shape=Cylinder(radius_m=hx + 0.15, half_height_m=0.02),
            pose=Pose(position_m=(hx, 0, z)),
            material=wood,
        )
        return (top, bent_limb("leg", (hx, 0, 0), (hx, 0, z), 0.06, wood))
    spots = tuple((x, y) for x in (0.06, 2 * hx - 0.06) for y in (-hy + 0.06, hy - 0.06))
    return (_block("top", (0, -hy, z - 0.04), (2 * hx, hy, z), wood), *_legs(spots, z - 0.04, wood))


def sofa_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a sofa: base, back, two arms, two or three cushions."""
    cover = painted(dice)
    half, seat = dice.uniform(0.75, 1.05), dice.uniform(0.38, 0.45)
    count = dice.integer(2, 3)
    pitch = 2 * (half - 0.18) / count
    cushions = tuple(
        _block(
            "cushion",
            (0.25, -half + 0.19 + k * pitch, seat),
            (0.85, -half + 0.17 + (k + 1) * pitch, seat + 0.12),
            cover,
            number=k,
            taper=(0.05, 0.05),
        )
        for k in range(count)
    )
    return (
        _block("base", (0, -half, 0.08), (0.88, half, seat), cover),
        _block("back", (0, -half, seat), (0.25, half, seat + 0.42), cover, taper=(0.1, 0.02)),
        _block("arm", (0, -half, seat), (0.88, -half + 0.18, seat + 0.2), cover, number=0),
        _block("arm", (0, half - 0.18, seat), (0.88, half, seat + 0.2), cover, number=1),
        *cushions,
    )


def bed_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a bed with its head at the wall: frame, blanket, pillows."""
    half, wood = dice.uniform(0.5, 0.85), _wood(dice)
    sheet = Material(color=(0.72, 0.72, 0.70), contrast=0.1)
    pillows = tuple(
        _block(
            "pillow",
            (0.12, y - 0.25, 0.52),
            (0.5, y + 0.25, 0.64),
            sheet,
            number=k,
            taper=(0.2, 0.2),
        )
        for k, y in enumerate((-0.3, 0.3) if half > 0.65 else (0.0,))
    )
    return (
        _block("blanket", (0.6, -half, 0.28), (2.0, half, 0.56), painted(dice), taper=(0.02, 0.03)),
        _block("sheet", (0.05, -half + 0.01, 0.28), (0.6, half - 0.01, 0.52), sheet),
        _block("frame", (0, -half - 0.03, 0.05), (2.03, half + 0.03, 0.28), wood),
        _block("head", (0, -half - 0.03, 0.28), (0.05, half + 0.03, dice.uniform(0.8, 1.1)), wood),
        *pillows,
    )


def shelving_parts(dice: Dice) -> tuple[Part, ...]:
    """Return open shelves with books."""
    wood = _wood(dice) if dice.chance(0.6) else painted(dice)
    half, depth, height = dice.uniform(0.4, 0.7), 0.32, dice.uniform(1.5, 2.1)
    levels = dice.integer(4, 5)
    boards = tuple(
        _block("board", (0.02, -half, z - 0.015), (depth, half, z + 0.015), wood, number=k)
        for k, z in enumerate(height * (i + 0.1) / (levels + 0.1) for i in range(levels + 1))
    )
    books: list[Part] = []
    for k in range(levels):
        low = height * (k + 0.1) / (levels + 0.1) + 0.015
        y = -half + 0.06
        while y < half - 0.2:
            width = dice.uniform(0.08, 0.3)
            if dice.chance(0.75):
                top = low + dice.uniform(0.16, 0.26)
                right = min(y + width, half - 0.04)
                books.append(
                    _block(
                        "book", (0.05, y, low), (0.26, right, top), painted(dice), number=len(books)
                    )
                )
            y += width + 0.02
    sides = tuple(
        _block("side", (0, y - 0.02, 0), (depth, y + 0.02, height + 0.03), wood, number=k)
        for k, y in enumerate((-half, half))
    )
    return (*sides, _block("rear", (0, -half, 0), (0.02, half, height), wood), *boards, *books)


def counter_parts(dice: Dice, half: float) -> tuple[Part, ...]:
    """Return a kitchen counter of a half width in meters: doors below a stone top."""
    front = painted(dice, gloss=0.1)
    count = max(2, round(2 * half / 0.5))
    pitch = 2 * half / count
    doors = tuple(
        _block(
            "front",
            (0.57, -half + k * pitch + 0.01, 0.12),
            (0.6, -half + (k + 1) * pitch - 0.01, 0.84),
            front,
            number=k,
        )
        for k in range(count)
    )
    stone = Material(color=dice.vary((0.3, 0.3, 0.3), 0.5), contrast=0.2, gloss=0.3)
    return (
        _block("body", (0, -half, 0.1), (0.57, half, 0.86), front),
        _block("slab", (0, -half - 0.02, 0.86), (0.63, half + 0.02, 0.9), stone),
        *doors,
    )


def sink_parts(dice: Dice, height_m: float, *, hung: bool) -> tuple[Part, ...]:
    """Return a basin with its tap at a height; hung: a wash basin on a foot, else for a counter."""
    bowl = _CERAMIC if hung or dice.chance(0.3) else _STEEL
    half, z = (0.28, height_m) if hung else (0.24, height_m + 0.03)
    inside = Material(color=tuple(0.45 * c for c in bowl.color), contrast=0.05)  # type: ignore[arg-type]
    hole = Ellipsoid(radii_m=(0.16, half - 0.07, 0.015))
    parts = (
        _block(
            "basin",
            (0.06, -half, z - (0.16 if hung else 0.03)),
            (0.52, half, z),
            bowl,
            taper=(-0.1, -0.1),
        ),
        Part(name="bowl", shape=hole, pose=Pose(position_m=(0.31, 0, z)), material=inside),
        bent_limb("tap", (0.1, 0, z), (0.1, 0, z + 0.2), 0.018, _STEEL),
        bent_limb("tap", (0.1, 0, z + 0.2), (0.24, 0, z + 0.18), 0.015, _STEEL),
    )
    foot = bent_limb("foot", (0.2, 0, 0), (0.2, 0, z - 0.15), 0.09, _CERAMIC)
    return (*parts, foot) if hung else parts


def toilet_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a toilet: tank at the wall, bowl, seat, lid up or down."""
    seat = _CERAMIC if dice.chance(0.7) else painted(dice)
    bowl = Ellipsoid(radii_m=(0.27, 0.2, 0.2))
    rim = Cylinder(radius_m=0.2, half_height_m=0.02)
    lid = (
        _block("lid", (0.2, -0.19, 0.42), (0.23, 0.19, 0.8), seat)
        if dice.chance(0.5)
        else _block("lid", (0.22, -0.19, 0.44), (0.64, 0.19, 0.46), seat, taper=(0.1, 0.1))
    )
    return (
        _block("tank", (0, -0.22, 0.4), (0.2, 0.22, 0.82), _CERAMIC),
        _block("foot", (0.12, -0.11, 0), (0.5, 0.11, 0.3), _CERAMIC, taper=(-0.1, -0.2)),
        Part(name="bowl", shape=bowl, pose=Pose(position_m=(0.42, 0, 0.26)), material=_CERAMIC),
        Part(name="seat", shape=rim, pose=Pose(position_m=(0.44, 0, 0.41)), material=seat),
        lid,
    )


def bathtub_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a bathtub along the wall: four walls around a floor, water in some."""
    half, z = dice.uniform(0.75, 0.9), dice.uniform(0.5, 0.6)
    water = Material(color=(0.10, 0.30, 0.38), contrast=0.1, gloss=0.8)
    inside = water if dice.chance(0.6) else Material(color=(0.5, 0.5, 0.49), contrast=0.05)
    level = z - dice.uniform(0.1, 0.2)
    return (
        _block("side", (0, -half, 0), (0.08, half, z), _CERAMIC, number=0),
        _block("side", (0.67, -half, 0), (0.75, half, z), _CERAMIC, number=1),
        _block("end", (0.08, -half, 0), (0.67, -half + 0.08, z), _CERAMIC, number=0),
        _block("end", (0.08, half - 0.08, 0), (0.67, half, z), _CERAMIC, number=1),
        _block("water", (0.08, -half + 0.08, 0.05), (0.67, half - 0.08, level), inside),
        bent_limb("tap", (0.38, half - 0.05, z), (0.38, half - 0.2, z + 0.12), 0.02, _STEEL),
    )


def lamp_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a floor lamp with a bright shade."""
    z = dice.uniform(1.3, 1.7)
    shade = Material(color=dice.vary((0.85, 0.75, 0.5), 0.1), contrast=0.03, glow=0.5)
    cone = Box(half_size_m=(0.2, 0.2, 0.15), taper=(0.35, 0.35))
    return (
        Part(name="shade", shape=cone, pose=Pose(position_m=(0.25, 0, z)), material=shade),
        bent_limb("post", (0.25, 0, 0), (0.25, 0, z - 0.1), 0.02, _DARK),
        Part(
            name="foot",
            shape=Cylinder(radius_m=0.16, half_height_m=0.02),
            pose=Pose(position_m=(0.25, 0, 0.02)),
            material=_DARK,
        ),
    )


def door_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a closed door in its frame, with panels and a handle."""
    leaf = painted(dice) if dice.chance(0.6) else _wood(dice)
    half, top = dice.uniform(0.4, 0.46), dice.uniform(1.98, 2.1)
    frame = Material(color=(0.6, 0.58, 0.54), contrast=0.05)
    lighter = Material(color=tuple(0.7 * c for c in leaf.color), contrast=0.1)  # type: ignore[arg-type]
    panels = tuple(
        _block("panel", (0.05, -half + 0.12, z), (0.055, half - 0.12, z + h), lighter, number=k)
        for k, (z, h) in enumerate(((0.2, 0.7), (1.05, 0.75)))
    )
    return (
        _block("leaf", (0, -half, 0.01), (0.05, half, top), leaf),
        *panels,
        _block("frame", (0, -half - 0.08, 0), (0.06, -half, top + 0.08), frame, number=0),
        _block("frame", (0, half, 0), (0.06, half + 0.08, top + 0.08), frame, number=1),
        _block("frame", (0, -half, top), (0.06, half, top + 0.08), frame, number=2),
        _block("handle", (0.05, half - 0.16, 1.0), (0.1, half - 0.06, 1.03), _STEEL),
    )


def _framed(
    name: str, half_y: float, z: tuple[float, float], face: Material, rim: Material
) -> tuple[Part, ...]:
    """Return a flat thing on the wall in a frame."""
    edge = 0.05
    return (
        _block(name, (0, -half_y, z[0]), (0.02, half_y, z[1]), face),
        _block(
            "frame", (0, -half_y - edge, z[0] - edge), (0.04, -half_y, z[1] + edge), rim, number=0
        ),
        _block(
            "frame", (0, half_y, z[0] - edge), (0.04, half_y + edge, z[1] + edge), rim, number=1
        ),
        _block("frame", (0, -half_y, z[0] - edge), (0.04, half_y, z[0]), rim, number=2),
        _block("frame", (0, -half_y, z[1]), (0.04, half_y, z[1] + edge), rim, number=3),
    )


def window_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a window: bright panes behind crossbars."""
    half, low = dice.uniform(0.45, 0.8), dice.uniform(0.85, 1.0)
    high = low + dice.uniform(0.9, 1.2)
    pane = Material(color=dice.vary((0.35, 0.55, 0.8), 0.15), contrast=0.1, glow=0.75)
    bar = Material(color=(0.78, 0.78, 0.76), contrast=0.04)
    middle = 0.5 * (low + high)
    return (
        *_framed("pane", half, (low, high), pane, bar),
        _block("bar", (0, -0.025, low), (0.035, 0.025, high), bar, number=0),
        _block("bar", (0, -half, middle - 0.02), (0.035, half, middle + 0.02), bar, number=1),
    )


def picture_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a framed picture: shapes in clear colors on a ground."""
    half_y, half_z = dice.uniform(0.22, 0.5), dice.uniform(0.2, 0.4)
    z = dice.uniform(1.45, 1.65)
    rim = Material(color=dice.choice(((0.03, 0.03, 0.03), (0.4, 0.28, 0.08), (0.2, 0.1, 0.05))))
    shapes = tuple(
        Part(
            name="canvas",
            shape=Cylinder(radius_m=dice.uniform(0.05, 0.14), half_height_m=0.003 + 0.001 * k),
            pose=Pose(
                position_m=(
                    0.02,
                    dice.uniform(-0.6, 0.6) * half_y,
                    z + dice.uniform(-0.5, 0.5) * half_z,
                ),
                pitch_rad=math.pi / 2,
            ),
            material=painted(dice),
        )
        for k in range(dice.integer(2, 4))
    )
    return (*_framed("canvas", half_y, (z - half_z, z + half_z), painted(dice), rim), *shapes)


def mirror_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a mirror: a pale sheet that shows light, in a thin frame."""
    half_y, low = dice.uniform(0.25, 0.4), dice.uniform(1.05, 1.2)
    glass = Material(color=(0.36, 0.42, 0.44), contrast=0.02, gloss=1.0, glow=0.15)
    return _framed("glass", half_y, (low, low + dice.uniform(0.6, 0.8)), glass, _STEEL)


def board_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a writing board with lines of chalk."""
    half = dice.uniform(0.6, 0.9)
    slate = Material(color=(0.02, 0.09, 0.05), contrast=0.15)
    chalk = Material(color=(0.7, 0.7, 0.68), contrast=0.1)
    lines = tuple(
        _block(
            "line",
            (0.02, -half * dice.uniform(0.3, 0.9), z),
            (0.023, half * dice.uniform(0.1, 0.9), z + 0.02),
            chalk,
            number=k,
        )
        for k, z in enumerate((1.25, 1.4, 1.55, 1.7))
    )
    return (*_framed("slate", half, (1.05, 1.9), slate, _wood(dice)), *lines)


def column_parts(dice: Dice, height_m: float) -> tuple[Part, ...]:
    """Return a pillar from the floor to the ceiling, round or square."""
    plaster = Material(color=dice.vary((0.55, 0.53, 0.48), 0.2), contrast=0.1)
    if dice.chance(0.5):
        return (bent_limb("column", (0.25, 0, 0), (0.25, 0, height_m), 0.17, plaster),)
    return (_block("column", (0.08, -0.17, 0), (0.42, 0.17, height_m), plaster),)


def stairs_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a flight of steps along the wall, up towards +y."""
    wood, depth = _wood(dice), dice.uniform(0.7, 0.9)
    count = dice.integer(6, 8)
    return tuple(
        _block(
            "step",
            (0, -0.9 + 0.24 * k, 0),
            (depth, -0.9 + 0.24 * (k + 1), 0.18 * (k + 1)),
            wood,
            number=k,
        )
        for k in range(count)
    )


def shower_parts(dice: Dice) -> tuple[Part, ...]:
    """Return a shower: tray, pipe with its head, a curtain drawn aside."""
    half, cloth = dice.uniform(0.4, 0.45), painted(dice)
    folds = tuple(
        bent_limb("curtain", (0.82, y, 0.15), (0.82, y, 1.95), 0.035, cloth, k)
        for k, y in enumerate(-half + 0.06 * i for i in range(dice.integer(5, 8)))
    )
    return (
        _block("tray", (0, -half, 0), (0.85, half, 0.12), _CERAMIC),
        bent_limb("pipe", (0.04, 0, 0.9), (0.04, 0, 2.1), 0.025, _STEEL),
        bent_limb("pipe", (0.04, 0, 2.1), (0.35, 0, 2.05), 0.02, _STEEL),
        bent_limb("head", (0.35, 0, 2.05), (0.36, 0, 1.98), 0.11, _STEEL),
        bent_limb("rail", (0.82, -half, 1.97), (0.82, half, 1.97), 0.015, _STEEL),
        *folds,
    )
