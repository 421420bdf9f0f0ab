"""Several views of one scene agree with each other and with independent projections."""

from itertools import pairwise

import numpy as np
import py360convert
import pytest

from eagleray_toyworld.rendering.camera import (
    SIX_CAMERA_RIG,
    Equirectangular,
    orbit,
    pinhole_with_fov,
    rig_cameras,
)
from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.scene.pose import Pose, look_at
from eagleray_toyworld.worlds.street import street_camera, street_panorama_camera


def _lift(camera, frame):
    """Return the world points of all pixels from depth along z, by the pinhole formula."""
    height, width = frame.depth_m.shape
    v, u = np.mgrid[0:height, 0:width] + 0.5
    inverse = np.linalg.inv(camera.matrix)
    depth = np.where(np.isfinite(frame.depth_m), frame.depth_m, 0.0)
    local = np.stack([u, v, np.ones_like(u)], axis=-1) @ inverse.T * depth[..., None]
    return local @ camera.world_from_cam[:3, :3].T + camera.world_from_cam[:3, 3]


def _seen_in_both(camera_a, frame_a, camera_b, frame_b):
    """Return ids of a's pixels and of the pixels of b they fall on, where depths agree."""
    finite = np.isfinite(frame_a.depth_m)
    points = _lift(camera_a, frame_a)[finite]
    cam_from_world = np.linalg.inv(camera_b.world_from_cam)
    local = points @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    z = np.maximum(local[:, 2], 1e-6)
    uvw = local @ camera_b.matrix.T
    u, v = (np.floor(uvw[:, k] / z).astype(int) for k in (0, 1))
    height, width = frame_b.depth_m.shape
    inside = (local[:, 2] > 0.1) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    found = frame_b.depth_m[v[inside], u[inside]]
    same = abs(found - z[inside]) < 0.01 * z[inside]
    ids_a = frame_a.object_id[finite][inside][same]
    return ids_a, frame_b.object_id[v[inside], u[inside]][same], finite.sum()


def test_two_views_agree_on_the_object(room_frames):
    shares = []
    for (cam_a, a), (cam_b, b) in pairwise(room_frames):
        ids_a, ids_b, total = _seen_in_both(cam_a, a, cam_b, b)
        assert len(ids_a) > 0.15 * total
        shares.append((ids_a == ids_b).mean())
    assert min(shares) >= 0.98


def test_two_street_views_agree_on_the_object(street):
    pairs = []
    for time_s in (0.0, 0.25):
        camera = street_camera(street, size_hw=(160, 320), time_s=time_s)
        pairs.append((camera, render(street, camera)))
    ids_a, ids_b, total = _seen_in_both(*pairs[0], *pairs[1])
    assert len(ids_a) > 0.4 * total
    assert (ids_a == ids_b).mean() >= 0.98


def test_panorama_and_pinhole_agree_on_the_same_ray(room):
    eye = (1.4, 0.4, 1.5)
    panorama = Equirectangular(size_hw=(32, 64), world_from_cam=look_at(eye, (0.0, 0.0, 1.0)))
    wide = render(room, panorama)
    for row, column in [(v, u) for v in range(3, 30, 5) for u in range(2, 64, 7)]:
        azimuth = ((column + 0.5) / 64 - 0.5) * 2 * np.pi
        elevation = (0.5 - (row + 0.5) / 32) * np.pi
        local = np.array(
            [
                np.cos(elevation) * np.sin(azimuth),
                -np.sin(elevation),
                np.cos(elevation) * np.cos(azimuth),
            ]
        )
        target = np.array(eye) + panorama.world_from_cam[:3, :3] @ local
        narrow = render(room, pinhole_with_fov((1, 1), 1.0, look_at(eye, tuple(target))))
        assert narrow.part_id[0, 0] == wide.part_id[row, column]
        assert narrow.range_m[0, 0] == pytest.approx(wide.range_m[row, column], rel=1e-4)


def test_panorama_follows_the_usual_convention(street):
    """py360convert cuts the perspective view out of our panorama that we render directly."""
    panorama = render(street, street_panorama_camera(street, size_hw=(512, 1024)))
    direct = render(street, street_camera(street, size_hw=(128, 128), horizontal_fov_deg=80.0))
    cut = py360convert.e2p(
        panorama.train_id[..., None].astype(np.float64),
        (80.0, 80.0),
        0,
        0,
        (128, 128),
        mode="nearest",
    )[..., 0]
    assert (cut == direct.train_id).mean() > 0.95


def test_rig_looks_all_around(street):
    names = set()
    world = np.stack(
        [np.cos(np.linspace(0, 2 * np.pi, 360)), np.sin(np.linspace(0, 2 * np.pi, 360))], axis=1
    )
    points = np.concatenate([30.0 * world, np.full((360, 1), 1.5)], axis=1)
    covered = np.zeros(360, dtype=bool)
    for name, camera in rig_cameras(Pose(), (90, 160)).items():
        uv, depth = camera.project(points)
        covered |= (depth > 0) & (uv >= 0).all(axis=1) & (uv < (160, 90)).all(axis=1)
        names.add(name)
    assert covered.all()
    assert names == set(SIX_CAMERA_RIG)


def test_orbit_cameras_look_at_the_target():
    cameras = orbit(
        target_m=(1.0, 2.0, 0.5), radius_m=4.0, heights_m=(1.0, 2.0), num_views=7, size_hw=(60, 80)
    )
    for camera in cameras:
        uv, depth = camera.project(np.array([[1.0, 2.0, 0.5]]))
        np.testing.assert_allclose(uv[0], (40.0, 30.0), atol=1e-9)
        assert depth[0] > 4.0
        rotation = camera.world_from_cam[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        assert rotation[2, 1] < 0


def test_camera_straight_above_its_target_is_refused():
    with pytest.raises(ValueError, match="horizontal distance"):
        look_at((0.0, 0.0, 5.0), (0.0, 0.0, 0.0))


def test_field_of_view_of_half_a_turn_is_refused():
    with pytest.raises(ValueError, match="horizontal_fov_deg"):
        pinhole_with_fov((4, 4), 180.0, np.eye(4))
