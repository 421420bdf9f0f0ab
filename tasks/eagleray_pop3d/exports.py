"""Predictions as files.

``occupancy`` is an ``.npz`` with labels and features of the voxels that are not free, ``ply`` a
colored point per voxel for other programs, ``picture`` the photographs beside the occupancy seen
from above, ``video`` the same of all key frames in the order of their names, as one film.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import InputError, Item, Record
from eagleray_pop3d.data import EvaluationSample
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.picture import from_above, photographs
from eagleray_pop3d.predict import FramePrediction
from eagleray_pop3d.video import film_row
from eagleray_pop3d.voxels import FREE_LABEL
from eagleray_vision.driving.lidarseg import CLASS_COLORS, CLASS_NAMES
from eagleray_vision.panoptic.label_image import encode_png

EXPORT_FORMATS = ("occupancy", "ply", "picture", "video")


def export_prediction(
    item: Item,
    sample: EvaluationSample,
    prediction: FramePrediction,
    format: str,
    grid: GridSettings,
) -> Record:
    """Write one prediction.

    Args:
        item: The user's key frame.
        sample: It, as read.
        prediction: What was predicted.
        format: One of `EXPORT_FORMATS`.
        grid: The box, for places in metres.

    Raises:
        InputError: The format is unknown.
    """
    occupied = prediction.labels != FREE_LABEL
    row = {"key": item.key, "occupied_voxels": int(occupied.sum())}
    if format == "occupancy":
        return Record(item.key, row, {f"{item.key}.npz": occupancy_arrays(prediction, grid)})
    if format == "ply":
        places = voxel_centers_m(prediction.labels.shape, grid)[occupied]
        colors = np.array(CLASS_COLORS, dtype=np.uint8)[prediction.labels[occupied]]
        return Record(item.key, row, {f"{item.key}.ply": ply_points(places, colors)})
    if format == "picture":
        both = np.concatenate([photographs(sample), from_above(prediction.labels)], axis=1)
        return Record(item.key, row, {f"{item.key}.png": encode_png(both)})
    if format == "video":
        both = np.concatenate([photographs(sample), from_above(prediction.labels)], axis=1)
        return Record(item.key, {**row, **film_row(both)})
    raise InputError(f"unknown export format {format!r}; allowed are {', '.join(EXPORT_FORMATS)}")


def voxel_centers_m(shape: tuple[int, ...], grid: GridSettings) -> npt.NDArray[np.float32]:
    """Return the centers ``(W, H, Z, 3)`` of voxels in the lidar frame.

    Args:
        shape: Voxels along x, y and z, which may be more than the grid's.
        grid: The box.
    """
    axes = [
        low + (high - low) * (np.arange(count) + 0.5) / count
        for low, high, count in zip(grid.range_min_m, grid.range_max_m, shape, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)


def ply_points(places_m: npt.NDArray[np.float32], colors: npt.NDArray[np.uint8]) -> bytes:
    """Return a PLY file of colored points.

    Args:
        places_m: ``(n, 3)``.
        colors: ``(n, 3)`` RGB.
    """
    # Imported here: only this format needs it.
    import trimesh

    cloud: Any = trimesh.PointCloud  # untyped
    return bytes(cloud(places_m, colors).export(file_type="ply"))


def occupancy_arrays(prediction: FramePrediction, grid: GridSettings) -> bytes:
    """Return an ``.npz`` of labels, features of the voxels that are not free, box and names."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        labels=prediction.labels,
        features=prediction.voxel_features.numpy().astype(np.float16),
        range_min_m=np.array(grid.range_min_m),
        range_max_m=np.array(grid.range_max_m),
        class_names=np.array(CLASS_NAMES),
    )
    return buffer.getvalue()
