"""COLMAP models, read back by pycolmap."""

import numpy as np
import pycolmap
import pytest
from PIL import Image

from eagleray.task import SettingsError
from eagleray_toyworld.formats.colmap import quaternion_wxyz, write_colmap
from eagleray_toyworld.scene.pose import rotation_from_euler

SIZE_HW = (72, 96)
NUM_VIEWS = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colmap") / "room_0"
    write_colmap(folder, seed=4, index=0, num_views=NUM_VIEWS, size_hw=SIZE_HW, points_per_view=60)
    return folder


@pytest.fixture(scope="module")
def model(root):
    return pycolmap.Reconstruction(str(root / "sparse/0"))


def test_model_has_all_views_and_one_pinhole_camera(root, model):
    assert len(model.images) == NUM_VIEWS
    assert list(model.cameras) == [1]
    camera = model.cameras[1]
    assert camera.model.name == "PINHOLE"
    assert (camera.height, camera.width) == SIZE_HW
    for image in model.images.values():
        assert Image.open(root / "images" / image.name).size == SIZE_HW[::-1]


def test_points_reproject_within_half_a_pixel(model):
    errors = []
    for point in model.points3D.values():
        for element in point.track.elements:
            image = model.images[element.image_id]
            seen = image.points2D[element.point2D_idx]
            projected = image.project_point(point.xyz)
            errors.append(np.linalg.norm(projected - seen.xy))
            assert seen.has_point3D()
    assert len(errors) > 300
    assert max(errors) < 0.5
    model.update_point_3d_errors()
    assert model.compute_mean_reprojection_error() < 0.5


def test_tracks_and_observations_name_each_other(model):
    for point_id, point in model.points3D.items():
        assert point.track.length() >= 3
        for element in point.track.elements:
            points2d = model.images[element.image_id].points2D
            assert points2d[element.point2D_idx].point3D_id == point_id


def test_point_color_is_what_its_views_show(root, model):
    pictures = {
        image_id: np.asarray(Image.open(root / "images" / image.name)).astype(int)
        for image_id, image in model.images.items()
    }
    differences = []
    for point in model.points3D.values():
        for element in point.track.elements:
            x, y = model.images[element.image_id].points2D[element.point2D_idx].xy
            seen = pictures[element.image_id][int(y), int(x)]
            differences.append(abs(seen - point.color.astype(int)).mean())
    assert np.median(differences) < 12


def test_points_lie_in_one_object_in_all_views(root, model):
    ids = {
        image_id: np.asarray(Image.open(root / "instance" / image.name.replace(".jpg", ".png")))
        for image_id, image in model.images.items()
    }
    agree = []
    for point in model.points3D.values():
        found = set()
        for element in point.track.elements:
            x, y = model.images[element.image_id].points2D[element.point2D_idx].xy
            found.add(int(ids[element.image_id][int(y), int(x)]))
        agree.append(len(found) == 1)
    assert np.mean(agree) >= 0.98


def test_finished_model_is_left_alone(root):
    files = sorted((root / "sparse/0").iterdir())
    before = [(f.stat().st_mtime_ns, f.read_bytes()) for f in files]
    write_colmap(root, seed=4, index=0, num_views=NUM_VIEWS, size_hw=SIZE_HW, points_per_view=60)
    assert before == [(f.stat().st_mtime_ns, f.read_bytes()) for f in files]


def test_interrupted_model_is_finished_with_the_same_bytes(root):
    files = {f.name: f.read_bytes() for f in (root / "sparse/0").iterdir()}
    (root / "sparse/0/images.bin").unlink()
    write_colmap(root, seed=4, index=0, num_views=NUM_VIEWS, size_hw=SIZE_HW, points_per_view=60)
    assert files == {f.name: f.read_bytes() for f in (root / "sparse/0").iterdir()}


@pytest.mark.parametrize(
    "euler", [(0, 0, 0), (np.pi, 0, 0), (0, np.pi, 0), (0, 0, np.pi), (0.3, -1.2, 2.9)]
)
def test_quaternion_gives_the_rotation_back(euler):
    rotation = rotation_from_euler(*euler)
    w, x, y, z = quaternion_wxyz(rotation)
    assert w >= 0
    back = pycolmap.Rotation3d(np.array([x, y, z, w])).matrix()
    np.testing.assert_allclose(back, rotation, atol=1e-12)


def test_views_beyond_the_memory_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="fewer or smaller views"):
        write_colmap(tmp_path / "x", seed=0, index=0, num_views=1000, size_hw=(1000, 1000))
    assert not (tmp_path / "x").exists()
