import numpy as np
import pytest
import torch
import torchvision

from eagleray_vision.detection.boxes import (
    box_area,
    box_coverage,
    box_iou,
    boxes_from_id_map,
    clip_boxes,
    mask_coverage,
)


def random_boxes(count: int, seed: int, size: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, size, (count, 2), generator=generator).float()
    extent = torch.randint(1, size, (count, 2), generator=generator).float()
    return torch.cat([corner, corner + extent], dim=1)


def painted(box: torch.Tensor, size: int, *, inclusive: bool) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    y0, x0, y1, x1 = (int(v) for v in box)
    mask[y0 : y1 + int(inclusive), x0 : x1 + int(inclusive)] = True
    return mask


def test_iou_agrees_with_torchvision() -> None:
    first, second = random_boxes(30, 0), random_boxes(20, 1)
    torch.testing.assert_close(box_iou(first, second), torchvision.ops.box_iou(first, second))


@pytest.mark.parametrize("inclusive", [False, True])
def test_iou_of_whole_pixel_boxes_counts_pixels(inclusive: bool) -> None:
    first, second = random_boxes(8, 2), random_boxes(6, 3)
    iou = box_iou(first, second, inclusive=inclusive)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            p, q = (painted(x, 90, inclusive=inclusive) for x in (a, b))
            assert iou[i, j].item() == pytest.approx((p & q).sum() / (p | q).sum())
        assert box_area(first, inclusive=inclusive)[i] == painted(a, 90, inclusive=inclusive).sum()


def test_two_empty_boxes_have_no_iou() -> None:
    empty = torch.tensor([[3.0, 3.0, 3.0, 8.0]])
    assert box_iou(empty, empty).isnan().all()


def test_coverage_is_relative_to_the_first_box() -> None:
    inner, outer = torch.tensor([[2.0, 2, 4, 4]]), torch.tensor([[0.0, 0, 8, 8]])
    assert box_coverage(inner, outer).item() == 1
    assert box_coverage(outer, inner).item() == pytest.approx(4 / 64)


def test_mask_coverage_counts_pixels_between_truncated_corners() -> None:
    mask = torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) < 0.4
    boxes = torch.tensor([[1.9, 2.2, 7.9, 9.1], [-3.0, -4.0, 50.0, 60.0], [4.0, 4.0, 5.0, 5.0]])
    expected = []
    for y0, x0, y1, x1 in boxes.tolist():
        rows, columns = slice(max(int(y0), 0), int(y1)), slice(max(int(x0), 0), int(x1))
        expected.append(mask[rows, columns].sum().item() / ((y1 - y0) * (x1 - x0)))
    torch.testing.assert_close(mask_coverage(boxes, mask), torch.tensor(expected))


def test_mask_coverage_of_an_empty_box_is_nan() -> None:
    assert mask_coverage(torch.tensor([[2.0, 2, 2, 5]]), torch.ones(9, 9)).isnan().all()


def test_extents_of_ids_agree_with_a_search() -> None:
    ids = torch.randint(0, 7, (11, 13), generator=torch.Generator().manual_seed(1))
    ids[ids == 4] = 0
    boxes = boxes_from_id_map(ids, 9)
    for k in range(9):
        rows, columns = (ids == k).nonzero(as_tuple=True)
        if len(rows):
            expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        else:
            expected = [-1, -1, -1, -1]
        assert boxes[k].tolist() == [float(v) for v in expected]


def test_an_empty_map_has_no_extents() -> None:
    assert (boxes_from_id_map(torch.zeros(0, 5).long(), 2) == -1).all()


@pytest.mark.parametrize("bad", [-1, 3])
def test_ids_out_of_range_are_refused(bad: int) -> None:
    with pytest.raises(ValueError, match=r"3 ids were announced \(0 \.\. 2\)"):
        boxes_from_id_map(torch.tensor([[0, bad]]), 3)


def test_clipping_keeps_inclusive_corners_one_pixel_inside() -> None:
    box = torch.tensor([[-5.0, 3.0, 99.0, 99.0]])
    assert clip_boxes(box, (10, 20)).tolist() == [[0, 3, 10, 20]]
    assert clip_boxes(box, (10, 20), inclusive=True).tolist() == [[0, 3, 9, 19]]
