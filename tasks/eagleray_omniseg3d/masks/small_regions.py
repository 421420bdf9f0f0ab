"""Filling small holes and removing small islands of a mask, inside its box only.

Gives what ``segment_anything.utils.amg.remove_small_regions`` gives on the whole image.
Everything outside a mask's box is background; one row or column of it on each side stands for all
of it, with its true area.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.masks.run_lengths import BoolArray

Areas = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Window:
    """A mask's box with a frame of one pixel where the image goes on."""

    rows: slice
    columns: slice
    row_weights: Areas
    column_weights: Areas


def clean_mask(
    mask: BoolArray, box_xyxy: tuple[int, int, int, int], min_area_px: int
) -> tuple[BoolArray, bool]:
    """Fill holes and remove islands smaller than an area (8-connected).

    Args:
        mask: (H, W) bool.
        box_xyxy: Its first and last column and row.
        min_area_px: Smaller holes and islands go.

    Returns:
        The cleaned mask (the same array if nothing changed), and whether it changed.
    """
    window = _window(mask.shape, box_xyxy)
    inside = mask[window.rows, window.columns]
    filled = _fill_holes(inside, window, min_area_px)
    kept = _remove_islands(inside if filled is None else filled, window, min_area_px)
    result = filled if kept is None else kept
    if result is None:
        return mask, False
    cleaned = mask.copy()
    cleaned[window.rows, window.columns] = result
    if filled is not None:
        _fill_outside(cleaned, result, window)
    return cleaned, True


def _window(shape: tuple[int, ...], box_xyxy: tuple[int, int, int, int]) -> _Window:
    x0, y0, x1, y1 = box_xyxy
    rows, row_weights = _framed(y0, y1, shape[0])
    columns, column_weights = _framed(x0, x1, shape[1])
    return _Window(rows, columns, row_weights, column_weights)


def _framed(first: int, last: int, size: int) -> tuple[slice, Areas]:
    start, stop = max(first - 1, 0), min(last + 2, size)
    weights = np.ones(stop - start)
    if start < first:
        weights[0] = first
    if stop > last + 1:
        weights[-1] = size - last - 1
    return slice(start, stop), weights


def _fill_holes(inside: BoolArray, window: _Window, min_area_px: int) -> BoolArray | None:
    regions, areas = _components(~inside, window)
    small = areas < min_area_px
    small[0] = False
    if not small.any():
        return None
    small[0] = True
    return np.asarray(small[regions], np.bool_)


def _remove_islands(inside: BoolArray, window: _Window, min_area_px: int) -> BoolArray | None:
    regions, areas = _components(inside, window)
    large = areas >= min_area_px
    large[0] = False
    if large[1:].all():
        return None
    if not large.any():
        large[1 + int(areas[1:].argmax())] = True
    return np.asarray(large[regions], np.bool_)


def _components(pixels: BoolArray, window: _Window) -> tuple[npt.NDArray[np.int32], Areas]:
    """Return 8-connected regions (0 = not set) and their areas in the whole image."""
    count, regions, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), 8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    if (window.row_weights > 1).any() or (window.column_weights > 1).any():
        weights = np.outer(window.row_weights, window.column_weights)
        heavy = weights > 1
        areas += np.bincount(regions[heavy], weights[heavy] - 1, count)
    return regions, areas


def _fill_outside(cleaned: BoolArray, result: BoolArray, window: _Window) -> None:
    """Carry on what happened to the frame to the strips of the image that it stands for."""
    rows, columns = window.rows, window.columns
    if rows.start > 0:
        cleaned[: rows.start, columns] = result[0]
    if rows.stop < len(cleaned):
        cleaned[rows.stop :, columns] = result[-1]
    if columns.start > 0:
        cleaned[:, : columns.start] = cleaned[:, columns.start, None]
    if columns.stop < cleaned.shape[1]:
        cleaned[:, columns.stop :] = cleaned[:, columns.stop - 1, None]
