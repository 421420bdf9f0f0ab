import pytest
import torch

from eagleray_vision.detection.assignment import (
    NEGATIVE,
    VOID,
    assign_by_iou,
    best_overlaps,
    choose,
    sample_matches,
)
from eagleray_vision.detection.boxes import box_iou


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 30, (count, 2), generator=generator).double()
    return torch.cat([corner, corner + torch.randint(1, 15, (count, 2), generator=generator)], 1)


def reference(
    boxes: torch.Tensor, truth: torch.Tensor, pos: float, neg: float, low: float, force: str
) -> list[int]:
    """Readable reference: the rules, one box and one ground truth at a time."""
    iou = box_iou(boxes, truth)
    result = []
    for row in iou:
        best = int(row.argmax())
        if row[best] >= pos:
            result.append(best)
        else:
            result.append(NEGATIVE if low <= row[best] < neg else VOID)
    for k in range(len(truth)):
        column = iou[:, k]
        if force == "one" and column.max() > 0:
            result[int(column.argmax())] = k
        if force == "ties" and column.max() >= 0.3:
            for i in (column == column.max()).nonzero()[:, 0].tolist():
                result[i] = k
    return result


@pytest.mark.parametrize("force", ["none", "one", "ties"])
@pytest.mark.parametrize("num_truth", [1, 5, 40])
def test_agrees_with_the_rules_one_by_one(force: str, num_truth: int) -> None:
    boxes, truth = random_boxes(300, 0), random_boxes(num_truth, 1)
    found = assign_by_iou(
        boxes,
        truth,
        pos_threshold=0.6,
        neg_threshold=0.3,
        neg_threshold_low=0.05,
        force_best=force,  # type: ignore[arg-type]
        force_min_iou=0.3 if force == "ties" else 0.0,
    )
    assert found.tolist() == reference(boxes, truth, 0.6, 0.3, 0.05, force)


def test_a_shared_best_box_goes_to_the_later_ground_truth() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    truth = torch.tensor([[0.0, 0, 10, 4], [0, 5, 10, 9]])
    found = assign_by_iou(boxes, truth, pos_threshold=0.7, neg_threshold=0.3, force_best="one")
    assert found.tolist() == [1, NEGATIVE]


def test_without_ground_truth_everything_is_negative() -> None:
    found = assign_by_iou(
        random_boxes(5, 2), torch.zeros(0, 4).double(), pos_threshold=0.7, neg_threshold=0.3
    )
    assert found.tolist() == [NEGATIVE] * 5


def test_without_boxes_nothing_is_assigned() -> None:
    none = torch.zeros(0, 4)
    found = assign_by_iou(
        none, torch.ones(3, 4), pos_threshold=0.7, neg_threshold=0.3, force_best="one"
    )
    assert found.shape == (0,)
    assert best_overlaps(none, torch.ones(3, 4)).best_iou.tolist() == [0, 0, 0]


def test_empty_boxes_do_not_hide_other_overlaps() -> None:
    boxes = torch.tensor([[4.0, 4, 4, 4]])
    truth = torch.tensor([[4.0, 4, 4, 4], [0, 0, 9, 9]])
    assert best_overlaps(boxes, truth).iou.tolist() == [0]


def test_sample_fills_up_with_negatives() -> None:
    match = torch.tensor([0, 1, NEGATIVE, NEGATIVE, VOID, 2, NEGATIVE])
    positive, negative = sample_matches(match, 5, 0.25, None)
    assert positive.tolist() == [0]
    assert negative.tolist() == [2, 3, 6]


def test_random_choice_repeats_with_its_generator_and_covers_everything() -> None:
    indices = torch.arange(100, 120)
    first = choose(indices, 5, torch.Generator().manual_seed(3))
    assert torch.equal(first, choose(indices, 5, torch.Generator().manual_seed(3)))
    assert set(first.tolist()) <= set(indices.tolist())
    assert len(set(first.tolist())) == 5
    counts = torch.zeros(20)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2000):
        counts[choose(torch.arange(20), 5, generator)] += 1
    assert counts.min() > 420  # 500 expected, standard deviation 19
    assert counts.max() < 580
