"""Replica folders, read back with Pillow and JSON by the formulas of the format."""

import json

import numpy as np
import pytest
from PIL import Image

from eagleray.task import InputError
from eagleray_toyworld.formats.replica import depth_png, write_replica
from eagleray_toyworld.worlds.room import room_scene

SIZE_HW = (60, 90)
NUM_VIEWS = 3
KINDS = ("rgb", "depth", "instance", "masks")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replica") / "room_0"
    write_replica(folder, seed=2, index=0, num_views=NUM_VIEWS, size_hw=SIZE_HW)
    return folder


@pytest.fixture(scope="module")
def content(root):
    return json.loads((root / "transforms_train.json").read_text())


def _files(root, kind):
    folder = root / "results" if kind in ("rgb", "depth") else root
    return sorted((folder / kind).iterdir())


def _world(root, content, k):
    steps = np.asarray(Image.open(_files(root, "depth")[k]))
    assert steps.dtype == np.uint16
    z = steps * content["integer_depth_scale"]
    v, u = np.mgrid[0 : content["h"], 0 : content["w"]] + 0.5
    x = (u - content["w"] / 2) / content["fl_x"] * z
    y = (v - content["h"] / 2) / content["fl_y"] * z
    pose = np.array(content["frames"][10 * k]["transform_matrix"])
    return np.stack([x, y, z], axis=-1) @ pose[:3, :3].T + pose[:3, 3]


def test_every_tenth_pose_has_files(root, content):
    assert len(content["frames"]) == 10 * NUM_VIEWS
    for kind in KINDS:
        assert len(_files(root, kind)) == NUM_VIEWS
    for k, frame in enumerate(content["frames"]):
        assert ("file_path" in frame) == (k % 10 == 0)
        assert all(
            (root / frame[key]).is_file() for key in ("file_path", "depth_path") if key in frame
        )


def test_surfaces_lie_in_the_box(root, content):
    low, high = np.array(content["aabb"])
    for k in range(NUM_VIEWS):
        points = _world(root, content, k).reshape(-1, 3)
        assert (points > low - 0.01).all()
        assert (points < high + 0.01).all()
        walls = (abs(points - low) < 0.01) | (abs(points - high) < 0.01)
        assert walls.any(axis=1).mean() > 0.1


def test_views_agree_on_the_object(root, content):
    """Lift one view by the format's own numbers and look the points up in the next."""
    points = _world(root, content, 0).reshape(-1, 3)
    ids = np.asarray(Image.open(_files(root, "instance")[0])).ravel()
    pose = np.linalg.inv(np.array(content["frames"][10]["transform_matrix"]))
    local = points @ pose[:3, :3].T + pose[:3, 3]
    z = local[:, 2]
    u = np.floor(content["fl_x"] * local[:, 0] / z + content["w"] / 2).astype(int)
    v = np.floor(content["fl_y"] * local[:, 1] / z + content["h"] / 2).astype(int)
    ok = (z > 0) & (u >= 0) & (v >= 0) & (u < content["w"]) & (v < content["h"])
    depth = np.asarray(Image.open(_files(root, "depth")[1])) * content["integer_depth_scale"]
    other = np.asarray(Image.open(_files(root, "instance")[1]))
    same = abs(depth[v[ok], u[ok]] - z[ok]) < 0.01 * z[ok]
    assert same.mean() > 0.05
    assert (other[v[ok], u[ok]][same] == ids[ok][same]).mean() >= 0.98


def test_picture_is_the_size_that_the_json_says(root, content):
    image = Image.open(_files(root, "rgb")[0])
    assert image.size == (content["w"], content["h"]) == SIZE_HW[::-1]
    assert np.asarray(image).std() > 10


def test_second_call_changes_nothing(root):
    before = {
        p: (p.stat().st_mtime_ns, p.read_bytes())
        for p in (p for k in KINDS for p in _files(root, k))
    }
    write_replica(root, seed=2, index=0, num_views=NUM_VIEWS, size_hw=SIZE_HW)
    after = {
        p: (p.stat().st_mtime_ns, p.read_bytes())
        for p in (p for k in KINDS for p in _files(root, k))
    }
    assert before == after


def test_depth_beyond_the_format_is_refused():
    with pytest.raises(InputError, match="ends at 10"):
        depth_png(np.full((2, 2), 10.5, np.float32))


def test_missing_surface_is_depth_zero():
    import io

    depth = np.array([[np.inf, 1.0]], np.float32)
    steps = np.asarray(Image.open(io.BytesIO(depth_png(depth))))
    assert steps[0, 0] == 0
    assert steps[0, 1] in (6553, 6554)


def test_room_has_many_parts_within_reach():
    scene = room_scene(2, 0)
    assert len(scene.objects) > 15
    assert sum(len(o.parts) for o in scene.objects) > 100
