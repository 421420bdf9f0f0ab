"""Cityscapes AP on cases whose answer is known by hand."""

import contextlib
import copy
import json
import math

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling
from PIL import Image

from eagleray_vision.metrics.cityscapes_ap import (
    InstanceOverlap,
    compute_cityscapes_ap,
    instance_overlap,
)
from eagleray_vision.panoptic.errors import LabelSizeError

CAR, PERSON, CARAVAN = 26, 24, 29
SIZE_HW = (60, 80)


def square(y, x, side):
    mask = np.zeros(SIZE_HW, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def ap_of_cars(ids, masks, scores, label=CAR):
    overlap = instance_overlap(ids, masks, [label] * len(masks), scores)
    return compute_cityscapes_ap([overlap])


def one_car():
    ids = np.full(SIZE_HW, 7)
    ids[square(5, 5, 20)] = CAR * 1000 + 1
    return ids


def test_perfect_detection_gives_one():
    found = ap_of_cars(one_car(), [square(5, 5, 20)], [0.9])
    assert found.per_class[CAR] == pytest.approx(1.0)
    assert math.isnan(found.per_class[PERSON])
    assert (found.ap, found.ap50) == (pytest.approx(1.0), pytest.approx(1.0))


def test_second_detection_of_an_instance_is_wrong():
    found = ap_of_cars(one_car(), [square(5, 5, 20), square(6, 5, 20)], [0.6, 0.9])
    single = ap_of_cars(one_car(), [square(6, 5, 20)], [0.9])
    # the better score is right, so the curve keeps its height where it counts
    assert found.per_class_50[CAR] == pytest.approx(single.per_class_50[CAR])
    worse = ap_of_cars(one_car(), [square(5, 5, 20), square(35, 40, 20)], [0.6, 0.9])
    assert worse.per_class_50[CAR] < 0.8


def test_iou_of_exactly_the_threshold_is_no_match():
    half = square(5, 5, 20)
    half[15:] = False
    assert ap_of_cars(one_car(), [half], [0.9]).per_class_50[CAR] == pytest.approx(0.0)


@pytest.mark.parametrize("value", [CAR, CARAVAN, 0], ids=["group", "ignored label", "unlabeled"])
def test_detection_on_ignored_pixels_is_excused(value):
    ids = one_car()
    ids[square(35, 40, 20)] = value
    found = ap_of_cars(ids, [square(5, 5, 20), square(35, 40, 20)], [0.5, 0.9])
    assert found.per_class[CAR] == pytest.approx(1.0)
    ids[square(35, 40, 20)] = PERSON
    assert ap_of_cars(ids, [square(5, 5, 20), square(35, 40, 20)], [0.5, 0.9]).per_class[CAR] < 1


def official_ap_of_cars(folder, ids, masks, scores):
    """What cityscapesScripts gives for one image."""
    lines = []
    for k, (mask, score) in enumerate(zip(masks, scores, strict=True)):
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{k}.png")
        lines.append(f"{k}.png {CAR} {score}")
    prediction, truth = folder / "a_pred.txt", folder / "a_gtFine_instanceIds.png"
    prediction.write_text("\n".join(lines))
    Image.fromarray(ids.astype(np.uint16)).save(truth)
    arguments = copy.copy(evalInstanceLevelSemanticLabeling.args)
    arguments.JSONOutput, arguments.quiet = False, True
    arguments.gtInstancesFile = str(folder / "cache.json")
    arguments.predictionPath = str(folder)
    evalInstanceLevelSemanticLabeling.setInstanceLabels(arguments)
    with contextlib.chdir(folder):  # it leaves a matches.json where it stands
        result = evalInstanceLevelSemanticLabeling.evaluateImgLists(
            [str(prediction)], [str(truth)], arguments
        )
    return float(result["averages"]["classes"]["car"]["ap"])


def test_detection_on_an_instance_of_an_ignored_label_is_wrong(tmp_path):
    ids = one_car()
    ids[square(35, 40, 20)] = CARAVAN * 1000 + 1
    masks, scores = [square(5, 5, 20), square(35, 40, 20)], [0.5, 0.9]
    ours = ap_of_cars(ids, masks, scores).per_class[CAR]
    assert ours == pytest.approx(official_ap_of_cars(tmp_path, ids, masks, scores))
    assert ours == pytest.approx(0.25)


def test_small_instance_is_not_counted():
    ids = one_car()
    ids[square(40, 60, 9)] = CAR * 1000 + 2
    assert ap_of_cars(ids, [square(5, 5, 20)], [0.9]).per_class[CAR] == pytest.approx(1.0)
    ids[square(40, 60, 10)] = CAR * 1000 + 2
    assert ap_of_cars(ids, [square(5, 5, 20)], [0.9]).per_class[CAR] < 1


def test_empty_masks_and_labels_that_are_no_things_are_left_out():
    overlap = instance_overlap(
        one_car(), [np.zeros(SIZE_HW, bool), square(0, 0, 5)], [CAR, 7], [0.9, 0.9]
    )
    assert len(overlap.labels) == 0
    assert compute_cityscapes_ap([overlap]).per_class[CAR] == 0.0


def test_nothing_to_find_is_undefined():
    found = ap_of_cars(np.full(SIZE_HW, 7), [square(5, 5, 20)], [0.9])
    assert math.isnan(found.ap)
    assert math.isnan(compute_cityscapes_ap([]).ap)


def test_table_survives_a_row_and_sizes_are_checked():
    overlap = instance_overlap(one_car(), [square(5, 5, 20)], [CAR], [0.9])
    again = InstanceOverlap.from_row(json.loads(json.dumps(overlap.to_row())))
    assert again.to_row() == overlap.to_row()
    with pytest.raises(LabelSizeError, match="mask 0"):
        instance_overlap(one_car()[:10], [square(5, 5, 20)], [CAR], [0.9])
