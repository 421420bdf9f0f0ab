"""Cityscapes and Vistas instance values, and the class lists."""

import json

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import id2label, labels

from eagleray_vision.panoptic import cityscapes
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed, vistas_to_indexed
from eagleray_vision.panoptic.errors import (
    MissingLabelFileError,
    SegmentListError,
    UnknownCategoryError,
)
from eagleray_vision.panoptic.label_space import (
    CITYSCAPES,
    LabelSpace,
    label_space_from_coco,
    label_space_from_vistas,
)


def test_class_list_equals_cityscapesscripts():
    evaluated = sorted(
        (one for one in labels if one.trainId not in (255, -1)), key=lambda x: x.trainId
    )
    assert CITYSCAPES.class_names == tuple(one.name for one in evaluated)
    assert CITYSCAPES.original_ids == tuple(one.id for one in evaluated)
    assert CITYSCAPES.palette == tuple(one.color for one in evaluated)
    assert CITYSCAPES.is_thing.tolist() == [one.hasInstances for one in evaluated]
    ignored = {one.id for one in labels if one.trainId in (255, -1) and one.id >= 0}
    assert CITYSCAPES.ignored_ids == ignored


def test_values_become_classes_instances_and_groups():
    values = np.array([[7, 26, 26001, 26000], [0, 29001, 24003, 24003]])
    panoptic, kept = cityscapes_to_indexed(values)
    assert kept.tolist() == [0, 7, 26, 24003, 26000, 26001]
    assert panoptic.categories.tolist() == [255, 0, 13, 11, 13, 13]
    assert panoptic.is_crowd.tolist() == [False, False, True, False, False, False]
    assert panoptic.id_map.tolist() == [[1, 2, 5, 4], [0, 0, 3, 3]]
    for value, category in zip(kept[1:], panoptic.categories[1:], strict=True):
        label = int(value) if value < 1000 else int(value) // 1000
        assert id2label[label].trainId == category


@pytest.mark.parametrize("value", [34, 34001, 255], ids=["34", "34001", "255"])
def test_label_outside_the_class_list_is_refused(value):
    with pytest.raises(UnknownCategoryError, match="instanceIds"):
        cityscapes_to_indexed(np.array([[7, value]]))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_values_are_counted_and_sorted_alike(monkeypatch, dtype):
    rng = np.random.default_rng(3)
    choice = np.array([0, 1, 7, 23, 24, 26, 24000, 24001, 26000, 26999, 33001])
    values = rng.choice(choice, size=(37, 53)).astype(dtype)
    counted, kept = cityscapes_to_indexed(values)
    monkeypatch.setattr(cityscapes, "_TABLE_SIZE", 0)
    by_sorting, kept_too = cityscapes_to_indexed(values)
    assert np.array_equal(kept, kept_too)
    assert np.array_equal(counted.id_map, by_sorting.id_map)
    assert counted.id_map.dtype == by_sorting.id_map.dtype == np.int32
    assert np.array_equal(counted.categories, by_sorting.categories)


@pytest.mark.parametrize("value", [-5, 1 << 20], ids=["negative", "beyond 16 bits"])
def test_value_that_no_file_can_hold_is_refused(value):
    with pytest.raises(UnknownCategoryError, match="instanceIds"):
        cityscapes_to_indexed(np.array([[7, value]]))


def test_image_without_any_thing_is_fine():
    panoptic, _ = cityscapes_to_indexed(np.array([[7, 23], [0, 0]]))
    assert panoptic.categories.tolist() == [255, 0, 10]


VISTAS = {
    "labels": [
        {"name": "person", "color": [1, 2, 3], "evaluate": True, "instances": True},
        {"name": "road", "color": [4, 5, 6], "evaluate": True, "instances": False},
        {"name": "car-group", "color": [7, 8, 9], "evaluate": True, "instances": True},
        {"name": "unlabeled", "color": [0, 0, 0], "evaluate": False, "instances": False},
    ]
}


@pytest.fixture
def vistas(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(VISTAS))
    return label_space_from_vistas(path)


def test_vistas_lists_stuff_first(vistas):
    assert vistas.class_names == ("road", "person", "car-group")
    assert (vistas.num_stuff, vistas.num_things, vistas.original_ids) == (1, 2, (1, 0, 2))
    assert vistas.ignored_ids == {3}


def test_vistas_divisor_matters_from_many_instances_on(vistas):
    values = np.array([[0, 5, 254, 255, 256, 512, 768]])
    mended, _ = vistas_to_indexed(values, vistas)
    assert mended.categories.tolist() == [255, 1, 1, 1, 1, 0, 2]
    assert mended.is_crowd.tolist() == [False] * 6 + [True]
    original, _ = vistas_to_indexed(values, vistas, faithful=True)
    # 255 // 255 = 1: instance 255 of class 0 becomes class 1
    assert original.categories.tolist() == [255, 1, 1, 1, 0, 0, 2]


def test_vistas_class_list_must_exist(tmp_path):
    with pytest.raises(MissingLabelFileError, match="config"):
        label_space_from_vistas(tmp_path / "config.json")


def test_coco_class_list_is_checked():
    with pytest.raises(SegmentListError, match="isthing"):
        label_space_from_coco("detection file", [{"id": 1, "name": "car"}])
    with pytest.raises(SegmentListError, match="no categories"):
        label_space_from_coco("empty", [])
    twice = [{"id": 1, "name": "a", "isthing": 1}, {"id": 1, "name": "b", "isthing": 0}]
    with pytest.raises(SegmentListError, match="twice"):
        label_space_from_coco("twice", twice)


def test_class_list_needs_one_of_each():
    with pytest.raises(SegmentListError, match="1 names, 2 ids and 1 colors"):
        LabelSpace("short", ("a",), 0, (1, 2), ((0, 0, 0),))
    with pytest.raises(SegmentListError, match="num_stuff 2"):
        LabelSpace("stuff", ("a",), 2, (1,), ((0, 0, 0),))
