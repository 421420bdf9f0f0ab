import pytest
import torch

from eagleray_vision.detection.anchors import cell_anchors, grid_anchors, inclusive_cell_anchors


def test_anchor_sides_and_center_follow_the_rule() -> None:
    anchors = cell_anchors(16, 8.0, (0.5, 1.0, 2.0))
    height, width = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    assert (height / width).tolist() == pytest.approx([0.5, 1, 2])
    assert (height * width).sqrt().tolist() == pytest.approx([128, 128, 128])
    assert ((anchors[:, :2] + anchors[:, 2:]) / 2 == 8).all()


def test_inclusive_anchors_have_the_well_known_corners() -> None:
    # The base anchors of stride 16, scale 8 that Faster R-CNN code has printed since 2015.
    expected = [[-56, -56, 71, 71]]
    assert inclusive_cell_anchors(16, 8.0, (1.0,)).tolist() == expected


def test_grid_runs_over_columns_first_and_anchors_innermost() -> None:
    anchors = grid_anchors(cell_anchors(4, 2.0, (1.0, 2.0)), (2, 3), 4)
    centers = ((anchors[:, :2] + anchors[:, 2:]) / 2).tolist()
    expected = [[4 * i + 2, 4 * j + 2] for i in range(2) for j in range(3) for _ in range(2)]
    assert torch.tensor(centers).allclose(torch.tensor(expected, dtype=torch.float32))


def test_a_map_without_cells_has_no_anchors() -> None:
    assert grid_anchors(cell_anchors(4, 2.0, (1.0,)), (0, 5), 4).shape == (0, 4)
