"""Occ3D's protocols against values computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eagleray.task import InputError
from eagleray_pop3d.occ3d import (
    FREE,
    SIZE_XYZ,
    count_rays,
    count_voxels,
    first_hits,
    lidar_rays,
    ray_iou,
    read_occ3d,
    semantic_iou,
)
from eagleray_vision.driving.occ3d_grid import voxel_centers_m

ORIGIN = np.array([0.0, 0.0, 1.8])


def wall(x_voxel: int, label: int = 4) -> np.ndarray:
    """Return a world that is free but for a wall across the way ahead."""
    labels = np.full(SIZE_XYZ, FREE, dtype=np.uint8)
    labels[x_voxel] = label
    return labels


def test_voxels_lie_where_occ3d_says() -> None:
    centers = voxel_centers_m()
    np.testing.assert_allclose(centers[0, 0, 0], (-39.8, -39.8, -0.8))
    np.testing.assert_allclose(centers[-1, -1, -1], (39.8, 39.8, 5.2))


def test_iou_counts_inside_of_the_mask() -> None:
    truth = np.full(SIZE_XYZ, FREE, dtype=np.uint8)
    ours = truth.copy()
    truth[0, 0, :4] = 4
    ours[0, 0, 2:6] = 4
    ours[1, 0, 0] = 7
    iou = semantic_iou(count_voxels(truth, ours, None))
    assert iou[4] == pytest.approx(2 / 6) and iou[7] == 0 and np.isnan(iou[1])
    mask = np.zeros(SIZE_XYZ, dtype=bool)
    mask[0, 0, 2:5] = True
    iou = semantic_iou(count_voxels(truth, ours, mask))
    assert iou[4] == pytest.approx(2 / 3) and np.isnan(iou[7])


def test_rays_stop_at_the_first_voxel() -> None:
    ahead = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
    distance, label = first_hits(wall(125), ORIGIN, ahead)
    # The wall begins 10 m ahead, which the slanted ray meets after 10 / 0.6 m.
    np.testing.assert_allclose(distance[[0, 2]], [10.0, 10 / 0.6], atol=0.2)
    assert np.isinf(distance[1]) and label.tolist() == [4, FREE, 4]


def test_ray_iou_forgives_distance_up_to_its_tolerance() -> None:
    ahead = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    for moved_voxels, expected in ((0, (1, 1, 1)), (4, (0, 1, 1)), (9, (0, 0, 1)), (15, (0, 0, 0))):
        counts = count_rays(wall(125), wall(125 + moved_voxels), [ORIGIN], ahead)
        iou = ray_iou(counts)
        assert iou[:, 4].tolist() == list(expected)
        assert np.isnan(np.delete(iou, 4, axis=1)).all()
    wrong = ray_iou(count_rays(wall(125), wall(125, label=10), [ORIGIN], ahead))
    assert wrong[:, 4].tolist() == wrong[:, 10].tolist() == [0, 0, 0]


def test_a_perfect_prediction_scores_one() -> None:
    truth = np.random.default_rng(0).choice([1, 4, FREE], size=SIZE_XYZ, p=[0.01, 0.01, 0.98])
    truth = truth.astype(np.uint8)
    rays = lidar_rays()[::37]
    assert np.nanmean(semantic_iou(count_voxels(truth, truth, None))) == 1
    assert np.nanmean(ray_iou(count_rays(truth, truth, [ORIGIN], rays))) == 1


def test_rays_resemble_a_lidar() -> None:
    rays = lidar_rays()
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1)
    heights = np.unique(np.round(np.rad2deg(np.arcsin(rays[:, 2])), 6))
    assert heights[0] == pytest.approx(-45) and 12 < heights[-1] < 13
    assert len(rays) == 360 * len(heights)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    good = np.zeros(SIZE_XYZ, dtype=np.uint8)
    np.savez(path, semantics=good, mask_lidar=good, mask_camera=good)
    assert read_occ3d(path, "t").labels.shape == SIZE_XYZ
    for arrays, message in (
        ({"semantics": good}, "lacks"),
        (
            dict.fromkeys(("semantics", "mask_lidar", "mask_camera"), good[:100]),
            r"\(100, 200, 16\)",
        ),
        (
            {"semantics": good + 23, "mask_lidar": good, "mask_camera": good},
            "label 23",
        ),
    ):
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=f"labels.npz of key frame t.*{message}"):
            read_occ3d(path, "t")
    path.write_bytes(b"no file of arrays")
    with pytest.raises(InputError, match="is no readable"):
        read_occ3d(path, "t")
    with pytest.raises(InputError, match="is no readable"):
        read_occ3d(tmp_path / "missing.npz", "t")
