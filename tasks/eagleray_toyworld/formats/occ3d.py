"""Truth in voxels as Occ3D-nuScenes has it, but from the solids themselves instead of sweeps.

    gts/<scene>/<key frame>/labels.npz      semantics, mask_lidar, mask_camera: (200, 200, 16) uint8

A voxel is occupied where a line through it meets a solid inside of it: vertical lines first, of
which most tell the label by what lies on top; then, for plates and poles between those, lines
across. Foliage counts as the solid that its leaves fill.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.rendering.camera import Pinhole
from eagleray_toyworld.rendering.lidar import LidarSweep
from eagleray_toyworld.rendering.primitive import Primitive, place
from eagleray_toyworld.scene.scene import Scene
from eagleray_toyworld.scene.shape import GroundPlane, intersect
from eagleray_vision.driving.occ3d_grid import (
    FREE,
    RANGE_MIN_M,
    SIZE_XYZ,
    VOXEL_M,
    voxel_centers_m,
)

_LINES = 2
"""Lines per voxel along each of the axes across them: 20 cm apart."""
_UP, _ACROSS = 2, (0, 1)
_STEP_M = 0.5 * VOXEL_M
"""Of a ray through the grid, so that no voxel is jumped but at a corner."""
_INTO_M = 0.01
"""How far behind a surface the voxel is looked up that it belongs to."""
_HALF_DIAGONAL_M = 0.5 * VOXEL_M * 3.0**0.5

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class View:
    """What a camera saw.

    Attributes:
        camera: Where it was.
        depth_m: (height, width) depth of its picture.
    """

    camera: Pinhole
    depth_m: NDArray[np.float32]


def occ3d_file(
    scene: Scene,
    class_of_object: NDArray[np.uint8],
    time_s: float,
    sweeps: Sequence[LidarSweep],
    views: Sequence[View],
) -> bytes:
    """Return the content of ``labels.npz``.

    Args:
        scene: The street.
        class_of_object: Label 0..16 by object number.
        time_s: Time of the key frame's sweep, seconds.
        sweeps: Those that observe: the key frame's own and others near it.
        views: The cameras of the key frame.
    """
    world_from_ego = scene.ego_at(time_s).matrix
    by_lidar = seen_by_lidar(sweeps, world_from_ego)
    arrays = {
        "semantics": voxel_labels(scene, class_of_object, time_s),
        "mask_lidar": by_lidar.astype(np.uint8),
        "mask_camera": seen_by_cameras(by_lidar, views, world_from_ego).astype(np.uint8),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def voxel_labels(
    scene: Scene, class_of_object: NDArray[np.uint8], time_s: float
) -> NDArray[np.uint8]:
    """Return (200, 200, 16) labels; 17 where there is nothing."""
    world_from_ego = scene.ego_at(time_s).matrix
    solids = place(scene, time_s, world_from_ego[:3, 3])
    found = np.full(SIZE_XYZ, FREE, dtype=np.uint8)
    for axis in (_UP, *_ACROSS):
        labels = _along(axis, solids, world_from_ego[:3, :3], class_of_object)
        found = np.where(found == FREE, labels, found)
    return found


def _along(
    axis: int,
    solids: Sequence[Primitive],
    rotation: FloatArray,
    class_of_object: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return the labels that lines along one axis of the vehicle meet."""
    first, second = (SIZE_XYZ[k] for k in range(3) if k != axis)
    shape = first * _LINES, second * _LINES, SIZE_XYZ[axis]
    tops = np.full(shape, -np.inf, dtype=np.float32)
    labels = np.full(shape, FREE, dtype=np.uint8)
    for solid in solids:
        _fill(tops, labels, solid, axis, rotation, int(class_of_object[solid.object_id]))
    lines = labels.reshape(first, _LINES, second, _LINES, SIZE_XYZ[axis])
    best = np.zeros((first, second, SIZE_XYZ[axis]), dtype=np.uint8)
    found = np.full(best.shape, FREE, dtype=np.uint8)
    for label in np.unique(labels).tolist():
        if label != FREE:
            count = (lines == label).sum(axis=(1, 3), dtype=np.uint8)
            found[count > best] = label
            np.maximum(best, count, out=best)
    return np.moveaxis(found, -1, axis)


def _fill(
    tops: NDArray[np.float32],
    labels: NDArray[np.uint8],
    solid: Primitive,
    axis: int,
    rotation: FloatArray,
    label: int,
) -> None:
    """Enter one solid where it reaches farther up its line within a voxel than what is there."""
    if isinstance(solid.shape, GroundPlane) and axis != _UP:
        return  # level lines meet it nowhere or everywhere
    ends = solid.corners_m @ rotation
    low, high = ends.min(axis=0), ends.max(axis=0)
    step = VOXEL_M / _LINES
    across = [k for k in range(3) if k != axis]
    cut = [
        _cells(low[k], high[k], k, step, size) for k, size in zip(across, tops.shape, strict=False)
    ]
    layers = _cells(low[axis], high[axis], axis, VOXEL_M, tops.shape[2])
    if isinstance(solid.shape, GroundPlane):
        layers = slice(0, layers.stop)  # it has no lower end
    start: list[Any] = [RANGE_MIN_M[k] + VOXEL_M * SIZE_XYZ[k] for k in range(3)]
    for k, some, turn in zip(across, cut, ((slice(None), None), (None, slice(None))), strict=True):
        places = RANGE_MIN_M[k] + step * (np.arange(some.start, some.stop) + 0.5)
        start[k] = places.astype(np.float32)[turn]
    world = [sum(float(rotation[k, n]) * start[n] for n in range(3)) for k in range(3)]
    local = solid.to_local((world[0], world[1], world[2]))
    x, y, z = (part + place for part, place in zip(local, solid.viewer_m.tolist(), strict=True))
    back = (-rotation[:, axis]).tolist()
    enter, leave = intersect(solid.shape, (x, y, z), solid.to_local((back[0], back[1], back[2])))
    for layer in range(layers.start, layers.stop):
        # Distances from the upper end of the lines between which this layer lies.
        near, far = (VOXEL_M * (tops.shape[2] - layer - k) for k in (1, 0))
        top = np.maximum(enter, np.float32(near))
        window = tops[cut[0], cut[1], layer]
        wins = (top < np.minimum(leave, np.float32(far))) & (-top > window)
        window[wins] = np.broadcast_to(-top, window.shape)[wins]
        labels[cut[0], cut[1], layer][wins] = label


def _cells(low_m: float, high_m: float, axis: int, step_m: float, count: int) -> slice:
    """Return which of the cells along an axis a solid may lie in."""
    first, last = ((end - RANGE_MIN_M[axis]) / step_m for end in (low_m, high_m))
    return slice(min(max(0, int(first) - 1), count), max(0, min(count, int(last) + 2)))


def seen_by_lidar(sweeps: Sequence[LidarSweep], world_from_ego: FloatArray) -> Mask:
    """Return the voxels (200, 200, 16) that beams pass or end in."""
    seen = np.zeros(SIZE_XYZ, dtype=np.bool_)
    ego_from_world = np.linalg.inv(world_from_ego)
    for sweep in sweeps:
        ego_from_sensor = ego_from_world @ sweep.world_from_sensor
        rays = sweep.points_m.astype(np.float64) @ ego_from_sensor[:3, :3].T
        lengths = np.linalg.norm(rays, axis=1)
        rays /= np.maximum(lengths, 1e-9)[:, None]
        _mark(seen, ego_from_sensor[:3, 3] + rays * (lengths + _INTO_M)[:, None])
        for k in range(int(lengths.max(initial=0.0) / _STEP_M)):
            far = lengths > (k + 0.5) * _STEP_M
            _mark(seen, ego_from_sensor[:3, 3] + rays[far] * ((k + 0.5) * _STEP_M))
    return seen


def _mark(seen: Mask, points_m: FloatArray) -> None:
    cells = np.floor((points_m - RANGE_MIN_M) / VOXEL_M).astype(np.int64)
    x, y, z = cells[((cells >= 0) & (cells < SIZE_XYZ)).all(axis=1)].T
    seen[x, y, z] = True


def seen_by_cameras(by_lidar: Mask, views: Sequence[View], world_from_ego: FloatArray) -> Mask:
    """Return the voxels among those that the lidar saw whose center a camera sees, or nothing in
    front of which hides it.
    """
    centers = voxel_centers_m()[by_lidar]
    world = centers @ world_from_ego[:3, :3].T + world_from_ego[:3, 3]
    found = np.zeros(len(world), dtype=np.bool_)
    for view in views:
        uv, depth = view.camera.project(world)
        height, width = view.depth_m.shape
        column, row = np.floor(uv[:, 0]), np.floor(uv[:, 1])
        inside = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        at = np.flatnonzero(inside)
        surface = view.depth_m[row[at].astype(np.int64), column[at].astype(np.int64)]
        found[at[depth[at] <= surface + _HALF_DIAGONAL_M]] = True
    seen = np.zeros(SIZE_XYZ, dtype=np.bool_)
    seen[by_lidar] = found
    return seen
