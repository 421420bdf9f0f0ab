"""Lidar sweeps against the scene's geometry and against the cameras."""

import dataclasses

import numpy as np
import pytest

from eagleray_toyworld.rendering.lidar import SpinningLidar, sweep
from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.scene.classes import street_class
from eagleray_toyworld.scene.scene import Motion
from eagleray_toyworld.worlds.street import street_camera


@pytest.fixture(scope="module")
def still(street):
    """A street in which nothing moves."""
    objects = tuple(dataclasses.replace(item, motion=Motion()) for item in street.objects)
    return dataclasses.replace(street, objects=objects, ego_motion=Motion())


def _world(found):
    pose = found.world_from_sensor
    return found.points_m @ pose[:3, :3].T + pose[:3, 3]


def test_ground_returns_lie_on_the_ground(still):
    found = sweep(still, SpinningLidar(num_azimuths=360))
    road = found.train_id == street_class("road").train_id
    assert road.sum() > 500
    heights = _world(found)[road][:, 2]
    assert abs(heights).max() < 0.02  # Crossing and zebra lie up to 8 mm above the road.


def test_points_carry_the_label_that_the_camera_sees(still):
    found = sweep(still, SpinningLidar(num_azimuths=720))
    camera = street_camera(still, size_hw=(300, 400))
    frame = render(still, camera)
    uv, depth = camera.project(_world(found))
    inside = (depth > 1) & (uv >= 0).all(axis=1) & (uv < (400, 300)).all(axis=1)
    u, v = uv[inside].astype(int).T
    same = abs(frame.depth_m[v, u] - depth[inside]) < 0.02 * depth[inside]
    agree = frame.object_id[v, u][same] == found.object_id[inside][same]
    assert same.sum() > 500
    assert agree.mean() > 0.97


def test_rings_are_cones_and_the_lowest_is_ring_zero(still):
    lidar = SpinningLidar(num_azimuths=90)
    found = sweep(still, lidar)
    elevation = np.arctan2(found.points_m[:, 2], np.linalg.norm(found.points_m[:, :2], axis=1))
    want = np.array(lidar.elevations_rad[::-1])[found.ring]
    np.testing.assert_allclose(elevation, want, atol=1e-4)
    assert want[found.ring == 0].max() < want[found.ring == 5].min()


def test_returns_end_at_the_range_limit(still):
    found = sweep(still, SpinningLidar(num_azimuths=90, max_range_m=20.0))
    assert np.linalg.norm(found.points_m, axis=1).max() <= 20.0 + 1e-3


def test_bright_and_frontal_surfaces_return_more(still):
    found = sweep(still, SpinningLidar(num_azimuths=720))
    assert found.intensity.dtype == np.uint8
    assert np.ptp(found.intensity) > 100
    sign = found.train_id == street_class("traffic sign").train_id
    road = found.train_id == street_class("road").train_id
    assert sign.sum() > 0
    assert found.intensity[sign].max() > 200
    assert found.intensity[road].mean() < 60


def test_motion_of_the_vehicle_is_corrected(still):
    """Walls stand still in the corrected sweep of a moving vehicle."""
    moving = dataclasses.replace(still, ego_motion=Motion(speed_mps=15.0))
    found = sweep(moving, SpinningLidar(num_azimuths=360, num_slices=12))
    assert np.ptp(found.time_offset_s) > 0.04
    road = found.train_id == street_class("road").train_id
    assert abs(_world(found)[road][:, 2]).max() < 0.02
    building = found.train_id == street_class("building").train_id
    at_rest = sweep(still, SpinningLidar(num_azimuths=360))
    assert building.sum() > 100
    common = set(np.unique(found.object_id[building])) & set(np.unique(at_rest.object_id))
    for object_id in list(common)[:5]:
        near = _world(found)[found.object_id == object_id]
        known = _world(at_rest)[at_rest.object_id == object_id]
        low, high = known.min(axis=0) - 3.0, known.max(axis=0) + 3.0
        assert ((near >= low) & (near <= high)).all(axis=1).mean() > 0.95


def test_more_slices_than_firings_are_refused():
    with pytest.raises(ValueError, match="num_slices"):
        SpinningLidar(num_azimuths=4, num_slices=5)
