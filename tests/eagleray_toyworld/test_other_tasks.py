"""Generated rooms are what the readers of the radiance-field task expect."""

import numpy as np
import pytest
from PIL import Image

from eagleray_omniseg3d.masks.source import FileSource
from eagleray_omniseg3d.scenes.colmap import read_colmap_scene
from eagleray_omniseg3d.scenes.pixels import read_view_depth
from eagleray_omniseg3d.scenes.replica import read_replica_scene
from eagleray_toyworld.formats.colmap import write_colmap
from eagleray_toyworld.formats.replica import POSES_PER_FILE, write_replica
from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.worlds.room import RoomPath, room_scene

SIZE_HW = (45, 60)
VIEWS = 6


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    root = tmp_path_factory.mktemp("replica")
    write_replica(root, seed=1, index=0, num_views=VIEWS, size_hw=SIZE_HW)
    return root


@pytest.fixture(scope="module")
def colmap(tmp_path_factory):
    root = tmp_path_factory.mktemp("colmap")
    write_colmap(root, seed=1, index=0, num_views=VIEWS, size_hw=SIZE_HW)
    return root


def test_replica_reader_finds_poses_and_depth(replica):
    scene = read_replica_scene(replica)
    path = RoomPath(num_views=VIEWS * POSES_PER_FILE, size_hw=SIZE_HW)
    assert len(scene.views) == VIEWS
    for k, view in enumerate(scene.views):
        camera = path.camera(k * POSES_PER_FILE)
        center = view.world_from_cam[:, 3] * scene.scale + scene.shift
        np.testing.assert_allclose(center, camera.world_from_cam[:3, 3], atol=1e-9)
        depth = read_view_depth(scene, view) * scene.scale
        frame = render(room_scene(1, 0), camera)
        np.testing.assert_allclose(depth, frame.depth_m, atol=1e-3)
    np.testing.assert_allclose(scene.camera_matrix, path.camera(0).matrix)


def test_colmap_reader_finds_the_relative_poses(colmap):
    scene = read_colmap_scene(colmap, downsample=1.0, split="every_8th")
    path = RoomPath(num_views=VIEWS, size_hw=SIZE_HW)
    assert len(scene.views) == VIEWS
    assert len(scene.points) > 30
    ours = [path.camera(k).world_from_cam[:3, :3] for k in range(VIEWS)]
    read = [view.world_from_cam[:, :3] for view in scene.views]
    for k in range(1, VIEWS):
        np.testing.assert_allclose(read[0].T @ read[k], ours[0].T @ ours[k], atol=1e-9)


@pytest.mark.parametrize("kind", ["replica", "colmap"])
def test_mask_files_are_where_the_reader_looks(request, kind):
    root = request.getfixturevalue(kind)
    scene = read_replica_scene(root) if kind == "replica" else read_colmap_scene(root, downsample=1)
    source = FileSource(str(root / "masks/{name}.json"))
    for view in scene.views:
        image = np.asarray(Image.open(view.image_path))
        masks = source.masks(image, view.name)
        instance = np.asarray(Image.open(root / "instance" / f"{view.name}.png"))
        assert masks.any(axis=0).all()
        assert len(masks) > len(np.unique(instance))
