"""Voxels of lidar points, and the labels that training and evaluation make of them.

All arrays over the grid are ``(W, H, Z)``: along x, y and z (docs/originals/pop3d.md, sections 5
and 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from eagleray.task import InputError
from eagleray_pop3d.model.config import GridSettings

Points = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.uint8]

FREE_LABEL = 17
"""Class of voxels that the lidar's rays cross; 1 to 16 are nuScenes' classes."""
IGNORED_LABEL = 255
"""Class of unobserved voxels and of points without a class."""
OCCUPIED_LABEL = 1
"""Class of voxels with points in the labels of training, whatever is in them."""
_TOP_MARGIN_M = 1e-3
"""Points are clipped this far below the box' upper corner."""
_RAY_SAMPLES = 100
"""Positions along a ray, both ends included."""
_NUM_LABELS = 256


def voxel_coordinates(
    xyz: Points, grid: GridSettings, *, clip: bool = True
) -> npt.NDArray[np.float64]:
    """Return places in cells, 0 at the box' lower corner.

    Args:
        xyz: ``(n, 3)`` metres in the lidar frame.
        grid: Box and cells.
        clip: Move points outside of the box onto its border, as the original does.

    Returns:
        ``(n, 3)`` float64 (x, y, z).
    """
    low, high = np.array(grid.range_min_m), np.array(grid.range_max_m)
    cell = (high - low) / np.array(grid.size_xyz)
    places = xyz.astype(np.float64)
    if clip:
        places = np.clip(places, low, high - _TOP_MARGIN_M)
    return (places - low) / cell


def cells_of(xyz_m: Tensor, grid: GridSettings) -> Tensor:
    """Return what ``voxel_coordinates`` gives with clipping, on the device of the points.

    Args:
        xyz_m: ``(n, 3)`` metres in the lidar frame.
        grid: Box and cells.

    Returns:
        ``(n, 3)`` float32.
    """
    low, high = xyz_m.new_tensor(grid.range_min_m), xyz_m.new_tensor(grid.range_max_m)
    cell = (high - low) / xyz_m.new_tensor(grid.size_xyz)
    return (xyz_m.clamp(low, high - _TOP_MARGIN_M) - low) / cell


def occupancy_labels(xyz: Points, grid: GridSettings) -> Labels:
    """Return what training learns: 1 where a voxel has a point (after clipping), else 0, free and
    unobserved alike.

    Args:
        xyz: ``(n, 3)`` metres in the lidar frame.
        grid: Box and cells.
    """
    labels = np.zeros(grid.size_xyz, dtype=np.uint8)
    labels.reshape(-1)[_flat(voxel_coordinates(xyz, grid), grid)] = OCCUPIED_LABEL
    return labels


def observed_labels(
    sweeps: Sequence[tuple[Points, npt.NDArray[np.float64]]], grid: GridSettings
) -> Labels:
    """Return occupancy with what nobody saw left out: 1 where a voxel has a point, 0 where a ray
    runs through, 255 elsewhere. Points outside of the box are clipped to end rays, and count as
    occupied nowhere.

    Args:
        sweeps: Points ``(n, 3)`` in metres in the lidar frame, with the place ``(3,)`` that each
            sweep was taken from.
        grid: Box and cells.
    """
    labels = np.full(grid.size_xyz, IGNORED_LABEL, dtype=np.uint8)
    flat = labels.reshape(-1)
    for xyz, origin in sweeps:
        _mark_rays(flat, origin, xyz.astype(np.float64) - origin, grid, 0)
    for xyz, _ in sweeps:
        kept = xyz[_inside(xyz, grid)]
        flat[_flat(voxel_coordinates(kept, grid), grid)] = OCCUPIED_LABEL
    return labels


def majority_labels(xyz: Points, classes: Labels, grid: GridSettings) -> Labels:
    """Return the majority class of every voxel's points (after clipping), class 0 included; 17
    where there are none.

    Args:
        xyz: ``(n, 3)`` metres in the lidar frame.
        classes: ``(n,)`` or ``(n, 1)``, 0..16.
        grid: Box and cells.

    Raises:
        InputError: There are not as many classes as points.
    """
    labels = np.full(grid.size_xyz, FREE_LABEL, dtype=np.uint8)
    flat = _flat(voxel_coordinates(xyz, grid), grid)
    _vote(labels, flat, _one_class_per_point(xyz, classes))
    return labels


def evaluation_labels(xyz: Points, classes: Labels, grid: GridSettings) -> Labels:
    """Return what predictions are compared with.

    Voxels on the way from the lidar to a point are free (17); those with points have the majority
    of their points' classes, where points of class 0 vote for 255 and ties go to the smaller
    number; all others are 255. Points outside of the box are dropped.

    Args:
        xyz: ``(n, 3)`` metres in the lidar frame.
        classes: ``(n,)`` or ``(n, 1)``, 0..16.
        grid: Box and cells.

    Raises:
        InputError: There are not as many classes as points.
    """
    classes = _one_class_per_point(xyz, classes)
    kept = _inside(xyz, grid)
    xyz, classes = xyz[kept], np.where(classes[kept] == 0, IGNORED_LABEL, classes[kept])
    labels = np.full(grid.size_xyz, IGNORED_LABEL, dtype=np.uint8)
    _mark_rays(labels.reshape(-1), np.zeros(3), xyz.astype(np.float64), grid, FREE_LABEL)
    _vote(labels, _flat(voxel_coordinates(xyz, grid), grid), classes)
    return labels


def agnostic_labels(evaluation: Labels, majority: Labels) -> Labels:
    """Return what the original's ``val_miou_vox_agn`` compares with: 1 where a voxel is occupied, 0
    where it is free, 255 elsewhere.

    Voxels whose points have no class are occupied there, too: the line that should leave them out
    reads the labels without rays.

    Args:
        evaluation: Of ``evaluation_labels``.
        majority: Of ``majority_labels``.
    """
    occupied = np.where(evaluation == FREE_LABEL, 0, OCCUPIED_LABEL)
    labels = np.where(evaluation == IGNORED_LABEL, IGNORED_LABEL, occupied)
    return np.where(majority == 0, OCCUPIED_LABEL, labels).astype(np.uint8)


def _mark_rays(
    flat: Labels,
    origin: npt.NDArray[np.float64],
    ways: npt.NDArray[np.float64],
    grid: GridSettings,
    label: int,
) -> None:
    """Write a label into the voxels of 100 places from an origin along each way; places outside of
    the box are left out.

    The same numbers as ``voxel_coordinates`` gives for each place, an axis at a time and without
    copies: this is most of what reading a key frame with its labels costs.
    """
    size = grid.size_xyz
    bounds = list(zip(grid.range_min_m, grid.range_max_m, size, strict=True))
    axes = np.ascontiguousarray(ways.T)
    for part in np.linspace(0.0, 1.0, _RAY_SAMPLES):
        index = np.zeros(len(ways), dtype=np.int64)
        inside = np.ones(len(ways), dtype=np.bool_)
        for axis, (low, high, count) in enumerate(bounds):
            places = origin[axis] + part * axes[axis]
            inside &= (places > low) & (places < high)
            np.minimum(places, high - _TOP_MARGIN_M, out=places)
            places -= low
            places /= (high - low) / count
            index *= count
            # What lies outside is cut off below; floor and truncation agree on all others.
            index += places.astype(np.int64)
        flat[index[inside]] = label


def _inside(xyz: Points, grid: GridSettings) -> npt.NDArray[np.bool_]:
    """Return which points lie strictly inside of the box, ``(n,)``."""
    above = (xyz > np.array(grid.range_min_m)) & (xyz < np.array(grid.range_max_m))
    return above.all(axis=1)


def _flat(places: npt.NDArray[np.float64], grid: GridSettings) -> npt.NDArray[np.int64]:
    index = np.floor(places).astype(np.int64)
    return np.ravel_multi_index((index[:, 0], index[:, 1], index[:, 2]), grid.size_xyz)


def _vote(labels: Labels, flat: npt.NDArray[np.int64], classes: npt.NDArray[Any]) -> None:
    """Write the majority class of every voxel that occurs; ties go to the smaller number."""
    pairs, counts = np.unique(flat * _NUM_LABELS + classes, return_counts=True)
    # Pairs ascend by voxel and class: a stable sort by falling counts leaves the smaller class
    # first among equals, and the first entry of each voxel wins.
    order = np.argsort(-counts, kind="stable")
    voxels, first = np.unique(pairs[order] // _NUM_LABELS, return_index=True)
    labels.reshape(-1)[voxels] = (pairs[order] % _NUM_LABELS)[first]


def _one_class_per_point(xyz: Points, classes: Labels) -> Labels:
    flat = classes.reshape(-1)
    if len(flat) != len(xyz):
        raise InputError(
            f"a sweep of {len(xyz)} points has {len(flat)} labels; they must be as many: the "
            "label file belongs to another sweep, or one of the two is cut off"
        )
    return flat
