"""A scene at one moment, seen from one point: flat list of solids in camera-centered coordinates.

Coordinates are moved so that the viewer is the origin before anything is rounded to float32; so a
scene kilometers away from the world's origin is as exact as one at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eagleray_toyworld.scene.material import Material
from eagleray_toyworld.scene.pose import FloatArray
from eagleray_toyworld.scene.scene import Scene
from eagleray_toyworld.scene.shape import Shape, Triple, corners


@dataclass(frozen=True, kw_only=True)
class Primitive:
    """One part of one object, placed.

    Attributes:
        shape: The solid, own frame.
        material: Its appearance.
        rotation: (3, 3) float64, world_from_own.
        center_m: (3,) float64, its origin minus the viewer's position, world axes.
        viewer_m: (3,) float64, the viewer's position in the own frame.
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
    viewer_m: FloatArray
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


def _product(left: FloatArray, right: FloatArray) -> FloatArray:
    """Multiply stacks of small matrices, (n, i, k) by (n, k, j), adding in a fixed order.

    Linear-algebra libraries round differently from machine to machine; this does not.
    """
    total = left[:, :, 0, None] * right[:, None, 0, :]
    for k in range(1, left.shape[2]):
        total = total + left[:, :, k, None] * right[:, None, k, :]
    return total


def place(scene: Scene, time_s: float, viewer_m: FloatArray) -> tuple[Primitive, ...]:
    """Place all parts of a scene at a moment, nearest first.

    Args:
        scene: The scene.
        time_s: Time in seconds.
        viewer_m: (3,) world position that becomes the origin.
    """
    owners = [(item, k) for item in scene.objects for k in range(len(item.parts))]
    if not owners:
        return ()
    parts = [item.parts[k] for item, k in owners]
    poses = {item.object_id: item.pose_at(time_s) for item in scene.objects}
    of_object = [poses[item.object_id] for item, _ in owners]
    outer = np.stack([pose.rotation for pose in of_object])
    inner = np.stack([part.pose.rotation for part in parts])
    rotation = _product(outer, inner)
    rotation = np.where(np.abs(rotation) < _ROTATION_ZERO, 0.0, rotation)
    position = np.array([pose.position_m for pose in of_object]) - viewer_m
    offset = np.array([part.pose.position_m for part in parts])
    center = position + _product(outer, offset[:, :, None])[:, :, 0]
    local_corners = np.stack([corners(part.shape) for part in parts])
    box = _product(local_corners, rotation.swapaxes(1, 2)) + center[:, None, :]
    gap = np.maximum(np.maximum(box.min(axis=1), -box.max(axis=1)), 0.0)
    near = np.sqrt(gap[:, 0] * gap[:, 0] + gap[:, 1] * gap[:, 1] + gap[:, 2] * gap[:, 2])
    origin = -_product(rotation.swapaxes(1, 2), center[:, :, None])[:, :, 0]
    part_ids = {item.object_id: item.part_ids() for item in scene.objects}
    return tuple(
        Primitive(
            shape=parts[n].shape,
            material=parts[n].material,
            rotation=rotation[n],
            center_m=center[n],
            viewer_m=origin[n],
            corners_m=box[n],
            near_m=float(near[n]),
            train_id=owners[n][0].street_class.train_id,
            object_id=owners[n][0].object_id,
            part_id=part_ids[owners[n][0].object_id][owners[n][1]],
            is_thing=owners[n][0].street_class.is_thing,
            casts_shadow=parts[n].casts_shadow,
        )
        for n in np.argsort(near, kind="stable").tolist()
    )
