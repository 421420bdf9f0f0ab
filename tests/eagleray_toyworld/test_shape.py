"""Ray intersections against an oracle that only asks whether points are inside."""

import numpy as np
import pytest

from eagleray_toyworld.scene.shape import (
    Box,
    Cylinder,
    Ellipsoid,
    GroundPlane,
    box_planes,
    corners,
    intersect,
    surface_normal,
)

TAPERED = Box(half_size_m=(1.0, 0.7, 0.5), taper=(0.4, 0.2), top_shift_m=-0.15)
SHAPES = {
    "box": Box(half_size_m=(1.0, 0.6, 0.4)),
    "tapered_box": TAPERED,
    "ellipsoid": Ellipsoid(radii_m=(1.1, 0.5, 0.8)),
    "cylinder": Cylinder(radius_m=0.6, half_height_m=0.9),
}


def _inside(shape, p):
    """Implicit definition of each solid, written apart from the code under test."""
    x, y, z = p
    if isinstance(shape, Ellipsoid):
        return sum((c / r) ** 2 for c, r in zip(p, shape.radii_m, strict=True)) <= 1
    if isinstance(shape, Cylinder):
        return (np.hypot(x, y) <= shape.radius_m) & (abs(z) <= shape.half_height_m)
    hx, hy, hz = shape.half_size_m
    up = (z + hz) / (2 * hz)
    wide = hx * (1 - shape.taper[0] * up)
    deep = hy * (1 - shape.taper[1] * up)
    return (abs(x - shape.top_shift_m * up) <= wide) & (abs(y) <= deep) & (abs(z) <= hz)


def _rays(rng, count):
    origin = rng.normal(size=(3, count))
    origin *= 3.0 / np.linalg.norm(origin, axis=0)
    direction = rng.uniform(-0.8, 0.8, size=(3, count)) - origin
    direction /= np.linalg.norm(direction, axis=0)
    return origin.astype(np.float32), direction.astype(np.float32)


@pytest.mark.parametrize("name", SHAPES)
def test_interval_is_where_the_points_are_inside(name, rng):
    shape = SHAPES[name]
    origin, direction = _rays(rng, 400)
    enter, leave = intersect(shape, tuple(origin), tuple(direction))
    t = np.linspace(0, 6, 6001)[:, None]
    inside = _inside(shape, [o + t * d for o, d in zip(origin, direction, strict=True)])
    hit = enter < leave
    clear = inside.sum(axis=0) > 5
    assert hit[clear].all()
    assert clear.sum() > 100
    assert not inside[:, ~hit].any(axis=0).sum() > 2
    first = t[inside.argmax(axis=0), 0]
    last = t[len(t) - 1 - inside[::-1].argmax(axis=0), 0]
    np.testing.assert_allclose(enter[clear], first[clear], atol=2e-3)
    np.testing.assert_allclose(leave[clear], last[clear], atol=2e-3)


@pytest.mark.parametrize("name", SHAPES)
def test_normal_is_the_outward_gradient_of_inside(name, rng):
    shape = SHAPES[name]
    origin, direction = _rays(rng, 600)
    enter, leave = intersect(shape, tuple(origin), tuple(direction))
    hit = enter + 0.05 < leave
    points = (origin + enter * direction)[:, hit]
    normal = surface_normal(shape, points)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=0), 1.0, atol=1e-5)
    assert ((normal * direction[:, hit]).sum(axis=0) < 1e-3).all()
    outside = _inside(shape, points + 4e-3 * normal)
    inner = _inside(shape, points - 4e-3 * normal)
    assert not outside.any()
    assert inner.mean() > 0.97  # Right at an edge the way inwards may leave through the other face.


@pytest.mark.parametrize("name", SHAPES)
def test_corners_hold_the_shape(name, rng):
    shape = SHAPES[name]
    points = rng.uniform(-2, 2, size=(3, 20000))
    kept = points[:, _inside(shape, points)]
    box = corners(shape)
    assert (kept.min(axis=1) >= box.min(axis=0) - 1e-6).all()
    assert (kept.max(axis=1) <= box.max(axis=0) + 1e-6).all()


def test_rays_along_the_axes_and_through_the_middle_hit_exactly():
    zero, minus = np.zeros(1, np.float32), np.full(1, -3, np.float32)
    one = np.ones(1, np.float32)
    for shape, want in (
        (SHAPES["box"], 2.0),
        (SHAPES["ellipsoid"], 1.9),
        (SHAPES["cylinder"], 2.4),
    ):
        enter, leave = intersect(shape, (minus, zero, zero), (one, zero, zero))
        assert enter[0] == pytest.approx(want, abs=1e-5)
        assert leave[0] == pytest.approx(6 - want, abs=1e-5)


def test_ray_beside_a_box_parallel_to_its_face_misses():
    far = np.full(1, 0.7, np.float32)
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    enter, leave = intersect(SHAPES["box"], (zero - 3, far, zero), (one, zero, zero))
    assert not (enter < leave).any()


def test_small_far_sphere_keeps_its_digits():
    ball = Ellipsoid(radii_m=(0.1, 0.1, 0.1))
    origin = tuple(np.full(1, v, np.float32) for v in (-150.0, 0.05, 0.0))
    direction = tuple(np.full(1, v, np.float32) for v in (1.0, 0.0, 0.0))
    enter, _ = intersect(ball, origin, direction)
    assert enter[0] == pytest.approx(150 - np.sqrt(0.1**2 - 0.05**2), abs=1e-3)


def test_ground_is_seen_from_above_only():
    down, up = np.float32(-0.5), np.float32(0.5)
    direction = (np.zeros(2, np.float32), np.zeros(2, np.float32), np.array([down, up]))
    enter, leave = intersect(GroundPlane(), (0.0, 0.0, 2.0), direction)
    assert enter[0] == pytest.approx(4.0)
    assert np.isinf(enter[1])
    assert np.isinf(leave).all()


def test_tapered_faces_touch_their_corners():
    box = TAPERED
    hx, hy, hz = box.half_size_m
    top_x = hx * (1 - box.taper[0]) + box.top_shift_m
    for (normal, offset), point in zip(
        box_planes(box)[::2], ((top_x, 0, hz), (0, hy * 0.8, hz), (0, 0, hz)), strict=True
    ):
        assert np.dot(normal, point) == pytest.approx(offset)
