"""What answers a text in one key frame: boxes on the photographs, likeness seen from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from eagleray.task import Hit
from eagleray_pop3d.data import EvaluationSample
from eagleray_pop3d.exports import ply_points, voxel_centers_m
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.querying import corners_m, decode_likeness
from eagleray_vision.panoptic.label_image import encode_png

Rgb = npt.NDArray[np.uint8]

_SIDE_PX = 600
_GRAY = (70, 70, 78)
_WARM = (255, 120, 0)
_BEST, _OTHERS = (0, 255, 120), (0, 190, 255)
"""Colors of the best box and of the others."""
_NEAR_M = 0.5
_EDGES = tuple((a, b) for a in range(8) for b in range(a) if (a ^ b).bit_count() == 1)
"""Pairs of corners that differ along one axis."""


def hit_files(
    vector: Tensor,
    hits: Sequence[Hit],
    sample: EvaluationSample,
    row: Mapping[str, Any],
    fitted: Mapping[str, Any],
    grid: GridSettings,
) -> dict[str, bytes]:
    """Return a picture of the boxes and a PLY of the voxels, colored by likeness.

    Args:
        vector: ``(D,)`` of the text.
        hits: Boxes in this key frame, the best first.
        sample: The key frame.
        row: Its row of the index.
        fitted: The codebook.
        grid: The box of the grid.
    """
    frame, likeness = decode_likeness(vector, row, fitted)
    colors = likeness_colors(likeness)
    volume = np.zeros((*frame.size_xyz, 3), dtype=np.uint8)
    volume.reshape(-1, 3)[frame.voxels] = colors
    occupied = np.zeros(frame.size_xyz, dtype=np.bool_)
    occupied.reshape(-1)[frame.voxels] = True
    places = voxel_centers_m(frame.size_xyz, grid)[occupied]
    both = np.concatenate(
        [boxed_photographs(sample, hits), likeness_from_above(volume, occupied, hits, grid)], axis=1
    )
    return {"png": encode_png(both), "ply": ply_points(places, volume[occupied])}


def likeness_colors(likeness: npt.NDArray[np.floating[Any]]) -> Rgb:
    """Return colors ``(n, 3)``, gray for what is least like a text to orange for the likest."""
    if not len(likeness):
        return np.zeros((0, 3), dtype=np.uint8)
    low, high = float(likeness.min()), float(likeness.max())
    # Squared: most voxels are a little like most texts.
    share = ((likeness - low) / max(high - low, 1e-9))[:, None] ** 2
    return np.rint(np.array(_GRAY) * (1 - share) + np.array(_WARM) * share).astype(np.uint8)


def likeness_from_above(
    volume: Rgb, occupied: npt.NDArray[np.bool_], hits: Sequence[Hit], grid: GridSettings
) -> Rgb:
    """Return the color of every column's likest voxel, the vehicle's front up, with boxes,
    ``(600, 600, 3)``.

    Args:
        volume: ``(W, H, Z, 3)`` colors.
        occupied: ``(W, H, Z)``.
        hits: Boxes, the best first.
        grid: The box of the grid.
    """
    warm = np.where(occupied, volume[..., 0].astype(np.int64), -1).argmax(axis=2)
    shown = np.take_along_axis(volume, warm[..., None, None], axis=2)[:, :, 0]
    shown = np.where(occupied.any(axis=2)[..., None], shown, 0).transpose(1, 0, 2)[::-1]
    image = Image.fromarray(np.ascontiguousarray(shown)).resize(
        (_SIDE_PX, _SIDE_PX), Image.Resampling.NEAREST
    )
    draw = ImageDraw.Draw(image)
    low = np.array(grid.range_min_m[:2])
    scale = _SIDE_PX / np.array(grid.extent_m[:2])
    for k, hit in reversed(list(enumerate(hits))):
        ends = (corners_m(hit)[[0, -1], :2] - low) * scale
        (left, below), (right, above) = ends.tolist()
        color = _OTHERS if k else _BEST
        draw.rectangle((left, _SIDE_PX - above, right, _SIDE_PX - below), outline=color, width=2)
    return np.asarray(image)


def boxed_photographs(sample: EvaluationSample, hits: Sequence[Hit]) -> Rgb:
    """Return the photographs of a rig in two columns with the boxes' edges, ``(600, 600, 3)``."""
    frame = sample.frame
    rows = -(-len(frame.images) // 2)
    width, height = _SIDE_PX // 2, _SIDE_PX // rows
    canvas = Image.new("RGB", (_SIDE_PX, _SIDE_PX))
    for k, (pixels, size) in enumerate(zip(frame.images, frame.sizes_hw.tolist(), strict=True)):
        photo = Image.fromarray(np.clip(np.rint(pixels[: size[0], : size[1]]), 0, 255).astype("u1"))
        factor = min(width / size[1], height / size[0])
        photo = photo.resize((round(size[1] * factor), round(size[0] * factor)))
        draw = ImageDraw.Draw(photo)
        for number, hit in reversed(list(enumerate(hits))):
            for start, end in _edges(corners_m(hit), frame.lidar2img[k]):
                line = [(factor * start).tolist(), (factor * end).tolist()]
                draw.line([tuple(one) for one in line], fill=_OTHERS if number else _BEST, width=1)
        canvas.paste(photo, ((k % 2) * width, (k // 2) * height))
    return np.asarray(canvas)


def _edges(
    corners: npt.NDArray[np.float64], lidar2img: npt.NDArray[np.float32]
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return the ends of a box' edges in pixels; none where a corner is not ahead."""
    seen = corners @ lidar2img[:3, :3].T.astype(np.float64) + lidar2img[:3, 3]
    if seen[:, 2].min() < _NEAR_M:
        return []
    pixels = seen[:, :2] / seen[:, 2:]
    return [(pixels[a], pixels[b]) for a, b in _EDGES]
