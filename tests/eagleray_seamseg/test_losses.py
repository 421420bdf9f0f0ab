import pytest
import torch
from tests.eagleray_vision.small_batch import NUM_STUFF, target

from eagleray_seamseg.model.config import RoiSettings, RpnSettings
from eagleray_seamseg.targets import SeamlessTargets
from eagleray_vision.detection.assignment import NEGATIVE, VOID
from eagleray_vision.samples.region_targets import roi_targets, sample_anchors
from eagleray_vision.samples.target import PanopticTarget, thing_truth

RULE = SeamlessTargets(RpnSettings(), RoiSettings())


def test_instances_are_things_that_are_no_crowd() -> None:
    truth = thing_truth(target((50, 80)), NUM_STUFF, torch.float32)
    assert truth.boxes_yxyx.tolist() == [[10, 20, 40, 50]]
    assert truth.things.tolist() == [1]
    assert truth.ids.tolist() == [2]
    assert truth.crowd is None


def test_crowd_is_a_mask_and_no_instance() -> None:
    truth = thing_truth(target((50, 80), "crowd"), NUM_STUFF, torch.float32)
    assert len(truth.ids) == 0
    assert truth.crowd.sum() == 900


def test_segments_without_pixels_are_no_instances() -> None:
    sample = target((50, 80))
    sample.ids[sample.ids == 2] = 0
    assert len(thing_truth(sample, NUM_STUFF, torch.float32).ids) == 0


def test_anchors_over_the_border_or_in_a_crowd_are_void() -> None:
    truth = thing_truth(target((50, 80), "crowd"), NUM_STUFF, torch.float32)
    anchors = torch.tensor(
        [[0.0, 0, 9, 9], [-1, 0, 9, 9], [45, 0, 51, 9], [12, 22, 30, 40], [0, 0, 50, 80]]
    )
    match = RULE.assign_anchors(anchors, truth, (50, 80))
    assert match.tolist() == [NEGATIVE, VOID, VOID, VOID, NEGATIVE]
    ignoring = SeamlessTargets(RpnSettings(void_threshold=0.0), RoiSettings()).assign_anchors(
        anchors, truth, (50, 80)
    )
    assert ignoring[3] == NEGATIVE


def test_best_anchor_is_positive_however_small_its_overlap() -> None:
    truth = thing_truth(target((50, 80)), NUM_STUFF, torch.float32)
    anchors = torch.tensor([[30.0, 40.0, 50.0, 60.0], [0.0, 0.0, 9.0, 9.0]])
    assert RULE.assign_anchors(anchors, truth, (50, 80)).tolist() == [0, NEGATIVE]


def test_sampled_anchors_keep_their_assignment_and_the_rest_is_void() -> None:
    match = torch.tensor([0] * 5 + [NEGATIVE] * 20 + [VOID] * 5)
    settings = RpnSettings(num_samples=8, pos_ratio=0.25)
    sampled = sample_anchors(match, settings, torch.Generator().manual_seed(0))
    assert (sampled == 0).sum() == 2
    assert (sampled == NEGATIVE).sum() == 6
    assert torch.equal(sampled[sampled != VOID], match[sampled != VOID])
    everything = RpnSettings(num_samples=None)
    assert torch.equal(sample_anchors(match, everything, None), match)


def test_images_without_things_choose_no_roi() -> None:
    sample = target((50, 80), "stuff")
    truth = thing_truth(sample, NUM_STUFF, torch.float32)
    rois = roi_targets(RULE, torch.rand(9, 4), truth, sample.ids, None)
    assert rois.boxes.shape == (0, 4)
    assert rois.masks.shape == (0, 28, 28)


@pytest.mark.parametrize("void_is_background", [False, True])
def test_mask_targets_tell_instance_other_and_void(void_is_background: bool) -> None:
    sample = target((50, 80))
    settings = RoiSettings(void_is_background=void_is_background, roi_size=(2, 2), pos_ratio=1.0)
    rule = SeamlessTargets(RpnSettings(), settings)
    truth = thing_truth(sample, NUM_STUFF, torch.float32)
    proposals = torch.tensor([[10.0, 15.0, 40.0, 55.0]])
    rois = roi_targets(rule, proposals, truth, sample.ids, None)
    assert rois.labels.tolist() == [2, 2]
    assert (rois.masks[0] == 1).all()
    # Columns at x = 20, 30, 40, 50; rows at y = 13.75 and 21.25 over stuff, then over void.
    void = 0 if void_is_background else -1
    assert rois.masks[1].tolist() == [[1, 1, 1, 0]] * 2 + [[1, 1, 1, void]] * 2


def test_proposals_without_area_are_dropped_beside_a_crowd_only() -> None:
    ids = target((50, 80)).ids
    flat = torch.tensor([[3.0, 3.0, 3.0, 9.0]])
    for is_crowd, expected in ((False, 2), (True, 1)):
        sample = PanopticTarget(
            torch.where((ids == 1) & (torch.arange(80) > 70), 3, ids),
            torch.tensor([255, 1, NUM_STUFF, NUM_STUFF]),
            torch.tensor([False, False, False, is_crowd]),
        )
        sample.ids[sample.ids == 3] = 3 if is_crowd else 1
        truth = thing_truth(sample, NUM_STUFF, torch.float32)
        rois = roi_targets(RULE, flat, truth, sample.ids, None)
        assert len(rois.labels) == expected
