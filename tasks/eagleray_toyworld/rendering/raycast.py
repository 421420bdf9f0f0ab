"""Find the first surface along each ray, and whether the sun reaches a point.

Rays are handled in square tiles. A primitive is tested only against the tiles whose pyramid of rays
can meet its bounding box, so the cost follows the screen area of the objects. The same tiles,
bounded in the plane across the sun's direction, say which primitives can shade which points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.rendering.noise import solid_noise
from eagleray_toyworld.rendering.primitive import Primitive
from eagleray_toyworld.scene.pose import FloatArray, Vector3
from eagleray_toyworld.scene.shape import Ellipsoid, GroundPlane, Interval, Triple, intersect

TILE = 16
"""Edge of a tile, pixels."""
_CHUNK_TILES = 64
"""Tiles handled in one array operation: 16384 rays, so that temporaries stay in the cache."""
_NEAR_M = 0.05
"""Surfaces nearer than this are not seen, meters."""
_MIN_AXIS_COS = 0.2
"""Tiles whose rays spread beyond this cosine from their mean are never culled."""
_CULL_MARGIN = 1e-4
"""Relative slack of the culling planes; larger than any rounding error."""
_SHADOW_BIAS_M = 0.004
"""A blocker must reach at least this far beyond the point, meters."""
_HOLE_LEVEL = -0.22
"""Foliage is open where its noise (in [-1, 1]) is below this."""

FloatImage = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class RayTiles:
    """Rays of common origin in tiles.

    Attributes:
        directions: (3, tiles, TILE * TILE) float32 unit vectors, world axes.
        planes: (tiles, 4, 3) float64 inward normals of the pyramid around each tile; zero rows
            where there is no such pyramid.
    """

    directions: NDArray[np.float32]
    planes: FloatArray


@dataclass(frozen=True, kw_only=True)
class Hits:
    """First surfaces.

    Attributes:
        range_m: (tiles, TILE * TILE) float32 distance along the ray; inf where there is none.
        primitive_idx: Same shape, int32 index of the primitive, -1 where there is none.
    """

    range_m: FloatImage
    primitive_idx: NDArray[np.int32]


def to_tiles(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut (c, height, width) into (c, tiles, TILE * TILE), repeating the last row and column."""
    channels, height, width = image.shape
    pad = ((0, 0), (0, -height % TILE), (0, -width % TILE))
    padded = np.pad(image, pad, mode="edge")
    rows, columns = padded.shape[1] // TILE, padded.shape[2] // TILE
    cut = padded.reshape(channels, rows, TILE, columns, TILE).swapaxes(2, 3)
    return np.ascontiguousarray(cut).reshape(channels, rows * columns, TILE * TILE)


def from_tiles(tiles: NDArray[np.generic], size_hw: tuple[int, int]) -> NDArray[np.generic]:
    """Undo :func:`to_tiles`: (c, tiles, TILE * TILE) to (c, height, width)."""
    height, width = size_hw
    rows, columns = -(-height // TILE), -(-width // TILE)
    image = tiles.reshape(-1, rows, columns, TILE, TILE).swapaxes(2, 3)
    return image.reshape(-1, rows * TILE, columns * TILE)[:, :height, :width]


def _bounding_planes(directions: NDArray[np.float32]) -> FloatArray:
    rays = np.moveaxis(directions, 0, 1).astype(np.float64)
    axis = rays.mean(axis=2)
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-9)
    helper = np.where(abs(axis[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    right = np.cross(axis, helper)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    up = np.cross(right, axis)
    along, x, y = (np.einsum("tc,tcp->tp", basis, rays) for basis in (axis, right, up))
    usable = along.min(axis=1) > _MIN_AXIS_COS
    safe = np.where(usable[:, None], along, 1.0)
    planes = []
    for side, basis in ((x / safe, right), (y / safe, up)):
        low = side.min(axis=1)[:, None] - _CULL_MARGIN
        high = side.max(axis=1)[:, None] + _CULL_MARGIN
        planes += [basis - low * axis, high * axis - basis]
    return np.stack(planes, axis=1) * usable[:, None, None]


def make_tiles(rays: NDArray[np.float32], rotation: FloatArray) -> RayTiles:
    """Turn an image of camera-frame rays into tiles of world-frame rays.

    Args:
        rays: (3, height, width) float32 unit vectors, camera frame.
        rotation: (3, 3) float64, world_from_cam.
    """
    r = rotation.tolist()
    world = np.stack([row[0] * rays[0] + row[1] * rays[1] + row[2] * rays[2] for row in r])
    directions = to_tiles(world.astype(np.float32))
    return RayTiles(directions=directions, planes=_bounding_planes(directions))


def _groups(primitives: Sequence[Primitive]) -> list[list[int]]:
    """Return the indices of the parts of each object."""
    members: dict[int, list[int]] = {}
    for index, primitive in enumerate(primitives):
        members.setdefault(primitive.object_id, []).append(index)
    return list(members.values())


def _box_of(points: FloatArray) -> FloatArray:
    """Return the (1, 8, 3) corners of the axis-parallel box around (n, 8, 3) points."""
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    return np.where(_CORNER_CHOICE, high, low)[None]


_CORNER_CHOICE = np.array([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)], dtype=np.bool_)


def _inside_pyramids(planes: FloatArray, corners: FloatArray) -> NDArray[np.bool_]:
    """Return (t, n): whether box n, (n, 8, 3) corners, may meet pyramid t, (t, 4, 3) planes."""
    points = corners.reshape(-1, 3)
    side = planes.reshape(-1, 3) @ points.T
    slack = _CULL_MARGIN * np.sqrt((points * points).sum(axis=1))
    near = (side >= -slack).reshape(len(planes), 4, len(corners), 8)
    found: NDArray[np.bool_] = near.any(axis=3).all(axis=1)
    return found


def _tiles_in_sight(
    primitives: Sequence[Primitive], tiles: RayTiles
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield (primitive index, tiles that may see it) for all that may be seen, in their order."""
    seen: dict[int, NDArray[np.intp]] = {}
    for members in _groups(primitives):
        boxes = np.stack([primitives[index].corners_m for index in members])
        candidates = np.flatnonzero(_inside_pyramids(tiles.planes, _box_of(boxes))[:, 0])
        if len(candidates):
            inside = _inside_pyramids(tiles.planes[candidates], boxes)
            for k, index in enumerate(members):
                seen[index] = candidates[inside[:, k]]
    for index in sorted(seen):
        yield index, seen[index]


def _point(origin: Triple, t: FloatImage, direction: Triple) -> NDArray[np.float32]:
    return np.stack([o + t * d for o, d in zip(origin, direction, strict=True)])


def _at_rays(triple: Triple, rays: NDArray[np.intp]) -> Triple:
    """Return three coordinates at some flat ray indices; constants stay constants."""
    x, y, z = (part if isinstance(part, float) else part.reshape(-1)[rays] for part in triple)
    return x, y, z


def _open_foliage(ball: Ellipsoid, origin: Triple, direction: Triple, span: Interval) -> Interval:
    """Let rays through the gaps of foliage: at the front skin, then at the back skin."""
    enter, leave = (side.reshape(-1) for side in span)
    out = np.full(enter.shape, np.inf, dtype=np.float32)
    rays = np.flatnonzero(enter < leave)
    for side, least in ((enter, 0.0), (leave, _SHADOW_BIAS_M)):
        rays = rays[np.isinf(out[rays])]
        if not len(rays):
            break
        at = side[rays]
        point = _point(_at_rays(origin, rays), at, _at_rays(direction, rays))
        closed = (solid_noise(point, ball.hole_scale_m) > _HOLE_LEVEL) & (at > least)
        out[rays[closed]] = at[closed]
    shape = span[0].shape
    return out.reshape(shape), np.full(shape, np.inf, dtype=np.float32)


def _span(primitive: Primitive, origin: Triple, direction: Triple) -> Interval:
    span = intersect(primitive.shape, origin, direction)
    if isinstance(primitive.shape, Ellipsoid) and primitive.shape.hole_scale_m > 0:
        return _open_foliage(primitive.shape, origin, direction, span)
    return span


def _constant(vector: FloatArray) -> Triple:
    """Return a vector as Python floats, which leave float32 arrays float32."""
    x, y, z = vector.tolist()
    return x, y, z


def trace(primitives: Sequence[Primitive], tiles: RayTiles) -> Hits:
    """Find the first surface along every ray.

    Args:
        primitives: Placed parts, viewer at the origin, nearest first (order is only for speed, but
            it also decides between exactly equal distances: the earlier one wins).
        tiles: The rays.
    """
    shape = tiles.directions.shape[1:]
    best = np.full(shape, np.inf, dtype=np.float32)
    winner = np.full(shape, -1, dtype=np.int32)
    farthest = np.full(shape[0], np.inf)
    for index, seen in _tiles_in_sight(primitives, tiles):
        primitive = primitives[index]
        seen = seen[farthest[seen] > primitive.near_m]
        origin = _constant(primitive.viewer_m)
        for start in range(0, len(seen), _CHUNK_TILES):
            some = seen[start : start + _CHUNK_TILES]
            x, y, z = tiles.directions[:, some]
            enter, leave = _span(primitive, origin, primitive.to_local((x, y, z)))
            nearest = best[some]
            hit = (enter < leave) & (enter > _NEAR_M) & (enter < nearest)
            if hit.any():
                nearest = np.where(hit, enter, nearest)
                best[some] = nearest
                winner[some] = np.where(hit, np.int32(index), winner[some])
                farthest[some] = nearest.max(axis=1)
    return Hits(range_m=best, primitive_idx=winner)


def _bounds_across(
    points: NDArray[np.float32], mask: NDArray[np.bool_], axes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (tiles, 3) lower and upper bounds of the masked points along three axes."""
    low = np.empty((points.shape[1], 3))
    high = np.empty_like(low)
    for k, (ax, ay, az) in enumerate(axes.tolist()):
        value = ax * points[0] + ay * points[1] + az * points[2]
        low[:, k] = np.where(mask, value, np.float32(np.inf)).min(axis=1)
        high[:, k] = np.where(mask, value, np.float32(-np.inf)).max(axis=1)
    return low, high


def light_axes(direction: Vector3) -> FloatArray:
    """Return (3, 3) rows: two axes across the light's direction, then that direction."""
    w = np.array(direction) / np.linalg.norm(direction)
    u = np.cross(w, (1.0, 0.0, 0.0) if abs(w[0]) < 0.9 else (0.0, 1.0, 0.0))
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(w, u), w])


@dataclass(frozen=True, kw_only=True)
class _TileBounds:
    """Bounds of the points of each tile along three axes: (tiles, 3) lower and upper ends."""

    low: FloatArray
    high: FloatArray

    def behind(
        self, tiles: NDArray[np.intp], corners: FloatArray, axes: FloatArray, reach_m: float
    ) -> NDArray[np.bool_]:
        """Return (t, n): whether box n, (n, 8, 3), within reach can shade points of the tile."""
        boxes = corners @ axes.T
        first, last = boxes.min(axis=1), boxes.max(axis=1)
        low, high = self.low[tiles][:, None], self.high[tiles][:, None]
        across = (high[..., :2] >= first[:, :2]) & (low[..., :2] <= last[:, :2])
        along = (low[..., 2] < last[:, 2]) & (first[:, 2] < high[..., 2] + reach_m)
        found: NDArray[np.bool_] = across.all(axis=2) & along
        return found


def _blockers(primitives: Sequence[Primitive]) -> list[Primitive]:
    return [p for p in primitives if p.casts_shadow and not isinstance(p.shape, GroundPlane)]


def cast_shadows(
    primitives: Sequence[Primitive],
    points: NDArray[np.float32],
    facing: NDArray[np.bool_],
    light_direction: Vector3,
    *,
    reach_m: float = math.inf,
) -> NDArray[np.bool_]:
    """Tell which points a far light reaches.

    Args:
        primitives: Placed parts, viewer at the origin.
        points: (3, tiles, TILE * TILE) float32 surface points, same coordinates, meters.
        facing: (tiles, TILE * TILE) surfaces turned to the light; only these are tested.
        light_direction: Unit vector to the light, world axes.
        reach_m: Blockers that begin farther away than this from all points of a tile are left out.

    Returns:
        (tiles, TILE * TILE) bool, False where shaded or not facing.
    """
    axes = light_axes(light_direction)
    lit = facing.copy()
    low, high = _bounds_across(points, facing, axes)
    bounds = _TileBounds(low=low, high=high)
    blockers = _blockers(primitives)
    with_points = np.flatnonzero(facing.any(axis=1))
    for members in _groups(blockers):
        boxes = np.stack([blockers[index].corners_m for index in members])
        near = bounds.behind(with_points, _box_of(boxes), axes, reach_m)[:, 0]
        candidates = with_points[near]
        if not len(candidates):
            continue
        shades = bounds.behind(candidates, boxes, axes, reach_m)
        for k, index in enumerate(members):
            seen = candidates[shades[:, k]]
            _shade_tiles(blockers[index], points, lit, seen[lit[seen].any(axis=1)], axes[2])
    return lit


def _shade_tiles(
    primitive: Primitive,
    points: NDArray[np.float32],
    lit: NDArray[np.bool_],
    tiles: NDArray[np.intp],
    light: FloatArray,
) -> None:
    """Clear ``lit`` where a primitive stands between a point and the light."""
    dx, dy, dz = light.tolist()
    direction = primitive.to_local((dx, dy, dz))
    viewer = _constant(primitive.viewer_m)
    for start in range(0, len(tiles), _CHUNK_TILES):
        some = tiles[start : start + _CHUNK_TILES]
        x, y, z = primitive.to_local(tuple(points[:, some]))
        origin = (x + viewer[0], y + viewer[1], z + viewer[2])
        enter, leave = _span(primitive, origin, direction)
        lit[some] &= ~((enter < leave) & (leave > _SHADOW_BIAS_M))
