"""People built of head, hair, torso, arms and legs.

Object frame: x forward, y left, z up, origin on the ground between the feet.
"""

from __future__ import annotations

import math

from eagleray_toyworld.scene.dice import SHARED_COLORS, Dice
from eagleray_toyworld.scene.material import Color, Material, Pattern
from eagleray_toyworld.scene.pose import Pose, Vector3
from eagleray_toyworld.scene.scene import Part
from eagleray_toyworld.scene.shape import Box, Cylinder, Ellipsoid

_SKIN: tuple[Color, ...] = (
    (0.62, 0.42, 0.32),
    (0.45, 0.28, 0.19),
    (0.22, 0.13, 0.09),
    (0.10, 0.06, 0.045),
)
_HAIR: tuple[Color, ...] = (
    (0.03, 0.02, 0.02),
    (0.12, 0.07, 0.04),
    (0.35, 0.25, 0.12),
    (0.4, 0.4, 0.4),
)


def bent_limb(
    name: str, start: Vector3, end: Vector3, radius: float, material: Material, number: int = 0
) -> Part:
    """Return a cylinder between two points of the object frame, meters."""
    dx, dy, dz = (b - a for a, b in zip(start, end, strict=True))
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    middle = tuple(0.5 * (a + b) for a, b in zip(start, end, strict=True))
    return Part(
        name=name,
        shape=Cylinder(radius_m=radius, half_height_m=0.5 * length),
        pose=Pose(
            position_m=(middle[0], middle[1], middle[2]),
            pitch_rad=math.atan2(math.sqrt(dx * dx + dy * dy), dz),
            yaw_rad=math.atan2(dy, dx),
        ),
        material=material,
        number=number,
    )


def _cloth(dice: Dice, *, striped: bool) -> Material:
    color = dice.vary(dice.choice(SHARED_COLORS), 0.35)
    return Material(
        pattern=Pattern.CLOTH,
        color=color,
        accent=dice.vary(dice.choice(SHARED_COLORS), 0.2) if striped else color,
        scale_m=dice.uniform(0.12, 0.3),
        contrast=0.5,
        lidar_reflectance=dice.uniform(0.1, 0.5),
    )


def _leg(
    side: float, swing: float, hip: float, cloth: Material, shoe: Material
) -> tuple[Part, ...]:
    """Return thigh, shin and shoe of a leg; ``swing`` is how far the foot is ahead, meters."""
    y, number = 0.09 * side, int(side < 0)
    knee = (0.5 * swing + 0.05, y, 0.52 * hip)
    ankle = (swing, y, 0.08)
    return (
        bent_limb("leg", (0, y, hip), knee, 0.085, cloth, number),
        bent_limb("leg", knee, ankle, 0.065, cloth, number),
        Part(
            name="shoe",
            shape=Box(half_size_m=(0.13, 0.05, 0.045), taper=(0.3, 0.1)),
            pose=Pose(position_m=(swing + 0.05, y, 0.045)),
            material=shoe,
            number=number,
            casts_shadow=False,
        ),
    )


def _arm(
    side: float, swing: float, shoulder: float, cloth: Material, skin: Material
) -> tuple[Part, ...]:
    y, number = 0.24 * side, int(side < 0)
    elbow = (0.35 * swing, 0.27 * side, shoulder - 0.29)
    hand = (swing, 0.25 * side, shoulder - 0.53)
    return (
        bent_limb("arm", (0, y, shoulder), elbow, 0.055, cloth, number),
        bent_limb("arm", elbow, hand, 0.045, cloth, number),
        Part(
            name="hand",
            shape=Ellipsoid(radii_m=(0.06, 0.045, 0.08)),
            pose=Pose(position_m=hand),
            material=skin,
            number=number,
            casts_shadow=False,
        ),
    )


def person_parts(dice: Dice, *, riding: bool = False) -> tuple[Part, ...]:
    """Return a standing or walking person, or one that sits on a bicycle.

    Args:
        dice: Random source: height, clothes, skin, stride.
        riding: Whether the person sits with bent knees at saddle height.
    """
    skin = Material(color=dice.choice(_SKIN), contrast=0.1)
    hair = Material(color=dice.choice(_HAIR), contrast=0.6)
    shirt, trousers = _cloth(dice, striped=dice.chance(0.4)), _cloth(dice, striped=False)
    shoe = Material(color=dice.vary((0.1, 0.08, 0.07), 0.8))
    size = dice.uniform(0.92, 1.08)
    stride = dice.uniform(-0.32, 0.32)
    hip, shoulder = 0.86 * size, 1.42 * size
    lift = 0.1 if riding else 0.0
    lean = 0.16 if riding else 0.0
    upper = (
        Part(
            name="torso",
            shape=Ellipsoid(radii_m=(0.145, 0.225, 0.36 * size)),
            pose=Pose(position_m=(0.5 * lean, 0, hip + 0.29 * size + lift), pitch_rad=lean),
            material=shirt,
        ),
        Part(
            name="torso",
            shape=Box(half_size_m=(0.10, 0.2, 0.17), taper=(0.0, -0.12)),
            pose=Pose(position_m=(lean, 0, shoulder - 0.16 + lift)),
            material=shirt,
            casts_shadow=False,
        ),
        Part(
            name="head",
            shape=Ellipsoid(radii_m=(0.1, 0.085, 0.13)),
            pose=Pose(position_m=(0.02 + lean, 0, 1.62 * size + lift)),
            material=skin,
        ),
        Part(
            name="hair",
            shape=Ellipsoid(radii_m=(0.11, 0.1, 0.1)),
            pose=Pose(position_m=(-0.015 + lean, 0, 1.665 * size + lift)),
            material=hair,
        ),
        bent_limb(
            "head", (lean, 0, shoulder - 0.02 + lift), (lean, 0, 1.55 * size + lift), 0.05, skin
        ),
    )
    if riding:
        return (*upper, *_riding_limbs(hip, shoulder, shirt, trousers, shoe))
    return (
        *upper,
        *_leg(1.0, stride, hip, trousers, shoe),
        *_leg(-1.0, -stride, hip, trousers, shoe),
        *_arm(1.0, -0.8 * stride, shoulder - 0.05, shirt, skin),
        *_arm(-1.0, 0.8 * stride, shoulder - 0.05, shirt, skin),
    )


def _riding_limbs(
    hip: float, shoulder: float, shirt: Material, trousers: Material, shoe: Material
) -> tuple[Part, ...]:
    parts: list[Part] = []
    for side, foot_z in ((1.0, 0.16), (-1.0, 0.46)):
        y, number = 0.1 * side, int(side < 0)
        knee = (0.34, y, 0.42 + 0.9 * foot_z)
        foot = (0.02, y, foot_z)
        parts += [
            bent_limb("leg", (-0.14, y, hip + 0.1), knee, 0.085, trousers, number),
            bent_limb("leg", knee, foot, 0.06, trousers, number),
            bent_limb("shoe", foot, (0.2, y, foot_z), 0.05, shoe, number),
            bent_limb(
                "arm", (0.12, 0.22 * side, shoulder), (0.34, 0.24 * side, 1.06), 0.05, shirt, number
            ),
        ]
    return tuple(parts)
