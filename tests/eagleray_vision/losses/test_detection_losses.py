import math

import pytest
import torch

from eagleray_vision.detection.assignment import NEGATIVE, VOID
from eagleray_vision.losses.detection import (
    roi_box_loss,
    roi_class_loss,
    roi_mask_loss,
    rpn_losses,
)
from eagleray_vision.losses.smooth_l1 import smooth_l1


def test_smooth_l1_joins_its_pieces_smoothly() -> None:
    x = torch.tensor([0.0, 1 / 18, 1 / 9, 1.0, -1.0], dtype=torch.float64)
    expected = [0, 4.5 / 18**2, 0.5 / 9, 1 - 0.5 / 9, 1 - 0.5 / 9]
    assert smooth_l1(x, torch.zeros_like(x), 3.0).tolist() == pytest.approx(expected)


def test_rpn_losses_count_positives_and_negatives_only() -> None:
    logits, codes = torch.randn(2, 6), torch.randn(2, 6, 4)
    match = torch.tensor([[0, NEGATIVE, VOID, 1, NEGATIVE, VOID], [VOID] * 5 + [0]])
    targets = torch.randn(3, 4)
    (obj, n), (box, m) = rpn_losses(logits, codes, match, targets, 3.0)
    assert n == m == 5
    probability = logits.sigmoid()
    expected = -(
        probability[0, [0, 3]].log().sum()
        + (1 - probability[0, [1, 4]]).log().sum()
        + probability[1, 5].log()
    )
    torch.testing.assert_close(obj, expected)
    chosen = torch.stack([codes[0, 0], codes[0, 3], codes[1, 5]])
    expected = torch.nn.functional.smooth_l1_loss(chosen, targets, beta=1 / 9, reduction="sum")
    torch.testing.assert_close(box, expected)


def test_losses_of_nothing_are_zero_and_keep_the_graph() -> None:
    cls = torch.zeros(0, 4, requires_grad=True)
    codes, masks = torch.zeros(0, 3, 4, requires_grad=True), torch.zeros(0, 3, 8, 8)
    masks.requires_grad_()
    labels = torch.zeros(0).long()
    pairs = [
        roi_class_loss(cls, labels),
        roi_box_loss(codes, labels, torch.zeros(0, 4), 1.0),
        roi_mask_loss(masks, labels, torch.zeros(0, 8, 8).to(torch.int8)),
    ]
    for total, weight in pairs:
        assert total.item() == 0
        assert weight == 0
        total.backward()
    logits, rpn_codes = torch.zeros(1, 3, requires_grad=True), torch.zeros(1, 3, 4)
    rpn_codes.requires_grad_()
    (obj, n), (box, _) = rpn_losses(
        logits, rpn_codes, torch.full((1, 3), VOID), torch.zeros(0, 4), 3.0
    )
    (obj + box).backward()
    assert n == 0
    assert torch.equal(rpn_codes.grad, torch.zeros(1, 3, 4))


def test_only_the_true_class_of_positives_is_regressed_over_all_rois() -> None:
    codes = torch.randn(3, 2, 4, requires_grad=True)
    labels = torch.tensor([2, 0, 1])
    targets = torch.randn(2, 4)
    total, weight = roi_box_loss(codes, labels, targets, 1.0)
    expected = torch.nn.functional.smooth_l1_loss(
        torch.stack([codes[0, 1], codes[2, 0]]), targets, reduction="sum"
    )
    torch.testing.assert_close(total, expected)
    assert weight == 3
    total.backward()
    assert torch.equal(codes.grad[1], torch.zeros(2, 4))
    assert torch.equal(codes.grad[0, 0], torch.zeros(4))


def test_ignored_mask_pixels_do_not_count() -> None:
    logits = torch.zeros(2, 3, 2, 2, requires_grad=True)
    masks = torch.tensor([[[1, 0], [-1, -1]]], dtype=torch.int8)
    total, weight = roi_mask_loss(logits, torch.tensor([3, 0]), masks)
    assert total.item() == pytest.approx(2 * math.log(2))
    assert weight == 2
    total.backward()
    assert torch.equal(logits.grad[0, 2, 1], torch.zeros(2))
    assert torch.equal(logits.grad[1], torch.zeros(3, 2, 2))
