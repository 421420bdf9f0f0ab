"""The original Seamless rule: every crowd is void, areas are recounted."""

import numpy as np
import pytest

from eagleray_seamseg.original_quality import seamless_statistics
from eagleray_vision.metrics.panoptic_quality import panoptic_statistics
from eagleray_vision.panoptic.errors import EmptySegmentError, LabelSizeError, UnknownCategoryError
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic


def straightforward(truth, predicted, num_classes):
    """The rule written down pixel set by pixel set."""
    stats = np.zeros((4, num_classes))
    gt = [k for k in range(1, len(truth.categories)) if not truth.is_crowd[k]]
    pr = [k for k in range(1, len(predicted.categories)) if not predicted.is_crowd[k]]
    void = ~np.isin(truth.id_map, gt)
    if void.all():
        return stats
    matched_gt, matched_pr = set(), set()
    for g in gt:
        for p in pr:
            a, b = truth.id_map == g, predicted.id_map == p
            inter = (a & b).sum()
            union = b.sum() - (b & void).sum() + a.sum() - inter
            same = truth.categories[g] == predicted.categories[p]
            if same and inter / union > 0.5:
                stats[0, truth.categories[g]] += inter / union
                stats[1, truth.categories[g]] += 1
                matched_gt.add(g)
                matched_pr.add(p)
    for p in set(pr) - matched_pr:
        b = predicted.id_map == p
        if b.any() and (b & void).sum() / b.sum() <= 0.5:
            stats[2, predicted.categories[p]] += 1
    for g in set(gt) - matched_gt:
        stats[3, truth.categories[g]] += 1
    return stats


def random_map(rng, base=None):
    id_map = np.zeros((20, 30), int) if base is None else np.roll(base.id_map, 1, axis=1)
    if base is None:
        for one in range(1, 9):
            y, x = rng.integers(0, 14), rng.integers(0, 20)
            id_map[y : y + rng.integers(4, 12), x : x + rng.integers(4, 16)] = one
        id_map[:2, :8] = np.arange(1, 9)
    categories = rng.integers(0, 5, 9) if base is None else base.categories
    return indexed_panoptic(id_map, categories, rng.random(9) < 0.2)


def test_statistics_equal_the_rule_written_down():
    rng = np.random.default_rng(5)
    seen = np.zeros(4)
    for _ in range(30):
        truth = random_map(rng)
        predicted = random_map(rng, truth)
        unit = seamless_statistics(truth, predicted, 5)
        expected = straightforward(truth, predicted, 5)
        found = [unit.sum_iou, unit.true_positives, unit.false_positives, unit.false_negatives]
        np.testing.assert_allclose(found, expected, atol=1e-12)
        seen += expected.sum(axis=1)
    assert (seen > 0).all()


def test_both_rules_agree_without_crowds():
    rng = np.random.default_rng(6)
    truth, predicted = random_map(rng), None
    truth = indexed_panoptic(truth.id_map, truth.categories, np.zeros(9))
    predicted = indexed_panoptic(np.roll(truth.id_map, 1, axis=0), truth.categories, np.zeros(9))
    ours = seamless_statistics(truth, predicted, 5)
    official = panoptic_statistics(
        truth.id_map, truth.segments(), predicted.id_map, predicted.segments(), range(5)
    )
    assert ours.to_row() == official.to_row()


def test_truth_of_void_alone_is_skipped():
    truth = indexed_panoptic(np.ones((3, 3), int), [255, 1], [0, 1])
    predicted = indexed_panoptic(np.ones((3, 3), int), [255, 1], [0, 0])
    unit = seamless_statistics(truth, predicted, 2)
    assert not any(np.any(values) for values in unit.to_row().values())


def test_predicted_segment_without_pixels_is_no_false_positive():
    truth = indexed_panoptic(np.ones((3, 3), int), [255, 0], [0, 0])
    predicted = indexed_panoptic(np.ones((3, 3), int), [255, 0, 1], [0, 0, 0])
    assert seamless_statistics(truth, predicted, 2).false_positives.sum() == 0


def test_bad_input_is_refused():
    one = indexed_panoptic(np.ones((3, 3), int), [255, 0], [0, 0])
    with pytest.raises(LabelSizeError):
        seamless_statistics(one, indexed_panoptic(np.ones((2, 3), int), [255, 0], [0, 0]), 2)
    with pytest.raises(UnknownCategoryError):
        seamless_statistics(one, indexed_panoptic(np.ones((3, 3), int), [255, 7], [0, 0]), 2)
    with pytest.raises(EmptySegmentError):
        seamless_statistics(indexed_panoptic(np.ones((3, 3), int), [255, 0, 1], [0, 0, 0]), one, 2)
