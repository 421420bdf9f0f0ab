import pytest
import torch

from eagleray_vision.detection.boxes import box_iou
from eagleray_vision.detection.nms import nms


def greedy(
    boxes: torch.Tensor, scores: torch.Tensor, threshold: float, *, equal: bool, inclusive: bool
) -> list[int]:
    """Readable reference: compare each candidate with every box kept so far."""
    kept: list[int] = []
    for k in scores.argsort(descending=True, stable=True).tolist():
        iou = box_iou(boxes[[k]], boxes[kept], inclusive=inclusive)[0]
        limit = torch.tensor(threshold, dtype=boxes.dtype)
        if not bool(((iou >= limit) if equal else (iou > limit)).any()):
            kept.append(k)
    return kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("inclusive", [False, True])
def test_agrees_with_the_greedy_reference(dtype: torch.dtype, equal: bool, inclusive: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.randint(0, 20, (120, 2), generator=generator).to(dtype)
    boxes = torch.cat([corner, corner + torch.randint(1, 12, (120, 2), generator=generator)], 1)
    scores = torch.rand(120, generator=generator, dtype=dtype)
    for threshold in (0.25, 0.5, 0.7):  # small whole numbers: many IoUs of exactly 1/4 and 1/2
        found = nms(boxes, scores, threshold, suppress_equal=equal, inclusive=inclusive)
        assert found.tolist() == greedy(boxes, scores, threshold, equal=equal, inclusive=inclusive)


def test_an_iou_of_exactly_the_threshold_tells_the_conventions_apart() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.5, suppress_equal=True).tolist() == [0]
    assert nms(boxes, scores, 0.5, suppress_equal=False).tolist() == [0, 1]


def test_equal_scores_keep_the_input_order_and_the_number_is_limited() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 10, 10]])
    assert nms(boxes, torch.ones(3), 0.5).tolist() == [0, 1, 2]
    assert nms(boxes, torch.ones(3), 0.5, max_kept=2).tolist() == [0, 1]


def test_no_boxes_and_empty_boxes() -> None:
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    assert nms(torch.zeros(2, 4), torch.tensor([0.1, 0.2]), 0.5).tolist() == [1, 0]


def test_bfloat16_boxes_are_accepted() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]], dtype=torch.bfloat16)
    assert nms(boxes, torch.tensor([0.5, 0.9], dtype=torch.bfloat16), 0.5).tolist() == [1]
