"""Outlines of binary masks as polygons, point by point as the usual COCO converters write them.

Their recipe fixes every vertex, because equal files need equal ties: marching squares over the
zero-padded mask, then Douglas-Peucker. Points are (row, column) with pixel centers at integers, so
vertices lie half-way between a pixel of the mask and one outside.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIMPLIFICATION_PX = 2.0
"""Douglas-Peucker tolerance of the converters, in pixels."""

_MIN_POLYGON_POINTS = 3

_TOP, _LEFT, _RIGHT, _BOTTOM = (0, 1), (1, 0), (1, 2), (2, 1)
"""Edge midpoints of a 2 x 2 cell as (row, column) offsets in half pixels from its upper left
pixel."""

_SEGMENTS_BY_CELL = {
    # bits: 1 upper left, 2 upper right, 4 lower left, 8 lower right; the mask lies on the right
    # hand
    1: [(_TOP, _LEFT)],
    2: [(_RIGHT, _TOP)],
    3: [(_RIGHT, _LEFT)],
    4: [(_LEFT, _BOTTOM)],
    5: [(_TOP, _BOTTOM)],
    6: [(_RIGHT, _TOP), (_LEFT, _BOTTOM)],
    7: [(_RIGHT, _BOTTOM)],
    8: [(_BOTTOM, _RIGHT)],
    9: [(_TOP, _LEFT), (_BOTTOM, _RIGHT)],
    10: [(_BOTTOM, _TOP)],
    11: [(_BOTTOM, _LEFT)],
    12: [(_LEFT, _RIGHT)],
    13: [(_TOP, _RIGHT)],
    14: [(_LEFT, _TOP)],
}

Points = npt.NDArray[np.float64]


def mask_contours(mask: npt.NDArray[np.bool_]) -> list[Points]:
    """Follow all outlines of a mask, holes included.

    A filled region is followed clockwise on the screen, a hole the other way; diagonal neighbors
    stay unconnected. A contour starts and ends at the end point of its last segment in row-major
    cell order, contours are ordered by their first segment.

    Args:
        mask: ``(H, W)`` booleans.

    Returns:
        One ``(n, 2)`` float64 array of (row, column) points per outline; first and last point
        coincide.

    Example:
        >>> mask_contours(np.ones((1, 1), bool))[0].tolist()
        [[0.5, 0.0], [0.0, -0.5], [-0.5, 0.0], [0.0, 0.5], [0.5, 0.0]]
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return []
    origin = (int(rows[0]), int(columns[0]))
    cropped = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    starts, ends = _segments(cropped)
    following = _following_segment(starts, ends)
    offset = np.array(origin, dtype=np.float64) - 1.0
    return [ends[cycle] / 2.0 + offset for cycle in _cycles(following)]


def simplify_polyline(points: Points, tolerance_px: float) -> Points:
    """Drop points of a line that stay within a distance of it (Douglas-Peucker).

    The line runs from its first to its last point, which may coincide. The farthest point (the
    first one on ties) splits it while it is farther away than the tolerance.

    Args:
        points: ``(n, 2)`` float64 (row, column) points, n >= 1.
        tolerance_px: Distance in pixels; 0 or less keeps every point.

    Returns:
        ``(m, 2)`` float64 subset of the points, first and last one included.
    """
    if tolerance_px <= 0:
        return points
    keep = np.zeros(len(points), dtype=bool)
    keep[0] = keep[-1] = True
    pending = [(0, len(points) - 1)]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        distances = _chord_distances(points[first + 1 : last], points[first], points[last])
        farthest = int(np.argmax(distances))
        if distances[farthest] > tolerance_px:
            split = first + 1 + farthest
            keep[split] = True
            pending += [(first, split), (split, last)]
    return points[keep]


def mask_polygons(
    mask: npt.NDArray[np.bool_], tolerance_px: float = SIMPLIFICATION_PX
) -> list[list[float]]:
    """Return the outlines of a mask as COCO polygons.

    Every outline becomes a polygon of its own, those of holes too. Negative coordinates are set to
    0 and polygons of fewer than three points are dropped.

    Args:
        mask: ``(H, W)`` booleans.
        tolerance_px: Simplification tolerance in pixels.

    Returns:
        Polygons as flat lists x0, y0, x1, y1, ... in pixels.
    """
    polygons = []
    for contour in mask_contours(mask):
        points = simplify_polyline(contour, tolerance_px)
        if len(points) >= _MIN_POLYGON_POINTS:
            flat = points[:, ::-1].ravel().tolist()
            polygons.append([value if value >= 0 else 0 for value in flat])
    return polygons


def _segments(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    padded = np.pad(mask, 1).astype(np.uint8)
    cells = padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, :-1] << 2 | padded[1:, 1:] << 3
    cell_rows, cell_columns = np.nonzero((cells > 0) & (cells < 15))
    starts, ends = [], []
    for row, column in zip(cell_rows.tolist(), cell_columns.tolist(), strict=True):
        for start, end in _SEGMENTS_BY_CELL[int(cells[row, column])]:
            starts.append((2 * row + start[0], 2 * column + start[1]))
            ends.append((2 * row + end[0], 2 * column + end[1]))
    return np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)


def _following_segment(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> list[int]:
    by_start = {point: index for index, point in enumerate(map(tuple, starts.tolist()))}
    return [by_start[(row, column)] for row, column in ends.tolist()]


def _cycles(following: list[int]) -> list[npt.NDArray[np.int64]]:
    """Split a permutation into cycles; ``ends[cycle]`` are the points of one contour."""
    seen = np.zeros(len(following), dtype=bool)
    cycles = []
    for first in range(len(following)):
        if seen[first]:
            continue
        cycle = [first]
        while following[cycle[-1]] != first:
            cycle.append(following[cycle[-1]])
        seen[cycle] = True
        last = int(np.argmax(cycle))
        cycles.append(np.array(cycle[last:] + cycle[: last + 1], dtype=np.int64))
    return cycles


def _chord_distances(points: Points, start: Points, end: Points) -> npt.NDArray[np.float64]:
    """Distance of points from the chord start-end, in the arithmetic that decides ties."""
    row_step, column_step = end - start
    angle = -np.arctan2(row_step, column_step)
    sine, cosine = np.sin(angle), np.cos(angle)
    from_start, from_end = points - start, points - end
    inside = (from_start @ (end - start) > 0) & (from_end @ (start - end) > 0)
    perpendicular = np.abs(
        points[:, 0] * cosine + points[:, 1] * sine - (start[1] * sine + start[0] * cosine)
    )
    to_ends = np.minimum(
        np.sqrt(from_start[:, 1] ** 2 + from_start[:, 0] ** 2),
        np.sqrt(from_end[:, 1] ** 2 + from_end[:, 0] ** 2),
    )
    return np.where(inside, perpendicular, to_ends)
