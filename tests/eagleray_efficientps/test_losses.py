"""Targets and losses: awkward contents, gradients, padding, crowds."""

import pytest
import torch
from tests.eagleray_efficientps.small_network import small_network
from tests.eagleray_vision.small_batch import NUM_STUFF, SIZES, generators, images, target
from torch.nn import functional as F

from eagleray_efficientps.losses import (
    LOSS_NAMES,
    panoptic_losses,
    semantic_loss,
    worst_pixels,
)
from eagleray_efficientps.model.config import RoiSettings, RpnSettings
from eagleray_efficientps.targets import EfficientPsTargets, inclusive_boxes, mask_targets
from eagleray_vision.detection.assignment import VOID
from eagleray_vision.samples.region_targets import anchor_targets, roi_targets
from eagleray_vision.samples.target import thing_truth


def losses(content, *, faithful=False, network=None):
    targets = [target(size, content) for size in SIZES]
    return panoptic_losses(
        network or small_network().train(),
        images(),
        SIZES,
        targets,
        generators=generators(),
        faithful=faithful,
    )


@pytest.mark.parametrize("content", ["thing", "stuff", "crowd"])
def test_every_content_gives_all_losses_and_gradients_for_every_parameter(content):
    network = small_network().train()
    terms = losses(content, network=network)
    assert tuple(terms) == LOSS_NAMES
    total = sum(term.sum / max(float(term.weight), 1) for term in terms.values())
    assert torch.isfinite(total)
    total.backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert missing == []
    if content != "thing":
        assert float(terms["roi_mask"].weight) == 0


def test_the_worst_quarter_of_the_whole_batch():
    values = torch.tensor([[9.0, 1.0], [8.0, 7.0], [0.0, 0.0], [0.0, 0.0]])
    total, count = worst_pixels(values, 0.25)
    assert (float(total), int(count)) == (17.0, 2)
    total, count = worst_pixels(values, None)
    assert (float(total), int(count)) == (25.0, 8)


def test_padding_is_left_out_unless_it_is_road():
    logits = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    label = torch.full((20, 30), 2)
    full = F.interpolate(logits, (32, 32), mode="bilinear")
    road = torch.full((32, 32), 0)
    road[:20, :30] = label
    expected = F.cross_entropy(full, road[None], reduction="none")
    total, count = semantic_loss(logits, [label], (32, 32), None, pad_with_road=True)
    torch.testing.assert_close(total, expected.sum())
    assert int(count) == 32 * 32
    total, count = semantic_loss(logits, [label], (32, 32), None, pad_with_road=False)
    torch.testing.assert_close(total, expected[0, :20, :30].sum())
    assert int(count) == 20 * 30


def test_anchors_in_groups_take_no_part_unless_faithful():
    truth = thing_truth(target((64, 96), "crowd"), NUM_STUFF, torch.float32)
    anchors = torch.tensor([[22.0, 12, 45, 35], [60, 10, 80, 30]])
    rule = EfficientPsTargets(RpnSettings(num_samples=None), RoiSettings())
    found = anchor_targets(rule, anchors, [truth], [(64, 96)], [None])
    assert found.match.tolist() == [[VOID, -1]]


def test_roi_targets_put_the_truth_in_front_and_cut_its_mask():
    truth = thing_truth(target((64, 96)), NUM_STUFF, torch.float32)
    assert inclusive_boxes(truth).tolist() == [[20.0, 10.0, 49.0, 39.0]]
    rule = EfficientPsTargets(RpnSettings(), RoiSettings())
    proposals = torch.tensor([[60.0, 40, 90, 60]])
    rois = roi_targets(rule, proposals, truth, target((64, 96)).ids, None)
    assert rois.labels.tolist() == [2, 0]
    assert rois.codes.abs().max() == 0 and rois.masks.shape == (1, 28, 28)
    assert rois.masks.all()


def test_a_mask_target_is_the_part_of_the_instance_in_the_truncated_box():
    ids = torch.zeros(40, 40, dtype=torch.int64)
    ids[10:20, 10:20] = 5
    found = mask_targets(torch.tensor([[10.9, 10.2, 29.8, 19.7]]), torch.tensor([5]), ids, 28)
    assert found[0, :, :13].all() and not found[0, :, 15:].any()
