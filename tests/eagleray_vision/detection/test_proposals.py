import pytest
import torch

from eagleray_vision.detection.proposals import ProposalRule, select_proposals


def scattered(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return boxes that do not overlap, in ascending score."""
    low = 10 * torch.arange(count).float()[:, None].expand(-1, 2)
    return torch.cat([low, low + 5], 1), torch.arange(count).float()


def test_highest_scores_come_first_and_numbers_are_limited() -> None:
    boxes, scores = scattered(20)
    found, found_scores = select_proposals(boxes, scores, (500, 500), ProposalRule(0.7, 10, 4))
    assert found_scores.tolist() == [19, 18, 17, 16]
    assert torch.equal(found, boxes[[19, 18, 17, 16]])


def test_zero_means_no_limit() -> None:
    boxes, scores = scattered(20)
    assert len(select_proposals(boxes, scores, (500, 500), ProposalRule(0.7, 0, 0))[0]) == 20


def test_boxes_are_clipped_before_small_ones_are_dropped() -> None:
    boxes = torch.tensor([[0.0, 0, 50, 50], [0, 96, 50, 150]])
    rule = ProposalRule(0.7, 0, 0, min_size=10)
    found, _ = select_proposals(boxes, torch.tensor([1.0, 2.0]), (100, 100), rule)
    assert found.tolist() == [[0, 0, 50, 50]]


def test_an_image_may_have_no_proposal() -> None:
    boxes, scores = scattered(4)
    rule = ProposalRule(0.7, 0, 0, min_size=6)
    assert select_proposals(boxes, scores, (500, 500), rule)[0].shape == (0, 4)


def test_levels_are_limited_one_by_one_and_joined_by_score() -> None:
    boxes, _ = scattered(6)
    scores = torch.tensor([0.1, 0.2, 0.3, 0.9, 0.8, 0.7])
    rule = ProposalRule(0.7, 2, 2, per_level=True, max_total=3)
    _, found = select_proposals(boxes, scores, (500, 500), rule, level_sizes=(3, 3))
    assert found.tolist() == pytest.approx([0.9, 0.8, 0.3])
    with pytest.raises(ValueError, match="add up to 5"):
        select_proposals(boxes, scores, (500, 500), rule, level_sizes=(2, 3))


def test_xyxy_boxes_are_clipped_by_width_first() -> None:
    box = torch.tensor([[0.0, 0.0, 99.0, 99.0]])
    found, _ = select_proposals(
        box, torch.ones(1), (20, 40), ProposalRule(0.7, 0, 0, inclusive=True), axes="xyxy"
    )
    assert found.tolist() == [[0, 0, 39, 19]]
