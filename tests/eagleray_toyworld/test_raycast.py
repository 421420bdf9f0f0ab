"""Culling and shadows against a cast that tests every ray with every primitive."""

import dataclasses

import numpy as np
import pytest

from eagleray_toyworld.rendering.primitive import place
from eagleray_toyworld.rendering.raycast import (
    cast_shadows,
    from_tiles,
    make_tiles,
    to_tiles,
    trace,
)
from eagleray_toyworld.scene.shape import Ellipsoid, GroundPlane, intersect
from eagleray_toyworld.worlds.street import street_camera, street_panorama_camera

SIZE_HW = (72, 150)


def _cameras(scene):
    return {
        "pinhole": street_camera(scene, size_hw=SIZE_HW),
        "panorama": street_panorama_camera(scene, size_hw=SIZE_HW),
        "tiny_panorama": street_panorama_camera(scene, size_hw=(8, 16)),
        "one_pixel": street_camera(scene, size_hw=(1, 1)),
    }


@pytest.fixture(scope="module", params=["pinhole", "panorama", "tiny_panorama", "one_pixel"])
def cast(request, street):
    camera = _cameras(street)[request.param]
    primitives = place(street, 0.0, camera.world_from_cam[:3, 3])
    tiles = make_tiles(camera.rays(slice(None)), camera.world_from_cam[:3, :3])
    with np.errstate(all="ignore"):
        return primitives, tiles, trace(primitives, tiles)


def test_culling_changes_nothing(cast):
    primitives, tiles, hits = cast
    everywhere = dataclasses.replace(tiles, planes=np.zeros_like(tiles.planes))
    with np.errstate(all="ignore"):
        slow = trace(primitives, everywhere)
    np.testing.assert_array_equal(hits.primitive_idx, slow.primitive_idx)
    np.testing.assert_array_equal(hits.range_m, slow.range_m)


def test_nearest_surface_wins(cast):
    primitives, tiles, hits = cast
    x, y, z = tiles.directions
    nearest = np.full(x.shape, np.inf)
    with np.errstate(all="ignore"):
        for primitive in primitives:
            if isinstance(primitive.shape, Ellipsoid) and primitive.shape.hole_scale_m > 0:
                continue
            origin = tuple(float(c) for c in primitive.to_local(tuple(-primitive.center_m)))
            enter, leave = intersect(primitive.shape, origin, primitive.to_local((x, y, z)))
            seen = (enter < leave) & (enter > 0.05)
            nearest = np.where(seen & (enter < nearest), enter, nearest)
    solid = np.array([getattr(p.shape, "hole_scale_m", 0.0) == 0.0 for p in primitives] + [True])[
        hits.primitive_idx
    ]
    np.testing.assert_array_equal(hits.range_m[solid], nearest[solid])
    assert (hits.range_m <= nearest).all()


def test_shadow_equals_testing_every_blocker(street, rng):
    camera = street_camera(street, size_hw=SIZE_HW)
    primitives = place(street, 0.0, camera.world_from_cam[:3, 3])
    tiles = make_tiles(camera.rays(slice(None)), camera.world_from_cam[:3, :3])
    with np.errstate(all="ignore"):
        hits = trace(primitives, tiles)
        seen = np.isfinite(hits.range_m)
        t = np.where(seen, hits.range_m, 0.0)
        points = (tiles.directions * t + np.float32([[[0]], [[0]], [[0.01]]])).astype(np.float32)
        solid = [
            p for p in primitives if p.casts_shadow and getattr(p.shape, "hole_scale_m", 0.0) == 0.0
        ]
        lit = cast_shadows(solid, points, seen, street.sun.direction)
        want = seen.copy()
        for p in solid:
            if isinstance(p.shape, GroundPlane):
                continue
            local = p.to_local(tuple(points))
            center = p.to_local(tuple(p.center_m))
            origin = tuple(a - float(c) for a, c in zip(local, center, strict=True))
            direction = tuple(float(c) for c in p.to_local(street.sun.direction))
            enter, leave = intersect(p.shape, origin, direction)
            want &= ~((enter < leave) & (leave > 0.004))
    disagree = (lit != want).mean()
    assert disagree < 1e-4  # Directions differ in the last float64 digit.
    assert 0.05 < 1 - lit[seen].mean() < 0.95


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 33), (5, 200)])
def test_tiles_are_undone_exactly(size, rng):
    image = rng.random((3, *size)).astype(np.float32)
    np.testing.assert_array_equal(from_tiles(to_tiles(image), size), image)
