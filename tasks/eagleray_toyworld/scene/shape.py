"""Convex solids in their own frame, and where a ray enters and leaves them.

Every solid is convex, so a ray meets it in one interval [t_in, t_out]. All functions broadcast:
origins and directions are triples of float32 arrays or Python floats. Only +, -, *, /, sqrt and
comparisons are used, which IEEE 754 rounds alike everywhere: the same scene gives the same bytes on
every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.scene.pose import FloatArray, Vector3

Triple: TypeAlias = tuple[Any, Any, Any]
"""Three coordinates; each a float32 array or a Python float."""
Interval: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]

_TINY = 1e-20
"""Added to directions so that none is zero; 1 / _TINY is still finite in float32."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """Box around the origin, optionally narrower at its top.

    Attributes:
        half_size_m: Half extents of the bottom face (x, y) and half height (z), meters.
        taper: Share by which the top face is narrower than the bottom along x and y, in [0, 1).
        top_shift_m: Displacement of the top face along x, meters.
    """

    half_size_m: Vector3
    taper: tuple[float, float] = (0.0, 0.0)
    top_shift_m: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether all faces are parallel to the axes."""
        return self.taper == (0.0, 0.0) and self.top_shift_m == 0.0


@dataclass(frozen=True, kw_only=True)
class Ellipsoid:
    """Ellipsoid around the origin.

    Attributes:
        radii_m: Half axes, meters.
        hole_scale_m: Size of the gaps in foliage, meters; 0 means solid.
    """

    radii_m: Vector3
    hole_scale_m: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Cylinder:
    """Capped cylinder around the z axis.

    Attributes:
        radius_m: Radius, meters.
        half_height_m: Half of its length along z, meters.
    """

    radius_m: float
    half_height_m: float


@dataclass(frozen=True, kw_only=True)
class GroundPlane:
    """The half space z <= 0; its surface is the infinite plane z = 0."""


Shape: TypeAlias = Box | Ellipsoid | Cylinder | GroundPlane

GROUND_EXTENT_M = 4000.0
"""Half extent of the corners that stand for the infinite plane when tiles are culled, meters."""


_CORNER_SIGNS = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]) * 2.0 - 1.0


def corners(shape: Shape) -> FloatArray:
    """Return (8, 3) float64 corners of a box that holds the shape, own frame, meters."""
    if isinstance(shape, Box):
        x, y, z = shape.half_size_m
        x += max(0.0, abs(shape.top_shift_m) - x * shape.taper[0])
    elif isinstance(shape, Ellipsoid):
        x, y, z = shape.radii_m
    elif isinstance(shape, Cylinder):
        x, y, z = shape.radius_m, shape.radius_m, shape.half_height_m
    else:
        x, y, z = GROUND_EXTENT_M, GROUND_EXTENT_M, 0.0
    return _CORNER_SIGNS * (x, y, z)


def box_planes(box: Box) -> tuple[tuple[Vector3, float], ...]:
    """Return the six faces of a tapered box as (outward unit normal, offset): inside n.p <= offset.

    Order: +x, -x, +y, -y, +z, -z.
    """
    hx, hy, hz = box.half_size_m
    faces = []
    for axis, half, taper, sign in (
        (0, hx, box.taper[0], 1.0),
        (0, hx, box.taper[0], -1.0),
        (1, hy, box.taper[1], 1.0),
        (1, hy, box.taper[1], -1.0),
    ):
        bottom = half
        top = half * (1.0 - taper) + (sign * box.top_shift_m if axis == 0 else 0.0)
        slope = (bottom - top) / (2.0 * hz)
        scale = 1.0 / float(np.sqrt(1.0 + slope * slope))
        normal = [0.0, 0.0, slope * scale]
        normal[axis] = sign * scale
        faces.append(((normal[0], normal[1], normal[2]), 0.5 * (bottom + top) * scale))
    return (*faces, ((0.0, 0.0, 1.0), hz), ((0.0, 0.0, -1.0), hz))


def _intersect_slab(half: float, o: Any, d: Any) -> tuple[Any, Any]:
    inv = 1.0 / (d + _TINY)
    middle = -o * inv
    reach = half * abs(inv)
    return middle - reach, middle + reach


def _intersect_box(box: Box, o: Triple, d: Triple) -> Interval:
    enter, leave = _intersect_slab(box.half_size_m[0], o[0], d[0])
    for axis in (1, 2):
        first, last = _intersect_slab(box.half_size_m[axis], o[axis], d[axis])
        enter, leave = np.maximum(enter, first), np.minimum(leave, last)
    return enter, leave


def _dot(a: Triple, b: Triple) -> Any:
    """Scalar product that leaves out the zero entries of the constant first vector."""
    terms = [x * y for x, y in zip(a, b, strict=True) if x != 0.0]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _intersect_tapered_box(box: Box, o: Triple, d: Triple) -> Interval:
    enter: Any = -np.inf
    leave: Any = np.inf
    for normal, offset in box_planes(box):
        speed = _dot(normal, d) + _TINY
        t = (offset - _dot(normal, o)) / speed
        enter = np.maximum(enter, np.where(speed < 0, t, np.float32(-np.inf)))
        leave = np.minimum(leave, np.where(speed < 0, np.float32(np.inf), t))
    return enter, leave


def _quadric(a: Any, b: Any, c: Any) -> Interval:
    """Roots of a t^2 + 2 b t + c = 0; an empty interval where there are none."""
    disc = b * b - a * c
    root = np.sqrt(np.maximum(disc, 0.0))
    inv = 1.0 / a
    miss = disc <= 0
    enter = np.where(miss, np.float32(np.inf), (-b - root) * inv)
    leave = np.where(miss, np.float32(-np.inf), (root - b) * inv)
    return enter, leave


def _intersect_ellipsoid(ball: Ellipsoid, o: Triple, d: Triple) -> Interval:
    s = tuple(1.0 / r for r in ball.radii_m)
    p = (o[0] * s[0], o[1] * s[1], o[2] * s[2])
    q = (d[0] * s[0], d[1] * s[1], d[2] * s[2])
    a = q[0] * q[0] + q[1] * q[1] + q[2] * q[2]
    b = p[0] * q[0] + p[1] * q[1] + p[2] * q[2]
    # The nearest point to the center first: keeps float32 digits for far, small ellipsoids.
    t = -b / a
    m = (p[0] + t * q[0], p[1] + t * q[1], p[2] + t * q[2])
    rest = 1.0 - (m[0] * m[0] + m[1] * m[1] + m[2] * m[2])
    half = np.sqrt(np.maximum(rest, 0.0) / a)
    miss = rest <= 0
    return (
        np.where(miss, np.float32(np.inf), t - half),
        np.where(miss, np.float32(-np.inf), t + half),
    )


def _intersect_cylinder(tube: Cylinder, o: Triple, d: Triple) -> Interval:
    a = d[0] * d[0] + d[1] * d[1] + _TINY
    b = o[0] * d[0] + o[1] * d[1]
    t = -b / a
    mx, my = o[0] + t * d[0], o[1] + t * d[1]
    rest = tube.radius_m * tube.radius_m - (mx * mx + my * my)
    half = np.sqrt(np.maximum(rest, 0.0) / a)
    first, last = _intersect_slab(tube.half_height_m, o[2], d[2])
    enter = np.where(rest <= 0, np.float32(np.inf), np.maximum(t - half, first))
    return enter, np.minimum(t + half, last)


def _intersect_ground(o: Triple, d: Triple) -> Interval:
    t = -o[2] / (d[2] + _TINY)
    enter = np.where(d[2] < 0, t, np.float32(np.inf))
    return enter, np.full_like(enter, np.inf)


def intersect(shape: Shape, origin: Triple, direction: Triple) -> Interval:
    """Return where rays enter and leave a solid.

    Args:
        shape: The solid, in its own frame.
        origin: Ray origins in that frame, meters.
        direction: Ray directions in that frame; t counts in their length.

    Returns:
        (t_in, t_out), float32, broadcast shape; ``t_in >= t_out`` means a miss.
    """
    if isinstance(shape, Box):
        if shape.is_plain:
            return _intersect_box(shape, origin, direction)
        return _intersect_tapered_box(shape, origin, direction)
    if isinstance(shape, Ellipsoid):
        return _intersect_ellipsoid(shape, origin, direction)
    if isinstance(shape, Cylinder):
        return _intersect_cylinder(shape, origin, direction)
    return _intersect_ground(origin, direction)


def _box_normal(box: Box, p: NDArray[np.float32]) -> NDArray[np.float32]:
    planes = box_planes(box)
    outside = np.stack([_dot(n, (p[0], p[1], p[2])) - offset for n, offset in planes])
    table = np.array([n for n, _ in planes], dtype=np.float32)
    return np.ascontiguousarray(table[outside.argmax(axis=0)].T)


def surface_normal(shape: Shape, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return outward unit normals at surface points.

    Args:
        shape: The solid, in its own frame.
        points: (3, n) float32 points on its surface, own frame, meters.

    Returns:
        (3, n) float32 unit vectors, own frame.
    """
    if isinstance(shape, Box):
        return _box_normal(shape, points)
    out = np.zeros_like(points)
    if isinstance(shape, GroundPlane):
        out[2] = 1.0
        return out
    if isinstance(shape, Ellipsoid):
        for axis, radius in enumerate(shape.radii_m):
            out[axis] = points[axis] / (radius * radius)
        return out / np.sqrt(out[0] * out[0] + out[1] * out[1] + out[2] * out[2])
    cap = abs(points[2]) >= shape.half_height_m * (1.0 - 1e-4)
    inside = points[0] * points[0] + points[1] * points[1] < (shape.radius_m * 0.9995) ** 2
    cap &= inside
    length = np.sqrt(points[0] * points[0] + points[1] * points[1]) + _TINY
    out[0] = np.where(cap, 0.0, points[0] / length)
    out[1] = np.where(cap, 0.0, points[1] / length)
    out[2] = np.where(cap, np.sign(points[2]), 0.0)
    return out
