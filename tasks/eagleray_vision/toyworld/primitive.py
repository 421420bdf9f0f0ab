"""A scene at one moment, seen from one point: flat list of solids in camera-centered coordinates.

Coordinates are moved so that the viewer is the origin before anything is rounded to float32; so a
scene kilometers away from the world's origin is as exact as one at it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagleray_vision.toyworld.material import Material
from eagleray_vision.toyworld.pose import FloatArray
from eagleray_vision.toyworld.scene import Scene
from eagleray_vision.toyworld.shape import Shape, Triple, corners


@dataclass(frozen=True, kw_only=True)
class Primitive:
    """One part of one object, placed.

    Attributes:
        shape: The solid, own frame.
        material: Its appearance.
        rotation: (3, 3) float64, world_from_own.
        center_m: (3,) float64, its origin minus the viewer's position, world axes.
        corners_m: (8, 3) float64 corners of its bounding box in the same coordinates.
        near_m: Lower bound of the distance from the viewer, meters.
        train_id: Class.
        object_id: Object number.
        part_id: Scene-wide part number.
        is_thing: Whether its object is an instance of a countable class.
        casts_shadow: Whether it takes light from others.
    """

    shape: Shape
    material: Material
    rotation: FloatArray
    center_m: FloatArray
    corners_m: FloatArray
    near_m: float
    train_id: int
    object_id: int
    part_id: int
    is_thing: bool
    casts_shadow: bool

    def to_local(self, vector: Triple) -> Triple:
        """Rotate a world vector (or a triple of arrays) into the own frame."""
        x, y, z = (_column_dot(self.rotation[:, axis], vector) for axis in range(3))
        return x, y, z

    def to_world(self, vector: Triple) -> Triple:
        """Rotate an own-frame vector (or a triple of arrays) into world axes."""
        x, y, z = (_column_dot(self.rotation[axis], vector) for axis in range(3))
        return x, y, z


def _column_dot(weights: FloatArray, vector: Triple) -> Any:
    """Weighted sum that skips zero weights and does not multiply by one."""
    total: Any = None
    for weight, component in zip(weights.tolist(), vector, strict=True):
        if weight == 0.0:
            continue
        term = component if weight == 1.0 else weight * component
        total = term if total is None else total + term
    return total


_ROTATION_ZERO = 1e-12
"""Entries of a rotation below this are rounding residue of right angles."""


def place(scene: Scene, time_s: float, viewer_m: FloatArray) -> tuple[Primitive, ...]:
    """Place all parts of a scene at a moment, nearest object first.

    Args:
        scene: The scene.
        time_s: Time in seconds.
        viewer_m: (3,) world position that becomes the origin.
    """
    placed: list[Primitive] = []
    for item in scene.objects:
        pose = item.pose_at(time_s)
        rotation, position = pose.rotation, np.array(pose.position_m) - viewer_m
        for part, part_id in zip(item.parts, item.part_ids(), strict=True):
            turn = rotation @ part.pose.rotation if part.pose.is_turned else rotation
            turn = np.where(np.abs(turn) < _ROTATION_ZERO, 0.0, turn)
            center = position + rotation @ part.pose.position_m
            box = corners(part.shape) @ turn.T + center
            placed.append(
                Primitive(
                    shape=part.shape,
                    material=part.material,
                    rotation=turn,
                    center_m=center,
                    corners_m=box,
                    near_m=_near_distance(box),
                    train_id=item.street_class.train_id,
                    object_id=item.object_id,
                    part_id=part_id,
                    is_thing=item.street_class.is_thing,
                    casts_shadow=part.casts_shadow,
                )
            )
    return tuple(sorted(placed, key=lambda primitive: primitive.near_m))


def _near_distance(corners_m: FloatArray) -> float:
    """Return the distance from the origin to the axis-parallel box around the corners, meters."""
    low, high = corners_m.min(axis=0), corners_m.max(axis=0)
    gap = np.maximum(np.maximum(low, -high), 0.0)
    return math.sqrt(float(gap @ gap))
