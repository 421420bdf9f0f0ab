"""Things that nuScenes tells apart and Cityscapes does not: barriers, cones, a trailer, a digger.

Added to a finished street at places that are free, from a random stream of their own, so that
streets without them stay as they are.
"""

from __future__ import annotations

import math
from dataclasses import replace

from eagleray_toyworld.scene.classes import StreetClass, roadwork_class
from eagleray_toyworld.scene.dice import Dice
from eagleray_toyworld.scene.material import Color, Material
from eagleray_toyworld.scene.pose import Pose, Vector3
from eagleray_toyworld.scene.scene import Part, Scene, SceneObject
from eagleray_toyworld.scene.shape import Box

_STREAM = 7
"""Number of the random stream; the street has 0, its light 1."""
_FREE_M = 4.0
_ORANGE: Color = (0.75, 0.22, 0.03)
_WHITE: Color = (0.7, 0.7, 0.68)
_YELLOW: Color = (0.72, 0.5, 0.05)
_DARK: Color = (0.05, 0.05, 0.05)


def _block(
    name: str, center: Vector3, half: Vector3, color: Color, *, number: int = 0, taper: float = 0.0
) -> Part:
    return Part(
        name=name,
        shape=Box(half_size_m=half, taper=(taper, taper)),
        pose=Pose(position_m=center),
        material=Material(color=color, contrast=0.1, lidar_reflectance=0.5),
        number=number,
    )


def barrier_parts() -> tuple[Part, ...]:
    """Return a plastic barrier, 1.6 m long across the x axis, in two colors."""
    return (
        _block("foot", (0, 0, 0.2), (0.28, 0.8, 0.2), _ORANGE, taper=0.2),
        _block("wall", (0, 0, 0.7), (0.12, 0.78, 0.3), _WHITE),
    )


def cone_parts() -> tuple[Part, ...]:
    """Return a traffic cone of 0.75 m."""
    return (
        _block("base", (0, 0, 0.03), (0.2, 0.2, 0.03), _DARK),
        _block("cone", (0, 0, 0.4), (0.15, 0.15, 0.35), _ORANGE, taper=0.8),
    )


def trailer_parts() -> tuple[Part, ...]:
    """Return a box trailer without a truck."""
    return (
        _block("body", (0, 0, 2.1), (3.4, 1.2, 1.25), _WHITE),
        _block("frame", (0, 0, 0.7), (3.3, 0.5, 0.15), _DARK),
        _block("wheel", (-2.0, 0.95, 0.45), (0.42, 0.15, 0.42), _DARK, number=0),
        _block("wheel", (-2.0, -0.95, 0.45), (0.42, 0.15, 0.42), _DARK, number=1),
    )


def digger_parts() -> tuple[Part, ...]:
    """Return an excavator: tracks, cab, boom and bucket."""
    return (
        _block("track", (0, 0.95, 0.45), (1.6, 0.25, 0.4), _DARK, number=0),
        _block("track", (0, -0.95, 0.45), (1.6, 0.25, 0.4), _DARK, number=1),
        _block("body", (-0.3, 0, 1.35), (1.3, 1.1, 0.5), _YELLOW),
        _block("cab", (0.4, 0.5, 2.2), (0.6, 0.5, 0.6), _YELLOW, taper=0.1),
        Part(
            name="boom",
            shape=Box(half_size_m=(1.6, 0.18, 0.2)),
            pose=Pose(position_m=(2.0, -0.3, 2.5), pitch_rad=math.radians(-25.0)),
            material=Material(color=_YELLOW, lidar_reflectance=0.5),
        ),
        _block("bucket", (3.5, -0.3, 1.4), (0.35, 0.5, 0.5), _DARK),
    )


def with_roadworks(scene: Scene) -> Scene:
    """Return a street with roadworks at its edges."""
    dice = Dice(scene.seed, scene.index, purpose=_STREAM)
    road = scene.objects[0].parts[0].shape
    half_road = road.half_size_m[1] if isinstance(road, Box) else 4.0
    objects = list(scene.objects)

    def add(name: str, parts: tuple[Part, ...], x: float, y: float, yaw_deg: float) -> None:
        """Place one thing where nothing stands within a few meters, perhaps farther on."""
        kind: StreetClass = roadwork_class(name)
        while any(_near(item, x, y) for item in scene.objects) and x < 60.0:
            x += 1.5
        pose = Pose(position_m=(x, y, 0.0), yaw_rad=math.radians(yaw_deg))
        objects.append(
            SceneObject(object_id=len(objects) + 1, street_class=kind, parts=parts, pose=pose)
        )

    edge = -half_road + 0.7
    begin = dice.uniform(8.0, 14.0)
    for k in range(3):
        add("barrier", barrier_parts(), begin + 2.0 * k, edge, 90.0)
    for k in range(4):
        add("traffic cone", cone_parts(), begin + 8.0 + 2.5 * k, edge + 0.3, 0.0)
    side = half_road + 1.6
    add("trailer", trailer_parts(), dice.uniform(10.0, 20.0), half_road - 1.4, 180.0)
    add("construction vehicle", digger_parts(), dice.uniform(14.0, 24.0), -side, 180.0)
    return replace(scene, objects=tuple(objects))


def _near(item: SceneObject, x: float, y: float) -> bool:
    there = item.pose.position_m
    return math.hypot(there[0] - x, there[1] - y) < _FREE_M and there[:2] != (0.0, 0.0)
