"""Point clouds that other programs read, in the coordinates of the capture."""

import io

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from eagleray.task import Item
from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.export import export_selection, point_cloud_ply, thin_points
from eagleray_omniseg3d.model.view_rendering import RenderedView
from eagleray_omniseg3d.predict import SelectedViews
from eagleray_omniseg3d.scenes import Scene, View

POSE = np.eye(4)[:3]


def scene(**place):
    return Scene(
        views=(View("a", None, POSE),),
        camera_matrix=np.eye(3),
        size_hw=(2, 3),
        splits={},
        **place,
    )


def read(content):
    cloud = trimesh.load(io.BytesIO(content), file_type="ply")
    return np.asarray(cloud.vertices), np.asarray(cloud.colors)[:, :3]


def test_points_are_read_back_in_world_coordinates():
    rng = np.random.default_rng(0)
    world = rng.uniform(-3, 5, (200, 3))
    colors = rng.integers(0, 256, (200, 3)).astype(np.uint8)
    turn, shift = Rotation.from_rotvec([0.2, 0.5, -0.3]).as_matrix(), np.array([1.0, -2, 0.5])
    frame = np.concatenate([turn, shift[:, None]], axis=1)
    placed = scene(frame=frame, scale=2.5)
    points = ((world @ turn.T + shift) / 2.5).astype(np.float32)
    found, found_colors = read(point_cloud_ply(points, colors, placed))
    np.testing.assert_allclose(found, world, atol=1e-5)
    np.testing.assert_array_equal(found_colors, colors)
    centered = scene(shift=np.array([1.0, 2.0, 3.0]), scale=4.0)
    points = ((world - centered.shift) / 4.0).astype(np.float32)
    np.testing.assert_allclose(read(point_cloud_ply(points, colors, centered))[0], world, atol=1e-5)


def test_points_seen_by_several_views_are_kept_once():
    rng = np.random.default_rng(1)
    points = rng.uniform(-1, 1, (300, 3)).astype(np.float32)
    noisy = points + rng.normal(scale=1e-6, size=points.shape).astype(np.float32)
    colors = np.arange(300, dtype=np.uint8)[:, None].repeat(3, axis=1)
    kept, kept_colors = thin_points(np.concatenate([points, noisy]), np.concatenate([colors] * 2))
    assert 300 <= len(kept) < 320
    np.testing.assert_array_equal(kept[:300], points)
    np.testing.assert_array_equal(kept_colors[:300], colors)
    one, _ = thin_points(np.zeros((5, 3), np.float32), np.zeros((5, 3), np.uint8))
    assert one.tolist() == [[0, 0, 0]]


def test_an_empty_selection_has_empty_masks_but_no_cloud():
    view = RenderedView(
        rgb=np.zeros((2, 3, 3), np.float32),
        depth=np.ones((2, 3), np.float32),
        opacity=np.ones((2, 3), np.float32),
        features=np.ones((2, 3, 4), np.float32),
        positions=np.ones((2, 3, 3), np.float32),
    )
    empty = SelectedViews(("a",), (view,), (np.zeros((2, 3), bool),))
    item = Item("click", "x", {})
    for format in ("masks", "coco_rle", "overlays"):
        record = export_selection(item, empty, format, scene())
        assert record.row["pixels"] == {"a": 0} and record.files
    with pytest.raises(SelectionError, match="the selection is empty"):
        export_selection(item, empty, "ply", scene())
