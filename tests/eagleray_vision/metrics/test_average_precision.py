"""COCO AP: known answers, torchmetrics, the original's two pitfalls."""

import json
import math

import numpy as np
import pytest
import torch
from torchmetrics.detection import MeanAveragePrecision

from eagleray_vision.metrics.average_precision import (
    InstanceComparison,
    compute_average_precision,
    evaluate_coco,
    instances_from_masks,
)
from eagleray_vision.panoptic.errors import SegmentListError


def square(y, x, side, size_hw=(40, 50)):
    mask = np.zeros(size_hw, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def random_comparison(rng, number):
    masks = [square(*rng.integers(0, 28, 2), 12) for _ in range(number)]
    categories = rng.integers(3, 6, number).tolist()
    moved = [np.roll(mask, rng.integers(-2, 3, 2), axis=(0, 1)) for mask in masks]
    truth = instances_from_masks(masks, categories)
    detected = instances_from_masks(moved, categories, scores=rng.random(number).tolist())
    return InstanceComparison((40, 50), truth, detected), masks, moved


def test_ap_equals_torchmetrics():
    rng = np.random.default_rng(0)
    # its own thresholds are rounded to float32, which moves points of the curve
    grid = {
        "iou_thresholds": np.linspace(0.5, 0.95, 10).tolist(),
        "rec_thresholds": np.linspace(0, 1, 101).tolist(),
    }
    oracles = {kind: MeanAveragePrecision(iou_type=kind, **grid) for kind in ("bbox", "segm")}
    comparisons = []
    for _ in range(6):
        one, masks, moved = random_comparison(rng, 5)
        comparisons.append(one)
        parts = []
        for instances, shapes in ((one.detected, moved), (one.truth, masks)):
            xywh = torch.from_numpy(instances.boxes_xywh)
            parts.append(
                {
                    "boxes": torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1).float(),
                    "masks": torch.from_numpy(np.stack(shapes)),
                    "labels": torch.from_numpy(instances.category_ids),
                    "scores": torch.from_numpy(instances.scores).float(),
                }
            )
        for oracle in oracles.values():
            oracle.update([parts[0]], [parts[1]])
    found = compute_average_precision(comparisons, [3, 4, 5])
    for kind, values in (("bbox", found.box), ("segm", found.mask)):
        expected = oracles[kind].compute()
        assert values["ap"] == pytest.approx(expected["map"].item(), abs=1e-5)
        assert values["ap50"] == pytest.approx(expected["map_50"].item(), abs=1e-5)
    assert np.mean(list(found.mask_per_class.values())) == pytest.approx(found.mask["ap"])


def test_perfect_detections_give_one():
    instances = instances_from_masks([square(2, 2, 9)], [3], scores=[0.9])
    found = compute_average_precision([InstanceComparison((40, 50), instances, instances)], [3])
    assert found.box["ap"] == pytest.approx(1.0)
    assert found.mask["ap"] == pytest.approx(1.0)


def test_original_loses_the_match_with_annotation_zero():
    instances = instances_from_masks([square(2, 2, 9)], [3], scores=[0.9])
    comparison = InstanceComparison((40, 50), instances, instances)
    assert compute_average_precision([comparison], [3], faithful=True).mask["ap"] == 0.0


def test_original_forgets_images_without_detections():
    truth = instances_from_masks([square(2, 2, 9)], [3])
    nothing = instances_from_masks([], [])
    found = instances_from_masks([square(2, 2, 9)], [3], scores=[0.9])
    missed = InstanceComparison((40, 50), truth, nothing)
    seen = InstanceComparison((40, 50), truth, found)
    fair = compute_average_precision([missed, seen], [3])
    lenient = compute_average_precision([missed, seen], [3], faithful=True)
    assert fair.mask["ap"] == pytest.approx(0.5, abs=0.01)
    assert lenient.mask["ap"] == pytest.approx(1.0)


def test_nothing_detected_is_zero_and_nothing_to_detect_is_undefined():
    truth = instances_from_masks([square(2, 2, 9)], [3])
    nothing = instances_from_masks([], [])
    found = compute_average_precision([InstanceComparison((40, 50), truth, nothing)], [3, 4])
    assert found.mask["ap"] == 0.0
    assert found.mask_per_class[3] == 0.0
    assert math.isnan(found.mask_per_class[4])
    empty = compute_average_precision([InstanceComparison((40, 50), nothing, nothing)], [3])
    assert math.isnan(empty.box["ap"])


def test_crowd_excuses_detections():
    crowd = instances_from_masks([square(0, 0, 30)], [3], is_crowd=[True])
    single = instances_from_masks([square(31, 35, 8)], [3])
    truth = instances_from_masks(
        [square(0, 0, 30), square(31, 35, 8)], [3, 3], is_crowd=[True, False]
    )
    found = instances_from_masks([square(5, 5, 8), square(31, 35, 8)], [3, 3], scores=[0.9, 0.5])
    with_crowd = compute_average_precision([InstanceComparison((40, 50), truth, found)], [3])
    without = compute_average_precision([InstanceComparison((40, 50), single, found)], [3])
    assert with_crowd.mask["ap"] == pytest.approx(1.0)
    assert without.mask["ap"] == pytest.approx(0.5, abs=0.01)
    assert crowd.is_crowd.tolist() == [True]


def test_comparison_survives_a_row():
    one, _, _ = random_comparison(np.random.default_rng(1), 3)
    again = InstanceComparison.from_row(json.loads(json.dumps(one.to_row())))
    assert again.to_row() == one.to_row()


def test_detections_of_strangers_are_refused():
    truth = {"images": [{"id": 1}], "categories": [{"id": 3}], "annotations": []}
    box = {"bbox": [0, 0, 1, 1], "score": 1.0}
    with pytest.raises(SegmentListError, match="images"):
        evaluate_coco(truth, [{"image_id": 2, "category_id": 3, **box}])
    with pytest.raises(SegmentListError, match="categories"):
        evaluate_coco(truth, [{"image_id": 1, "category_id": 4, **box}])
