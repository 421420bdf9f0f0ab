"""Writing selections: masks per view (PNG, COCO run lengths), the object as a point cloud (PLY)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from eagleray.task import Item, Record
from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.masks.run_lengths import encode_masks
from eagleray_omniseg3d.picture import tint, to_bytes
from eagleray_omniseg3d.predict import SelectedViews
from eagleray_omniseg3d.scenes.reading import world_points
from eagleray_omniseg3d.scenes.scene import Scene

EXPORT_FORMATS = ("masks", "coco_rle", "ply", "overlays")
_CELLS = 512


def export_selection(item: Item, selected: SelectedViews, format: str, scene: Scene) -> Record:
    """Return the files of one selection.

    Args:
        item: The click file.
        selected: What it selected.
        format: One of EXPORT_FORMATS.
        scene: The scene, for the coordinates of points.

    Raises:
        SelectionError: ``ply`` of an empty selection.
    """
    writers: Mapping[str, Callable[[SelectedViews], Mapping[str, bytes]]] = {
        "masks": _masks,
        "coco_rle": _run_lengths,
        "ply": partial(_ply, scene=scene),
        "overlays": _overlays,
    }
    files = {f"{item.key}/{name}": data for name, data in writers[format](selected).items()}
    pixels = {n: int(m.sum()) for n, m in zip(selected.names, selected.masks, strict=True)}
    return Record(item.key, {"selection": item.key, "pixels": pixels}, files)


def point_cloud_ply(
    points: npt.NDArray[np.float32], colors: npt.NDArray[np.uint8], scene: Scene
) -> bytes:
    """Return a binary PLY file in the world coordinates of the capture (of COLMAP's model, say).

    Several points at one place become one.

    Args:
        points: (n, 3) scene coordinates.
        colors: (n, 3) uint8 RGB.
        scene: The scene.

    Raises:
        SelectionError: There are no points.
    """
    if not len(points):
        raise SelectionError("the selection is empty; lower the threshold or click elsewhere")
    points, colors = thin_points(points, colors)
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            "comment world coordinates of the capture",
            f"element vertex {len(points)}",
            *(f"property float {axis}" for axis in "xyz"),
            *(f"property uchar {channel}" for channel in ("red", "green", "blue")),
            "end_header\n",
        ]
    )
    rows = np.empty(len(points), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    rows["xyz"], rows["rgb"] = world_points(scene, points.astype(np.float64)), colors
    return header.encode() + rows.tobytes()


def thin_points(
    points: npt.NDArray[np.float32], colors: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Keep one of the points that several views see at one place.

    Args:
        points: (n, 3) scene coordinates, at least one.
        colors: (n, 3) uint8 RGB.

    Returns:
        The first point of every cell, cells being the longest side of all points / 512.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    cell = max(float((high - low).max()) / _CELLS, 1e-12)
    _, kept = np.unique(((points - low) / cell).astype(np.int64), axis=0, return_index=True)
    kept.sort()
    return points[kept], colors[kept]


def _masks(selected: SelectedViews) -> Mapping[str, bytes]:
    pairs = zip(selected.names, selected.masks, strict=True)
    return {
        f"{name}.png": png_bytes(np.where(mask, np.uint8(255), np.uint8(0))) for name, mask in pairs
    }


def _overlays(selected: SelectedViews) -> Mapping[str, bytes]:
    triples = zip(selected.names, selected.views, selected.masks, strict=True)
    return {
        f"{name}.png": png_bytes(tint(to_bytes(view.rgb), mask)[:, :, ::-1])
        for name, view, mask in triples
    }


def _run_lengths(selected: SelectedViews) -> Mapping[str, bytes]:
    codes = {
        name: encode_masks(mask[None])[0]
        for name, mask in zip(selected.names, selected.masks, strict=True)
    }
    return {"masks.json": json.dumps(codes, indent=1).encode()}


def _ply(selected: SelectedViews, scene: Scene) -> Mapping[str, bytes]:
    pairs = list(zip(selected.views, selected.masks, strict=True))
    points = np.concatenate([view.positions[mask] for view, mask in pairs])
    colors = np.concatenate([to_bytes(view.rgb)[mask] for view, mask in pairs])
    return {"object.ply": point_cloud_ply(points, colors, scene)}


def png_bytes(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an image (H, W) or BGR (H, W, 3), uint8, as PNG."""
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    return encoded.tobytes()
