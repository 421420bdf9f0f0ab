import torch

from eagleray_vision.detection.detections import (
    DetectionRule,
    Detections,
    merge_detections,
    select_detections,
)

APART = torch.tensor([[0.0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]])


def per_class(boxes: torch.Tensor, classes: int) -> torch.Tensor:
    return boxes[:, None].expand(-1, classes, -1)


def test_classes_come_in_order_each_by_descending_score() -> None:
    scores = torch.tensor([[0.1, 0.6], [0.5, 0.2], [0.9, 0.3]])
    found = select_detections(per_class(APART, 2), scores, DetectionRule(0.05, 0.5, 10))
    assert found.classes.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(found.scores, torch.tensor([0.9, 0.5, 0.1, 0.6, 0.3, 0.2]))
    assert torch.equal(found.boxes[:3], APART[[2, 1, 0]])


def test_proposal_order_is_kept_on_demand() -> None:
    scores = torch.tensor([[0.1, 0.6], [0.5, 0.2], [0.9, 0.3]])
    rule = DetectionRule(0.05, 0.5, 10, class_order=False)
    found = select_detections(per_class(APART, 2), scores, rule)
    assert torch.equal(found.scores, scores.flatten())
    assert found.classes.tolist() == [0, 1, 0, 1, 0, 1]


def test_too_many_are_cut_by_score_over_all_classes() -> None:
    scores = torch.tensor([[0.1, 0.6], [0.5, 0.2], [0.9, 0.3]])
    found = select_detections(per_class(APART, 2), scores, DetectionRule(0.05, 0.5, 3))
    assert torch.equal(found.scores, torch.tensor([0.9, 0.6, 0.5]))
    assert found.classes.tolist() == [0, 1, 0]


def test_suppression_stays_within_a_class() -> None:
    same = APART[[0, 0]]
    scores = torch.tensor([[0.9, 0.8], [0.7, 0.6]])
    found = select_detections(per_class(same, 2), scores, DetectionRule(0.05, 0.5, 10))
    assert found.classes.tolist() == [0, 1]
    assert torch.equal(found.scores, torch.tensor([0.9, 0.8]))


def test_low_scores_and_flat_boxes_are_dropped() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [3, 3, 3, 9], [20, 20, 29, 29]])
    scores = torch.tensor([[0.05], [0.9], [0.06]])
    found = select_detections(per_class(boxes, 1), scores, DetectionRule(0.05, 0.5, 10))
    assert found.boxes.tolist() == [[20, 20, 29, 29]]


def test_nothing_in_nothing_out() -> None:
    found = select_detections(torch.zeros(0, 3, 4), torch.zeros(0, 3), DetectionRule(0.05, 0.5, 9))
    assert found.boxes.shape == (0, 4)
    assert found.classes.dtype == torch.int64
    assert found.scores.shape == (0,)


def test_merging_keeps_the_surest_of_overlapping_detections_of_a_class() -> None:
    shifted = APART + torch.tensor([0.0, 1, 0, 1])
    first = Detections(APART, torch.tensor([0, 1, 0]), torch.tensor([0.5, 0.6, 0.7]))
    second = Detections(shifted, torch.tensor([0, 0, 0]), torch.tensor([0.8, 0.3, 0.4]))
    merged = merge_detections([first, second], 3, DetectionRule(0.05, 0.5, 10))
    assert merged.classes.tolist() == [0, 0, 0, 1]
    assert torch.equal(merged.scores, torch.tensor([0.8, 0.7, 0.3, 0.6]))
    assert torch.equal(merged.boxes, torch.stack([shifted[0], APART[2], shifted[1], APART[1]]))


def test_merging_cuts_by_score_and_takes_empty_parts() -> None:
    none = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    some = Detections(APART, torch.tensor([0, 1, 0]), torch.tensor([0.5, 0.6, 0.7]))
    merged = merge_detections([none, some], 2, DetectionRule(0.05, 0.5, 2))
    assert torch.equal(merged.scores, torch.tensor([0.7, 0.6]))
    assert len(merge_detections([none, none], 2, DetectionRule(0.05, 0.5, 2)).scores) == 0
