"""The surface of a trained scene as a mesh: marching tetrahedra over its density, colored.

A cell of the grid is cut into six tetrahedra around its main diagonal (Kuhn's subdivision). All
cells are cut alike, so that neighbors agree on their common faces, and the surface has no holes but
where the scene's box cuts it; there the density is taken as zero, which closes it. Marching cubes
would need its table of ambiguous cases for the same. Doi, Koide: "An efficient method of
triangulating equi-valued surfaces by using tetrahedral cells", IEICE Transactions E74, 1991.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mesh:
    """A surface of triangles.

    Attributes:
        vertices: (n, 3) float64 positions.
        faces: (m, 3) int64 vertices, counterclockwise seen from outside.
        colors: (n, 3) uint8 RGB.
    """

    vertices: FloatArray
    faces: IntArray
    colors: npt.NDArray[np.uint8]


def isosurface(values: npt.NDArray[np.floating[Any]], level: float) -> tuple[FloatArray, IntArray]:
    """Return the surface on which a grid of values crosses a level.

    Args:
        values: (X, Y, Z) samples; what lies above the level is inside. The border is taken as
            outside, so that the surface is closed.
        level: The level.

    Returns:
        Vertices (n, 3) in steps of the grid, and faces (m, 3) whose normals point outside. Each
        edge belongs to two faces.
    """
    padded = np.full([side + 2 for side in values.shape], -np.inf)
    padded[1:-1, 1:-1, 1:-1] = values
    inside = padded > level
    cells = _crossed_cells(inside)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    edges: list[IntArray] = []
    for corners in _tetrahedra():
        edges += _cut(cells[:, None, :] + corners[None], inside, strides)
    if not edges:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    pairs = np.concatenate(edges)  # (m, 3, 2): the grid edge that each corner of a face lies on
    keys, places = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    flat = padded.ravel()
    low, high = (np.stack(np.unravel_index(keys[:, side], padded.shape), axis=1) for side in (0, 1))
    ends = flat[keys]
    finite = np.isfinite(ends).all(axis=1)
    share = np.full(len(keys), 0.5)
    share[finite] = (level - ends[finite, 0]) / (ends[finite, 1] - ends[finite, 0])
    # Vertices that coincide with a grid point would make triangles without area.
    share = np.clip(share, 1e-3, 1 - 1e-3)[:, None]
    vertices = low + share * (high - low) - 1.0
    return vertices, places.reshape(-1, 3).astype(np.int64)


def cut_faces(mesh: Mesh, kept: npt.NDArray[np.bool_]) -> Mesh:
    """Return the part of a mesh whose vertices are all kept, (n,) booleans."""
    faces = mesh.faces[kept[mesh.faces].all(axis=1)]
    used, places = np.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[used], places.reshape(-1, 3), mesh.colors[used])


def sample_grid(
    density: Callable[[FloatArray], FloatArray],
    low: FloatArray,
    high: FloatArray,
    resolution: int,
    check: Callable[[int, int], None],
) -> tuple[FloatArray, float]:
    """Return a function's values over a box, and the length of a step.

    Args:
        density: Values (n,) at points (n, 3).
        low: Lower corner.
        high: Upper corner.
        resolution: Samples along the longest side.
        check: Told the slices done and all of them.
    """
    step = float((high - low).max()) / (resolution - 1)
    counts = np.floor((high - low) / step).astype(int) + 1
    y, z = (low[axis] + step * np.arange(counts[axis]) for axis in (1, 2))
    values = np.empty(counts)
    for number in range(int(counts[0])):
        check(number, int(counts[0]))
        plane = np.stack(np.meshgrid([low[0] + step * number], y, z, indexing="ij"), axis=-1)
        values[number] = density(plane.reshape(-1, 3)).reshape(counts[1], counts[2])
    return values, step


def _crossed_cells(inside: npt.NDArray[np.bool_]) -> IntArray:
    """Return the cells (n, 3) whose corners are neither all inside nor all outside."""
    count = np.zeros([side - 1 for side in inside.shape], np.int8)
    for dx, dy, dz in np.ndindex(2, 2, 2):
        ends = [length - 1 for length in inside.shape]
        count += inside[dx : dx + ends[0], dy : dy + ends[1], dz : dz + ends[2]]
    return np.argwhere((count > 0) & (count < 8))


def _tetrahedra() -> list[IntArray]:
    """Return the corners (4, 3) of a cell's six tetrahedra, all of one orientation."""
    found = []
    for order in permutations(range(3)):
        corners = np.zeros((4, 3), np.int64)
        for position, axis in enumerate(order, 1):
            corners[position:, axis] += 1
        if np.linalg.det(corners[1:] - corners[0]) < 0:
            corners[[1, 2]] = corners[[2, 1]]
        found.append(corners)
    return found


def _cut(corners: IntArray, inside: npt.NDArray[np.bool_], strides: IntArray) -> list[IntArray]:
    """Return the faces in which the level cuts tetrahedra, as edges between grid points.

    Args:
        corners: (n, 4, 3) grid points of tetrahedra of positive orientation.
        inside: Whether each grid point is inside.
        strides: Places of neighbors in the flat grid.

    Returns:
        (m, 3, 2) flat places, the lower one first.
    """
    flat = corners @ strides
    is_in = inside.ravel()[flat]
    faces = []
    for case in range(1, 15):
        chosen = flat[(is_in == [bool(case >> bit & 1) for bit in range(4)]).all(axis=1)]
        if not len(chosen):
            continue
        for triangle in _TRIANGLES[case]:
            ends = np.stack([chosen[:, list(edge)] for edge in triangle], axis=1)
            faces.append(np.sort(ends, axis=2))
    return faces


def _triangles() -> dict[int, list[tuple[tuple[int, int], ...]]]:
    """Return for each case (bits: corners inside) the triangles as edges of the tetrahedron."""
    even = {
        order
        for order in permutations(range(4))
        if sum(a > b for i, a in enumerate(order) for b in order[i + 1 :]) % 2 == 0
    }
    found: dict[int, list[tuple[tuple[int, int], ...]]] = {}
    for case in range(1, 15):
        within = [corner for corner in range(4) if case >> corner & 1]
        without = [corner for corner in range(4) if not case >> corner & 1]
        order = (*within, *without)
        if order not in even:  # mirrored: exchange two corners of one side
            side = within if len(within) > 1 else without
            side[0], side[1] = side[1], side[0]
        if len(within) == 1:
            a, (b, c, d) = within[0], without
            found[case] = [((a, b), (a, c), (a, d))]
        elif len(within) == 3:
            (a, b, c), d = within, without[0]
            found[case] = [((a, d), (b, d), (c, d))]
        else:
            (a, b), (c, d) = within, without
            found[case] = [((a, c), (a, d), (b, d)), ((a, c), (b, d), (b, c))]
    return found


_TRIANGLES = _triangles()
