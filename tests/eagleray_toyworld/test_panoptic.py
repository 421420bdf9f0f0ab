"""Panoptic truth of street frames."""

import numpy as np

from eagleray_toyworld.formats.panoptic import (
    instance_values,
    label_ids,
    street_panoptic,
    street_panoptic_sample,
)
from eagleray_vision.panoptic.label_space import CITYSCAPES


def test_values_follow_the_cityscapes_rule(street_frame):
    values, labels = instance_values(street_frame), label_ids(street_frame)
    thing = street_frame.instance_id > 0
    assert thing.any()
    np.testing.assert_array_equal(values[~thing], labels[~thing])
    np.testing.assert_array_equal(values[thing] // 1000, labels[thing])
    for label in np.unique(labels[thing]):
        numbers = np.unique(values[thing & (labels == label)] % 1000)
        np.testing.assert_array_equal(numbers, np.arange(len(numbers)))


def test_each_instance_has_one_value_and_each_value_one_instance(street_frame):
    thing = street_frame.instance_id > 0
    pairs = {
        (int(a), int(b))
        for a, b in zip(
            street_frame.instance_id[thing], instance_values(street_frame)[thing], strict=True
        )
    }
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_small_things_become_unlabeled(street_frame):
    limit = 60
    whole, cut = instance_values(street_frame), instance_values(street_frame, min_thing_px=limit)
    for value in np.unique(whole[whole >= 1000]):
        mask = whole == value
        if mask.sum() < limit:
            assert (cut[mask] == 0).all()
        else:
            assert (cut[mask] // 1000 == value // 1000).all()
    assert (cut == 0).any()
    np.testing.assert_array_equal(cut[whole < 1000], whole[whole < 1000])


def test_indexed_form_keeps_classes_and_makes_the_rest_void(street_frame):
    panoptic = street_panoptic(street_frame)
    classes = panoptic.categories[panoptic.id_map]
    np.testing.assert_array_equal(classes, street_frame.train_id)
    assert not panoptic.is_crowd.any()


def test_sample_is_whole_and_reproducible():
    image, id_map, segments = street_panoptic_sample(11, 4, (60, 100), min_thing_px=8)
    again = street_panoptic_sample(11, 4, (60, 100), min_thing_px=8)
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(id_map, again[1])
    assert segments == again[2]
    assert image.shape == (60, 100, 3)
    assert image.dtype == np.uint8
    assert id_map.dtype == np.int32
    assert [s.segment_id for s in segments] == list(range(1, id_map.max() + 1))
    for segment in segments:
        assert segment.area_px == (id_map == segment.segment_id).sum() > 0
        assert segment.is_thing == (segment.train_id >= CITYSCAPES.num_stuff)
        assert segment.area_px >= 8 or not segment.is_thing
    stuff = [s.train_id for s in segments if not s.is_thing]
    assert len(stuff) == len(set(stuff))
