"""Frames: reproducible bytes, consistent labels, true geometry."""

import dataclasses
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from eagleray_toyworld.rendering import render as render_module
from eagleray_toyworld.rendering.camera import pinhole_with_fov
from eagleray_toyworld.rendering.render import Frame, render
from eagleray_toyworld.scene.classes import street_class
from eagleray_toyworld.scene.material import Material
from eagleray_toyworld.scene.pose import Pose, look_at
from eagleray_toyworld.scene.scene import Motion, Part, Scene, SceneObject, Sky, Sun
from eagleray_toyworld.scene.shape import Box, Ellipsoid, GroundPlane
from eagleray_toyworld.worlds.street import (
    street_camera,
    street_panorama_camera,
    street_scene,
)
from eagleray_vision.panoptic.label_space import CITYSCAPES

_DIGEST_SCRIPT = """
import sys
from tests.eagleray_toyworld.test_render import frames_digest
sys.stdout.write(frames_digest())
"""


def frames_digest() -> str:
    """Return a checksum over all channels of a street frame and of a panorama."""
    digest = hashlib.sha256()
    scene = street_scene(3, 8)
    for camera in (street_camera, street_panorama_camera):
        frame = render(scene, camera(scene, size_hw=(48, 96)))
        for name in sorted(vars(frame)):
            digest.update(getattr(frame, name).tobytes())
    return digest.hexdigest()


def test_same_seed_gives_the_same_bytes_on_another_kind_of_machine():
    """Another process without this processor's vector instructions and with another BLAS kernel."""
    older = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F",
        "OPENBLAS_CORETYPE": "Prescott",
        "PYTHONHASHSEED": "2",
        "OMP_NUM_THREADS": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", _DIGEST_SCRIPT],
        env=os.environ | older,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == frames_digest()


def test_band_height_changes_nothing(street, monkeypatch):
    camera = street_camera(street, size_hw=(80, 100))
    whole = render(street, camera)
    monkeypatch.setattr(render_module, "_BAND_PX", 1600)
    banded = render(street, camera)
    for field in dataclasses.fields(Frame):
        np.testing.assert_array_equal(getattr(whole, field.name), getattr(banded, field.name))


def test_other_seed_and_other_index_give_other_scenes():
    frames = [
        render(scene, street_camera(scene, size_hw=(24, 48))).rgb
        for scene in (street_scene(0, 0), street_scene(0, 1), street_scene(1, 0))
    ]
    assert all((frames[a] != frames[b]).mean() > 0.5 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="negative"):
        street_scene(-1, 0)


def test_labels_agree_with_the_scene(street, street_frame):
    frame = street_frame
    classes = {item.object_id: item.street_class for item in street.objects}
    part_owner = {p: item.object_id for item in street.objects for p in item.part_ids()}
    for object_id in np.unique(frame.object_id):
        mask = frame.object_id == object_id
        if object_id == 0:
            assert (frame.train_id[mask] == street_class("sky").train_id).all()
            assert np.isinf(frame.range_m[mask]).all()
            continue
        assert (frame.train_id[mask] == classes[object_id].train_id).all()
        want = object_id if classes[object_id].is_thing else 0
        assert (frame.instance_id[mask] == want).all()
        assert {part_owner[p] for p in np.unique(frame.part_id[mask])} == {object_id}


def test_normals_are_unit_and_face_the_camera(street, street_frame):
    camera = street_camera(street, size_hw=street_frame.train_id.shape)
    rays = np.einsum("ij,jhw->hwi", camera.world_from_cam[:3, :3], camera.rays(slice(None)))
    seen = street_frame.object_id > 0
    normal = street_frame.normal[seen]
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1.0, atol=1e-4)
    assert ((normal * rays[seen]).sum(axis=1) < 1e-3).mean() > 0.999
    assert (street_frame.normal[~seen] == 0).all()


def test_depth_is_range_along_the_optical_axis(street, street_frame):
    camera = street_camera(street, size_hw=street_frame.train_id.shape)
    seen = np.isfinite(street_frame.range_m)
    cosine = camera.rays(slice(None))[2]
    np.testing.assert_allclose(
        street_frame.depth_m[seen], (street_frame.range_m * cosine)[seen], rtol=1e-6
    )
    assert np.isinf(street_frame.depth_m[~seen]).all()


def _sky() -> Sky:
    return Sky(zenith=(0.3, 0.4, 0.6), horizon=(0.6, 0.6, 0.6))


def _plain_scene(*objects: SceneObject) -> Scene:
    sun = Sun(direction=(0.0, 0.0, 1.0), color=(1.0, 1.0, 1.0))
    return Scene(seed=0, index=0, objects=objects, sun=sun, sky=_sky())


def _ball(radius: float) -> tuple[Part, ...]:
    gray = Material(color=(0.5, 0.5, 0.5))
    return (Part(name="ball", shape=Ellipsoid(radii_m=(radius,) * 3), material=gray),)


def test_sphere_has_the_depth_of_the_closed_formula():
    ball = SceneObject(object_id=1, street_class=street_class("car"), parts=_ball(2.0))
    camera = pinhole_with_fov((64, 64), 40.0, look_at((-10.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    frame = render(_plain_scene(ball), camera)
    v, u = np.mgrid[0:64, 0:64]
    x = (u + 0.5 - 32) / camera.focal_px[0]
    y = (v + 0.5 - 32) / camera.focal_px[0]
    cosine = 1 / np.sqrt(1 + x**2 + y**2)
    disc = (10 * cosine) ** 2 - (100 - 4)
    want = 10 * cosine - np.sqrt(np.maximum(disc, 0))
    clear = abs(disc) > 1e-3
    np.testing.assert_array_equal((frame.object_id == 1)[clear], (disc > 0)[clear])
    hit = clear & (disc > 0)
    np.testing.assert_allclose(frame.range_m[hit], want[hit], atol=2e-4)


def test_scene_far_from_the_origin_is_as_exact_as_at_it(street):
    shift = (70000.0, -30000.0, 500.0)

    def moved(pose: Pose) -> Pose:
        position = tuple(a + b for a, b in zip(pose.position_m, shift, strict=True))
        return dataclasses.replace(pose, position_m=position)

    objects = tuple(dataclasses.replace(o, pose=moved(o.pose)) for o in street.objects)
    far = dataclasses.replace(street, objects=objects)
    camera = street_camera(street, size_hw=(48, 96))
    pose = camera.world_from_cam.copy()
    pose[:3, 3] += shift
    here, there = (
        render(street, camera),
        render(far, dataclasses.replace(camera, world_from_cam=pose)),
    )
    assert (here.part_id == there.part_id).mean() > 0.999


def test_moving_object_is_where_its_motion_says():
    motion = Motion(speed_mps=4.0)
    ball = SceneObject(
        object_id=3,
        street_class=street_class("car"),
        parts=_ball(0.5),
        pose=Pose(yaw_rad=np.pi / 2),
        motion=motion,
    )
    camera = pinhole_with_fov((200, 200), 60.0, look_at((-10.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    for time_s in (0.0, 0.5, -0.25):
        frame = render(_plain_scene(ball), camera, time_s=time_s)
        rows, columns = np.nonzero(frame.object_id == 3)
        uv, _ = camera.project(np.array([[0.0, 4.0 * time_s, 0.0]]))
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], uv[0], atol=0.6)


def test_turning_object_drives_an_arc():
    start = Pose()
    item = SceneObject(
        object_id=1,
        street_class=street_class("car"),
        parts=(),
        pose=start,
        motion=Motion(speed_mps=2.0, yaw_rate_rps=1.0),
    )
    end = item.pose_at(np.pi / 2)
    np.testing.assert_allclose(end.position_m, (2.0, 2.0, 0.0), atol=1e-12)
    assert end.yaw_rad == pytest.approx(np.pi / 2)


def test_shadow_darkens_the_ground_below():
    gray = Material(color=(0.5, 0.5, 0.5), contrast=0.0)
    plane = Part(name="floor", shape=GroundPlane(), material=gray, casts_shadow=False)
    ground = SceneObject(object_id=1, street_class=street_class("road"), parts=(plane,))
    lid = Part(name="lid", shape=Box(half_size_m=(1.0, 1.0, 0.1)), material=gray)
    cover = SceneObject(
        object_id=2,
        street_class=street_class("building"),
        parts=(lid,),
        pose=Pose(position_m=(0.0, 0.0, 3.0)),
    )
    camera = pinhole_with_fov((120, 160), 70.0, look_at((-6.0, 0.0, 2.0), (0.0, 0.0, 0.0)))
    frame = render(_plain_scene(ground, cover), camera)
    rays = np.einsum("ij,jhw->hwi", camera.world_from_cam[:3, :3], camera.rays(slice(None)))
    points = rays * np.minimum(frame.range_m, 1e4)[..., None] + camera.world_from_cam[:3, 3]
    on_ground = frame.object_id == 1
    under = on_ground & (abs(points[..., :2]) < 0.9).all(axis=2)
    beside = on_ground & (abs(points[..., 1]) > 1.2) & (abs(points[..., 0]) < 3)
    assert under.sum() > 50
    assert frame.rgb[under].mean() < 0.8 * frame.rgb[beside].mean()


def test_color_alone_does_not_give_the_class_away():
    """A classifier on single colors stays far from the truth on unseen scenes."""
    scenes = [street_scene(1, k) for k in range(8)]
    frames = [render(s, street_camera(s, size_hw=(64, 128))) for s in scenes]

    def bins(frame):
        return (frame.rgb // 32).astype(np.int64) @ np.array([64, 8, 1])

    counts = np.zeros((512, 256))
    for frame in frames[:6]:
        np.add.at(counts, (bins(frame).ravel(), frame.train_id.ravel()), 1)
    vote = counts.argmax(axis=1)
    truth = np.concatenate([f.train_id.ravel() for f in frames[6:]])
    guess = np.concatenate([vote[bins(f)].ravel() for f in frames[6:]])
    things = truth >= CITYSCAPES.num_stuff
    evaluated = truth < 255
    recall = (guess == truth)[things & evaluated].mean()
    assert things[evaluated].mean() > 0.02
    assert recall < 0.5


def test_panorama_closes_at_its_left_and_right_border(street):
    frame = render(street, street_panorama_camera(street, size_hw=(96, 192)))
    assert (frame.train_id[:, 0] == frame.train_id[:, -1]).mean() > 0.9
    assert (frame.train_id[0] == street_class("sky").train_id).all()
    assert (frame.train_id[-1] == street_class("road").train_id).all()


@pytest.mark.parametrize("size_hw", [(0, 8), (8, 0), (-1, 4)])
def test_camera_without_pixels_is_refused(street, size_hw):
    camera = dataclasses.replace(street_camera(street, size_hw=(8, 8)), size_hw=size_hw)
    with pytest.raises(ValueError, match="1 x 1"):
        render(street, camera)


def test_scene_without_objects_is_all_sky():
    camera = pinhole_with_fov((5, 7), 60.0, look_at((0.0, 0.0, 1.0), (1.0, 0.0, 1.0)))
    frame = render(_plain_scene(), camera)
    assert (frame.train_id == street_class("sky").train_id).all()
    assert (frame.object_id == 0).all()
    assert np.isinf(frame.depth_m).all()
