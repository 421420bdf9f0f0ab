"""The description of a scene: typed, frozen data that know nothing of rendering.

A scene is a list of objects, an object a list of parts, a part one convex solid with a material. A
scene holds for a whole sequence: objects carry their motion, and ``ego`` is the path of the vehicle
that looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from eagleray_toyworld.scene.classes import StreetClass
from eagleray_toyworld.scene.material import Color, Material
from eagleray_toyworld.scene.pose import Pose, Vector3
from eagleray_toyworld.scene.shape import Shape

PARTS_PER_OBJECT = 100
"""``part_id = object_id * PARTS_PER_OBJECT + place of the part's name in the object``."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One convex piece of an object.

    Attributes:
        name: Kind of part (``"wheel"``, ``"window"``); parts of an object that share a name also
            share a part id only if they share ``number``.
        shape: Its solid.
        pose: Where it sits in the object's frame.
        material: Its appearance.
        number: Tells equally named parts apart (four wheels are four parts).
        casts_shadow: Whether it takes light from others.
    """

    name: str
    shape: Shape
    pose: Pose = field(default_factory=Pose)
    material: Material
    number: int = 0
    casts_shadow: bool = True


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Steady motion of an object or of the ego vehicle.

    Attributes:
        speed_mps: Speed along the own x axis, meters per second.
        yaw_rate_rps: Turn rate about z, radians per second.
    """

    speed_mps: float = 0.0
    yaw_rate_rps: float = 0.0


def move(start: Pose, motion: Motion, time_s: float) -> Pose:
    """Return the pose after ``time_s`` seconds: a straight line, or an arc if there is a turn rate.

    Example:
        >>> move(Pose(), Motion(speed_mps=10.0), 0.5).position_m
        (5.0, 0.0, 0.0)
    """
    if motion.speed_mps == 0.0 and motion.yaw_rate_rps == 0.0:
        return start
    turn = motion.yaw_rate_rps * time_s
    half = 0.5 * turn
    chord = motion.speed_mps * time_s * (math.sin(half) / half if half else 1.0)
    x, y, z = start.position_m
    return Pose(
        position_m=(
            x + chord * math.cos(start.yaw_rad + half),
            y + chord * math.sin(start.yaw_rad + half),
            z,
        ),
        roll_rad=start.roll_rad,
        pitch_rad=start.pitch_rad,
        yaw_rad=start.yaw_rad + turn,
    )


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object with a class, an identity and parts.

    Attributes:
        object_id: Number of the object, unique in the scene and constant over a sequence, from 1.
        street_class: Its class.
        parts: Its pieces; later ones win where two surfaces coincide.
        pose: World pose at time 0.
        motion: How it moves.
    """

    object_id: int
    street_class: StreetClass
    parts: tuple[Part, ...]
    pose: Pose = field(default_factory=Pose)
    motion: Motion = field(default_factory=Motion)

    def pose_at(self, time_s: float) -> Pose:
        """Return world_from_object at a time in seconds."""
        return move(self.pose, self.motion, time_s)

    def part_ids(self) -> tuple[int, ...]:
        """Return the scene-wide part id of each entry of ``parts``."""
        keys = list(dict.fromkeys((part.name, part.number) for part in self.parts))
        return tuple(
            self.object_id * PARTS_PER_OBJECT + keys.index((part.name, part.number))
            for part in self.parts
        )


@dataclass(frozen=True, kw_only=True)
class Sun:
    """Direct light from infinitely far away.

    Attributes:
        direction: Unit vector from the scene to the sun, world frame.
        color: Irradiance on a surface that faces it, linear RGB.
    """

    direction: Vector3
    color: Color


@dataclass(frozen=True, kw_only=True)
class Sky:
    """Light and looks of the sky.

    Attributes:
        zenith: Radiance straight above, linear RGB.
        horizon: Radiance at the horizon, linear RGB; also the color of haze.
        cloud_cover: 0 clear to 1 overcast.
        haze_distance_m: Distance at which half of the light is haze, meters.
        exposure: Factor on all radiance before the tone curve.
    """

    zenith: Color
    horizon: Color
    cloud_cover: float = 0.3
    haze_distance_m: float = 600.0
    exposure: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything there is to see.

    Attributes:
        seed: Seed of the world.
        index: Number of the scene under that seed.
        objects: All objects; the ground is among them.
        sun: Direct light.
        sky: Sky light and background.
        ego: Pose of the looking vehicle's frame at time 0 (on the ground, under its center).
        ego_motion: How it drives.
    """

    seed: int
    index: int
    objects: tuple[SceneObject, ...]
    sun: Sun
    sky: Sky
    ego: Pose = field(default_factory=Pose)
    ego_motion: Motion = field(default_factory=Motion)

    def ego_at(self, time_s: float) -> Pose:
        """Return world_from_ego at a time in seconds."""
        return move(self.ego, self.ego_motion, time_s)
