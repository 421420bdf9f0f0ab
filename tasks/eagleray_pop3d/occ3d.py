"""Occ3D-nuScenes: denser truth than one sweep gives (docs/originals/pop3d.md, section 8).

Tian et al., "Occ3D", NeurIPS 2023. Voxels lie in the vehicle's frame (x ahead, y left, z up).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eagleray.task import InputError, is_transient
from eagleray_vision.driving.occ3d_grid import FREE, RANGE_MIN_M, SIZE_XYZ, VOXEL_M

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.int64]

NUM_LABELS: Final = 18
NUM_SEMANTIC: Final = 17
"""Labels that the mean is taken over: all but free."""
RAY_TOLERANCES_M: Final = (1.0, 2.0, 4.0)
"""Liu et al., "Fully Sparse 3D Occupancy Prediction" (SparseOcc), ECCV 2024: RayIoU is the mean
over these."""

_ARRAYS = ("semantics", "mask_lidar", "mask_camera")
_STEEP_BEAMS = 10
_HIGHEST_BEAM_RAD = 0.21
_AZIMUTHS = 360
_STEP_M = 0.2
"""Length of a step along a ray: half a voxel, so that no voxel is jumped but at a corner."""
_LONGEST_M = 60.0
"""From one corner of the box to the opposite one."""


@dataclass(frozen=True)
class Occ3dTruth:
    """The truth of one key frame.

    Attributes:
        labels: ``(200, 200, 16)`` uint8, 0..17.
        seen_by_lidar: Voxels that any sweep of the scene observed.
        seen_by_cameras: Those among them that a camera of the key frame sees.
    """

    labels: Labels
    seen_by_lidar: Mask
    seen_by_cameras: Mask


def read_occ3d(path: Path, token: str) -> Occ3dTruth:
    """Read ``labels.npz``.

    Args:
        path: The file.
        token: The key frame, for messages.

    Raises:
        InputError: The file is missing or damaged, lacks an array, or has another shape or labels.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS if name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if is_transient(error):
            raise
        raise InputError(
            f"{path} of key frame {token} is no readable .npz file: {error}"
        ) from error
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise InputError(f"{path} of key frame {token} lacks {missing}; Occ3D has {_ARRAYS}")
    for name, array in arrays.items():
        if array.shape != SIZE_XYZ:
            raise InputError(
                f"{path} of key frame {token}: {name} is {array.shape}, Occ3D-nuScenes has "
                f"{SIZE_XYZ} voxels of {VOXEL_M} m (its Waymo part is another one)"
            )
    labels = arrays["semantics"]
    if labels.max() > FREE:
        raise InputError(
            f"{path} of key frame {token}: label {int(labels.max())}; labels are 0 to {FREE}"
        )
    return Occ3dTruth(
        labels.astype(np.uint8),
        arrays["mask_lidar"].astype(np.bool_),
        arrays["mask_camera"].astype(np.bool_),
    )


def count_voxels(truth: Labels, predicted: Labels, mask: Mask | None) -> Counts:
    """Count voxels by true and predicted label, ``(18, 18)``; with a mask those in it alone."""
    if mask is not None:
        truth, predicted = truth[mask], predicted[mask]
    pairs = truth.astype(np.int64).ravel() * NUM_LABELS + predicted.ravel()
    return np.bincount(pairs, minlength=NUM_LABELS**2).reshape(NUM_LABELS, NUM_LABELS)


def semantic_iou(counts: Counts) -> FloatArray:
    """Return the IoUs of labels 0 to 16, ``(17,)``, in 0..1; NaN for one that neither occurs nor
    is predicted.
    """
    correct = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - correct
    with np.errstate(invalid="ignore"):
        return (correct / union)[:NUM_SEMANTIC]


def lidar_rays() -> npt.NDArray[np.float64]:
    """Return unit directions like those of nuScenes' lidar, ``(n, 3)`` in the vehicle's frame.

    Ten beams hit flat ground at whole multiples of the lidar's height; further ones go on by the
    last difference up to 12 degrees above the horizon; one ray per degree around. (RayIoU's
    published evaluation; quoted from memory.)
    """
    beams = [-(np.pi / 2 - np.arctan(k + 1)) for k in range(_STEEP_BEAMS)]
    step = beams[-1] - beams[-2]
    while beams[-1] < _HIGHEST_BEAM_RAD:
        beams.append(beams[-1] + step)
    pitch, azimuth = np.meshgrid(
        np.array(beams), np.deg2rad(np.arange(_AZIMUTHS) * 360.0 / _AZIMUTHS), indexing="ij"
    )
    rays = np.stack(
        [np.cos(pitch) * np.cos(azimuth), np.cos(pitch) * np.sin(azimuth), np.sin(pitch)], axis=-1
    )
    return rays.reshape(-1, 3)


def first_hits(
    labels: Labels, origin_m: FloatArray, rays: FloatArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return where rays first meet a voxel that is not free.

    Args:
        labels: ``(200, 200, 16)``.
        origin_m: ``(3,)`` in the vehicle's frame.
        rays: ``(n, 3)`` unit directions.

    Returns:
        Distances ``(n,)`` in metres, infinite where a ray leaves the box, and labels ``(n,)``,
        free there.
    """
    distance = np.full(len(rays), np.inf)
    hit = np.full(len(rays), FREE, dtype=np.int64)
    going = np.arange(len(rays))
    low, size = np.array(RANGE_MIN_M), np.array(SIZE_XYZ)
    for k in range(int(_LONGEST_M / _STEP_M)):
        along = (k + 0.5) * _STEP_M
        cells = np.floor((origin_m + along * rays[going] - low) / VOXEL_M).astype(np.int64)
        inside = ((cells >= 0) & (cells < size)).all(axis=1)
        # A ray that begins outside may still come in; one that has passed the box does not matter.
        found = np.full(len(going), FREE, dtype=np.int64)
        x, y, z = cells[inside].T
        found[inside] = labels[x, y, z]
        solid = found != FREE
        distance[going[solid]], hit[going[solid]] = along, found[solid]
        going = going[~solid]
        if not len(going):
            break
    return distance, hit


def count_rays(
    truth: Labels, predicted: Labels, origins_m: Sequence[FloatArray], rays: FloatArray
) -> npt.NDArray[np.int64]:
    """Count rays of one key frame by label.

    Args:
        truth: ``(200, 200, 16)`` labels.
        predicted: Likewise.
        origins_m: Places ``(3,)`` that rays start from.
        rays: ``(n, 3)`` directions.

    Returns:
        ``(5, 17)``: rays whose first true voxel has the label, those whose first predicted voxel
        has it, and hits within 1, 2 and 4 m. Rays that meet no true voxel count nowhere.
    """
    counts = np.zeros((2 + len(RAY_TOLERANCES_M), NUM_SEMANTIC), dtype=np.int64)
    for origin in origins_m:
        true_m, true_label = first_hits(truth, origin, rays)
        ours_m, our_label = first_hits(predicted, origin, rays)
        counted = true_label != FREE
        answered = counted & (our_label != FREE)
        counts[0] += np.bincount(true_label[counted], minlength=NUM_SEMANTIC)
        counts[1] += np.bincount(our_label[answered], minlength=NUM_SEMANTIC)
        same = answered & (true_label == our_label)
        for row, tolerance in enumerate(RAY_TOLERANCES_M, start=2):
            near = same.copy()
            near[same] = np.abs(true_m[same] - ours_m[same]) < tolerance
            counts[row] += np.bincount(true_label[near], minlength=NUM_SEMANTIC)
    return counts


def ray_iou(counts: npt.NDArray[np.int64]) -> FloatArray:
    """Return IoUs ``(3, 17)`` in 0..1 at 1, 2 and 4 m by label, NaN for one that neither occurs nor
    is predicted. RayIoU is the mean over labels and distances.
    """
    hits = counts[2:]
    union = counts[0] + counts[1] - hits
    with np.errstate(invalid="ignore"):
        return hits / union
