"""Panoptic quality against cityscapesscripts and torchmetrics, and where it must refuse."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation.evalPanopticSemanticLabeling import pq_compute_single_core
from torchmetrics.detection import ModifiedPanopticQuality, PanopticQuality

from eagleray_vision.metrics.errors import NoClassError
from eagleray_vision.metrics.panoptic_quality import (
    PanopticStatistics,
    compute_panoptic_quality,
    panoptic_statistics,
)
from eagleray_vision.panoptic.coco_panoptic import read_coco_panoptic, read_segments
from eagleray_vision.panoptic.errors import (
    EmptySegmentError,
    LabelSizeError,
    SegmentListError,
    UnknownCategoryError,
    UnlistedSegmentError,
)
from eagleray_vision.panoptic.label_image import encode_png, read_rgb_ids, rgb_ids_png, rgb_of_ids
from eagleray_vision.panoptic.panoptic_map import Segments

CATEGORIES = [{"id": 10 + k, "name": f"c{k}", "isthing": int(k >= 3)} for k in range(6)]
CATEGORY_IDS = [category["id"] for category in CATEGORIES]
IS_THING = [bool(category["isthing"]) for category in CATEGORIES]


def random_maps(rng, size_hw=(48, 64), *, void=True, crowds=True):
    """Draw a truth of random rectangles and a prediction that is a shifted, relabeled copy."""
    truth = np.zeros(size_hw, np.int64)
    ids = rng.choice(np.arange(1, 2**24), size=12, replace=False)
    for one in ids:
        y, x = rng.integers(0, size_hw[0] - 8), rng.integers(0, size_hw[1] - 8)
        truth[y : y + rng.integers(6, 24), x : x + rng.integers(6, 30)] = one
    if not void:
        truth[truth == 0] = ids[0]
    predicted = np.roll(truth, 2, axis=1)
    truth_list = [
        {
            "id": int(one),
            "category_id": int(rng.choice(CATEGORY_IDS)),
            "iscrowd": int(crowds and rng.random() < 0.2),
            "area": int((truth == one).sum()),
        }
        for one in np.setdiff1d(truth, [0])
    ]
    of_id = {entry["id"]: entry["category_id"] for entry in truth_list}
    predicted_list = [
        {
            "id": int(one),
            "category_id": of_id[one] if rng.random() < 0.8 else int(rng.choice(CATEGORY_IDS)),
        }
        for one in np.setdiff1d(predicted, [0])
    ]
    return truth, truth_list, predicted, predicted_list


def statistics(truth, truth_list, predicted, predicted_list):
    return panoptic_statistics(
        truth, read_segments(truth_list), predicted, read_segments(predicted_list), CATEGORY_IDS
    )


def test_counts_equal_cityscapesscripts_with_void_and_crowds(tmp_path: Path, capsys):
    rng = np.random.default_rng(3)
    pairs, units = [], []
    for number in range(6):
        truth, truth_list, predicted, predicted_list = random_maps(rng)
        for folder, ids in (("gt", truth), ("pred", predicted)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{number}.png").write_bytes(rgb_ids_png(ids))
        names = {"image_id": str(number), "file_name": f"{number}.png"}
        pairs.append(
            ({**names, "segments_info": truth_list}, {**names, "segments_info": predicted_list})
        )
        units.append(statistics(truth, truth_list, predicted, predicted_list))
    categories = {one["id"]: one for one in CATEGORIES}
    official = pq_compute_single_core(
        0, pairs, str(tmp_path / "gt"), str(tmp_path / "pred"), categories
    )
    total = compute_panoptic_quality(units, IS_THING).total
    for index, category in enumerate(CATEGORY_IDS):
        expected = official[category]
        assert total.true_positives[index] == expected.tp
        assert total.false_positives[index] == expected.fp
        assert total.false_negatives[index] == expected.fn
        assert total.sum_iou[index] == pytest.approx(expected.iou, abs=1e-9)
    assert total.true_positives.sum() > 10
    assert total.false_positives.sum() > 0


def test_quality_equals_torchmetrics_without_crowds():
    rng = np.random.default_rng(7)
    things = {k for k, thing in enumerate(IS_THING) if thing}
    stuffs = set(range(len(IS_THING))) - things
    oracle = PanopticQuality(things, stuffs, return_sq_and_rq=True, return_per_class=True)
    dagger = ModifiedPanopticQuality(things, stuffs)
    units = []
    for _ in range(5):
        truth, truth_list, predicted, predicted_list = random_maps(rng, void=False, crowds=False)
        # torchmetrics merges stuff segments of one class, so give each stuff class one segment
        truth, truth_list = merge_stuff(truth, truth_list)
        predicted, predicted_list = merge_stuff(predicted, predicted_list)
        units.append(statistics(truth, truth_list, predicted, predicted_list))
        pair = (as_pairs(predicted, predicted_list), as_pairs(truth, truth_list))
        oracle.update(*pair)
        dagger.update(*pair)
    quality = compute_panoptic_quality(units, IS_THING)
    # torchmetrics lists things first
    order = [*sorted(things), *sorted(stuffs)]
    found = np.stack([quality.pq, quality.sq, quality.rq], axis=1)[order]
    np.testing.assert_allclose(found, oracle.compute().numpy(), atol=1e-6, rtol=1e-6)
    present = quality.overall.num_classes
    assert present == len(CATEGORIES)
    assert quality.overall.pq_dagger == pytest.approx(dagger.compute().item(), abs=1e-6)


def merge_stuff(ids, entries):
    first, kept = {}, []
    ids = ids.copy()
    for entry in entries:
        category = entry["category_id"]
        if not IS_THING[CATEGORY_IDS.index(category)] and category in first:
            ids[ids == entry["id"]] = first[category]["id"]
            continue
        first.setdefault(category, entry)
        kept.append(dict(entry))
    for entry in kept:
        entry["area"] = int((ids == entry["id"]).sum())
    return ids, kept


def as_pairs(ids, entries):
    pairs = np.zeros((1, *ids.shape, 2), np.int64)
    for entry in entries:
        mask = ids == entry["id"]
        pairs[0][mask] = (CATEGORY_IDS.index(entry["category_id"]), entry["id"])
    return torch.from_numpy(pairs)


def test_result_does_not_depend_on_the_order_of_units():
    rng = np.random.default_rng(11)
    units = [statistics(*random_maps(rng)) for _ in range(20)]
    first = compute_panoptic_quality(units, IS_THING)
    second = compute_panoptic_quality([units[k] for k in rng.permutation(20)], IS_THING)
    assert first.overall == second.overall
    assert np.array_equal(first.pq, second.pq)


def test_statistics_survive_a_row():
    unit = statistics(*random_maps(np.random.default_rng(0)))
    again = PanopticStatistics.from_row(json.loads(json.dumps({"other": 1, **unit.to_row()})))
    assert again.to_row() == unit.to_row()
    assert again.true_positives.dtype == np.int64


def test_absent_classes_count_as_zero_only_where_asked():
    ids = np.ones((4, 4), np.int64)
    entry = [{"id": 1, "category_id": 10, "area": 16}]
    unit = statistics(ids, entry, ids, entry)
    assert compute_panoptic_quality([unit], IS_THING).overall.pq == 1.0
    everything = compute_panoptic_quality([unit], IS_THING, mean_over="all")
    assert everything.overall.pq == pytest.approx(1 / 6)
    assert compute_panoptic_quality([unit], IS_THING).things.pq is None


def test_iou_of_exactly_one_half_is_no_match():
    truth = np.zeros((2, 4), np.int64)
    truth[:, :2] = 1
    truth[:, 2:] = 2
    predicted = truth.copy()
    predicted[0, :2] = 2
    entries = [
        {"id": 1, "category_id": 13, "area": 4},
        {"id": 2, "category_id": 14, "area": 4},
    ]
    unit = statistics(truth, entries, predicted, entries)
    assert unit.true_positives.tolist() == [0, 0, 0, 0, 1, 0]
    assert unit.false_negatives.tolist() == [0, 0, 0, 1, 0, 0]
    assert unit.sum_any_iou[3] == 0.5


def test_all_void_split_says_so():
    nothing = np.zeros((3, 3), np.int64)
    unit = statistics(nothing, [], nothing, [])
    with pytest.raises(NoClassError, match="no class occurs"):
        compute_panoptic_quality([unit], IS_THING)
    with pytest.raises(NoClassError):
        compute_panoptic_quality([], IS_THING)


ONE = [{"id": 5, "category_id": 10, "area": 4}]


@pytest.mark.parametrize(
    ("predicted", "entries", "error", "text"),
    [
        (np.full((2, 2), 6), ONE, UnlistedSegmentError, r"ids \[6\]"),
        (np.zeros((2, 2), int), ONE, EmptySegmentError, r"segments \[5\]"),
        (np.full((2, 2), 5), [{"id": 5, "category_id": 99}], UnknownCategoryError, r"\[99\]"),
        (np.full((2, 3), 5), ONE, LabelSizeError, r"\(2, 3\)"),
        (np.full((2, 2), -1), ONE, SegmentListError, "-1"),
        (np.full((2, 2), 2**24), ONE, SegmentListError, "16777215"),
    ],
    ids=["id not listed", "id without pixels", "category", "size", "negative", "25 bits"],
)
def test_contradicting_prediction_is_refused(predicted, entries, error, text):
    truth = np.full((2, 2), 5)
    with pytest.raises(error, match=text):
        statistics(truth, ONE, predicted, entries)


@pytest.mark.parametrize("ids", [[0], [2**24], [3, 3]], ids=["void", "25 bits", "twice"])
def test_malformed_segment_list_is_refused(ids):
    number = len(ids)
    with pytest.raises(SegmentListError):
        Segments(
            np.array(ids), np.full(number, 10), np.zeros(number, bool), np.ones(number, np.int64)
        )


def test_ids_of_the_truth_that_no_list_names_are_no_void():
    truth = np.array([[7, 7, 8, 8]])
    predicted = np.array([[1, 1, 1, 1]])
    segments = [{"id": 7, "category_id": 10, "area": 2}]
    unit = statistics(truth, segments, predicted, [{"id": 1, "category_id": 10}])
    # id 8 stays in the union: IoU is 2 / 4, no match; and it excuses nothing
    assert unit.false_positives[0] == 1


def test_real_image_equals_the_official_result():
    root = os.environ.get("EAGLERAY_DATA")
    if root is None:
        pytest.skip("EAGLERAY_DATA names no folder with coco_panoptic_sample")
    folder = Path(root) / "coco_panoptic_sample"
    truth = read_coco_panoptic(folder / "gt.json")
    predicted = read_coco_panoptic(folder / "pred.json", truth.categories)
    category_ids = [one["id"] for one in truth.categories]
    unit = panoptic_statistics(
        read_rgb_ids(folder / "gt" / truth.images[0].label_file_name),
        truth.images[0].segments,
        read_rgb_ids(folder / "pred" / predicted.images[0].label_file_name),
        predicted.images[0].segments,
        category_ids,
    )
    quality = compute_panoptic_quality([unit], [bool(one["isthing"]) for one in truth.categories])
    expected = json.loads((folder / "pq_expected.json").read_text())
    for group, name in (
        (quality.overall, "All"),
        (quality.things, "Things"),
        (quality.stuff, "Stuff"),
    ):
        values = [expected[name][k] for k in ("pq", "sq", "rq")]
        np.testing.assert_allclose([group.pq, group.sq, group.rq], values, atol=1e-9)
        assert group.num_classes == expected[name]["n"]
    index = {one["name"]: k for k, one in enumerate(truth.categories)}
    for name, counts in expected["counts"].items():
        k = index[name]
        assert quality.total.true_positives[k] == counts["tp"]
        assert quality.total.false_positives[k] == counts["fp"]
        assert quality.total.false_negatives[k] == counts["fn"]
        assert quality.total.sum_iou[k] == pytest.approx(counts["iou"], abs=1e-9)


def test_every_pixel_is_counted_once_across_blocks():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 40, size=(300, 700))
    predicted = rng.integers(0, 40, size=(300, 700))
    pairs = Counter(zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True))
    entries = [{"id": k, "category_id": 10, "area": int((truth == k).sum())} for k in range(1, 40)]
    unit = statistics(truth, entries, predicted, entries)
    area = Counter(predicted.ravel().tolist())
    expected = sum(
        pairs[g, p] / (area[p] - pairs[0, p] + entries[g - 1]["area"] - pairs[g, p])
        for g in range(1, 40)
        for p in range(1, 40)
    )
    assert unit.sum_any_iou[0] == pytest.approx(expected, rel=1e-12)


def test_png_of_ids_round_trips_every_channel():
    ids = np.array([[0, 255, 256], [65535, 65536, 2**24 - 1]])
    assert np.array_equal(read_rgb_ids(rgb_ids_png(ids)), ids)
    assert rgb_of_ids(ids)[1, 2].tolist() == [255, 255, 255]
    with_alpha = np.dstack([rgb_of_ids(ids), np.full((2, 3), 9, np.uint8)])
    assert np.array_equal(read_rgb_ids(encode_png(with_alpha)), ids)
