"""Panoptic quality, mean IoU and Cityscapes conversion against the official tools' numbers.

The files lie with EfficientPS, whose reference evaluates with panopticapi and cityscapesScripts.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.parity.cases import cases

from eagleray_vision.metrics.cityscapes_ap import (
    InstanceOverlap,
    compute_cityscapes_ap,
    instance_overlap,
)
from eagleray_vision.metrics.mean_iou import compute_mean_iou, confusion_matrix
from eagleray_vision.metrics.panoptic_quality import compute_panoptic_quality, panoptic_statistics
from eagleray_vision.panoptic.cityscapes import (
    cityscapes_panoptic_annotation,
    cityscapes_to_indexed,
)
from eagleray_vision.panoptic.coco_instances import instance_annotation
from eagleray_vision.panoptic.coco_panoptic import read_segments
from eagleray_vision.panoptic.label_image import read_rgb_ids, rgb_ids_png, rgb_of_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES, VOID_CLASS


def image_maps(data, name):
    if name in data.files:
        return list(data[name])
    count = sum(key.startswith(name) and key[len(name) :].isdigit() for key in data.files)
    return [data[f"{name}{index}"] for index in range(count)]


def check_group(found, expected):
    if expected is None:
        assert (found.pq, found.num_classes) == (None, 0)
        return
    np.testing.assert_allclose(
        [found.pq, found.sq, found.rq], [expected[k] for k in ("pq", "sq", "rq")], atol=1e-9
    )
    assert found.num_classes == expected["n"]


@pytest.mark.parametrize("path", cases("efficientps", "pq_"), ids=lambda p: p.stem)
def test_panoptic_quality_equals_panopticapi(path: Path):
    data = np.load(path)
    categories = json.loads(str(data["categories"]))
    category_ids = [category["id"] for category in categories]
    truths, predictions = image_maps(data, "gt"), image_maps(data, "pred")
    lists = [json.loads(str(data[name])) for name in ("gt_segments", "pred_segments")]
    units = [
        panoptic_statistics(
            read_rgb_ids(rgb_ids_png(truth)),
            read_segments(truth_list),
            read_rgb_ids(rgb_ids_png(predicted)),
            read_segments(predicted_list),
            category_ids,
        )
        for truth, predicted, truth_list, predicted_list in zip(
            truths, predictions, *lists, strict=True
        )
    ]
    quality = compute_panoptic_quality(units, [bool(one["isthing"]) for one in categories])
    total = quality.total
    rows = {int(row[0]): row[1:] for row in data["stat_cat_iou_tp_fp_fn"]}
    found = np.stack(
        [total.sum_iou, total.true_positives, total.false_positives, total.false_negatives], axis=1
    )
    np.testing.assert_allclose(found, [rows[one] for one in category_ids], atol=1e-9)

    summary = json.loads(str(data["summary"]))
    check_group(quality.overall, summary["All"])
    check_group(quality.things, summary["Things"])
    check_group(quality.stuff, summary["Stuff"])
    for index, one in enumerate(category_ids):
        expected = summary["per_class"][str(one)]
        np.testing.assert_allclose(
            [quality.pq[index], quality.sq[index], quality.rq[index]],
            [expected[k] for k in ("pq", "sq", "rq")],
            atol=1e-9,
        )


@pytest.mark.parametrize("path", cases("efficientps", "miou"), ids=lambda p: p.stem)
def test_mean_iou_equals_cityscapes_scripts(path: Path):
    data = np.load(path)
    to_class = np.full(256, VOID_CLASS)
    to_class[list(CITYSCAPES.original_ids)] = np.arange(CITYSCAPES.num_classes)
    confusions = [
        confusion_matrix(to_class[truth], to_class[predicted], CITYSCAPES.num_classes)
        for truth, predicted in zip(data["gt_labelids"], data["pred_labelids"], strict=True)
    ]
    found = compute_mean_iou(confusions)
    assert found.mean == pytest.approx(float(data["mean_iou"]), abs=1e-9)
    expected = json.loads(str(data["class_iou"]))
    for name, iou in zip(CITYSCAPES.class_names, found.per_class, strict=True):
        value = expected[name]
        if value is None or np.isnan(value):
            assert np.isnan(iou)
        else:
            assert iou == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    "path", cases("efficientps", "cityscapes_conversion"), ids=lambda p: p.stem
)
def test_cityscapes_labels_convert_like_the_official_scripts(path: Path):
    data = np.load(path)
    splits = {key.split(".")[1] for key in data.files if key.startswith("instanceIds.")}
    assert splits
    for split in splits:
        panoptic_json = json.loads(str(data[f"panoptic_json_{split}"]))
        coco_json = json.loads(str(data[f"coco_json_{split}"]))
        numbers = {entry["file_name"]: entry["id"] for entry in coco_json["images"]}
        for expected in panoptic_json["annotations"]:
            name = expected["image_id"]
            (key,) = [
                k for k in data.files if k.startswith(f"instanceIds.{split}") and k.endswith(name)
            ]
            ids, annotation = cityscapes_panoptic_annotation(data[key], name)
            assert annotation == expected
            colors = data[f"panoptic_png.{split}.{name}_gtFine_panoptic"]
            assert np.array_equal(rgb_of_ids(ids), colors)

            panoptic, _ = cityscapes_to_indexed(data[key])
            semantic = data[f"stuffthingmap.{split}.{name}"]
            assert np.array_equal(panoptic.class_map(VOID_CLASS), semantic)
            image_id = numbers[f"{name}.png"]
            stored = [one for one in coco_json["annotations"] if one["image_id"] == image_id]
            assert things(panoptic, image_id) == [
                {k: v for k, v in one.items() if k != "id"} for one in stored
            ]


def things(panoptic, image_id):
    found = []
    for index in range(1, len(panoptic.categories)):
        category = int(panoptic.categories[index])
        if category < CITYSCAPES.num_stuff:
            continue
        annotation = instance_annotation(
            panoptic.id_map == index,
            annotation_id=1,
            image_id=image_id,
            category_id=category,
            is_crowd=bool(panoptic.is_crowd[index]),
        )
        if annotation is not None:
            found.append({k: v for k, v in annotation.items() if k != "id"})
    return found


@pytest.mark.parametrize("path", cases("efficientps", "cityscapes_ap"), ids=lambda p: p.stem)
def test_instance_ap_equals_cityscapes_scripts(path: Path):
    data = np.load(path)
    names = [key.split(".", 1)[1] for key in data.files if key.startswith("gt_instanceIds.")]
    overlaps = []
    for name in names:
        shape = tuple(data[f"pred_shape.{name}"])
        masks = np.unpackbits(data[f"pred_masks.{name}"], count=int(np.prod(shape))).reshape(shape)
        labels, scores = data[f"pred_meta.{name}"].T
        overlap = instance_overlap(
            data[f"gt_instanceIds.{name}"],
            list(masks.astype(bool)),
            labels.astype(int).tolist(),
            scores.tolist(),
        )
        overlaps.append(InstanceOverlap.from_row(json.loads(json.dumps(overlap.to_row()))))
    found = compute_cityscapes_ap(overlaps)
    assert found.ap == pytest.approx(float(data["ap"]), abs=1e-9)
    assert found.ap50 == pytest.approx(float(data["ap50"]), abs=1e-9)
    expected = json.loads(str(data["classes"]))
    for index, label in enumerate(CITYSCAPES.original_ids):
        if index < CITYSCAPES.num_stuff:
            continue
        stored = expected[CITYSCAPES.class_names[index]]
        np.testing.assert_allclose(found.per_class[label], stored["ap"], atol=1e-9)
        np.testing.assert_allclose(found.per_class_50[label], stored["ap50%"], atol=1e-9)
