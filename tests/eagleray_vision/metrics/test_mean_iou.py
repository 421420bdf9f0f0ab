"""Mean IoU against scikit-learn's confusion matrix and torchmetrics."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix as sklearn_confusion
from torchmetrics.classification import MulticlassJaccardIndex

from eagleray_vision.metrics.errors import LabelRangeError, NoClassError
from eagleray_vision.metrics.mean_iou import compute_mean_iou, confusion_matrix
from eagleray_vision.panoptic.errors import LabelSizeError


def test_counts_equal_scikit_learn():
    rng = np.random.default_rng(0)
    truth, predicted = rng.choice([0, 1, 2, 3, 255], size=(2, 30, 40))
    found = confusion_matrix(truth, predicted, 4)
    expected = sklearn_confusion(truth.ravel(), predicted.ravel(), labels=[0, 1, 2, 3, 255])
    assert np.array_equal(found, expected[:4])


def test_mean_equals_torchmetrics_where_every_class_occurs():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 5, size=(2, 30, 40))
    oracle = MulticlassJaccardIndex(5)(torch.from_numpy(predicted), torch.from_numpy(truth))
    found = compute_mean_iou([confusion_matrix(truth, predicted, 5)])
    assert found.mean == pytest.approx(oracle.item(), abs=1e-6)
    assert found.pixel_accuracy == pytest.approx((truth == predicted).mean())


def test_unanswered_pixel_is_an_error_and_unlabeled_pixel_counts_nowhere():
    truth, predicted = np.array([0, 0, 255, 1]), np.array([0, 255, 1, 1])
    found = compute_mean_iou([confusion_matrix(truth, predicted, 2)])
    assert found.per_class.tolist() == [0.5, 1.0]


def test_absent_class_is_left_out_or_poisons_the_mean():
    matrix = confusion_matrix(np.array([0, 1]), np.array([0, 1]), 3)
    assert compute_mean_iou([matrix]).mean == 1.0
    assert compute_mean_iou([matrix]).num_classes == 2
    assert np.isnan(compute_mean_iou([matrix], faithful=True).mean)


def test_sum_does_not_depend_on_how_units_are_cut():
    rng = np.random.default_rng(2)
    truth, predicted = rng.integers(0, 3, size=(2, 12, 10))
    whole = compute_mean_iou([confusion_matrix(truth, predicted, 3)])
    rows = [confusion_matrix(t, p, 3) for t, p in zip(truth, predicted, strict=True)]
    assert compute_mean_iou(reversed(rows)).mean == whole.mean


@pytest.mark.parametrize("bad", [-1, 7, 300], ids=["negative", "beyond the list", "beyond 8 bits"])
def test_label_outside_the_class_list_is_refused(bad):
    good = np.array([0, 1])
    with pytest.raises(LabelRangeError, match=str(bad)):
        confusion_matrix(np.array([0, bad]), good, 3)
    with pytest.raises(LabelRangeError, match="prediction"):
        confusion_matrix(good, np.array([0, bad]), 3)


def test_sizes_must_agree_and_something_must_be_labeled():
    with pytest.raises(LabelSizeError):
        confusion_matrix(np.zeros((2, 2), int), np.zeros((2, 3), int), 2)
    with pytest.raises(NoClassError):
        compute_mean_iou([confusion_matrix(np.array([255]), np.array([0]), 2)])
    with pytest.raises(NoClassError):
        compute_mean_iou([])
