"""Outlines and pictures."""

import numpy as np
from scipy import ndimage
from tests.eagleray_vision.small_data import instance_ids, photo

from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.label_space import CITYSCAPES
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic
from eagleray_vision.panoptic.picture import instance_outlines, panoptic_picture, sample_pictures


def slow_contour(ids):
    """The rule pixel by pixel, before it is widened."""
    found = np.zeros(ids.shape, bool)
    for r, c in np.ndindex(ids.shape):
        cross = [
            ids[y, x]
            for y, x in ((r, c), (r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1))
            if 0 <= y < ids.shape[0] and 0 <= x < ids.shape[1]
        ]
        if len(set(cross)) == 1:
            continue
        square = ids[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2]
        others = set(square.ravel().tolist()) - {0, int(ids[r, c])}
        found[r, c] = ids[r, c] == 0 or bool(others)
    return found


def test_outlines_follow_the_rule():
    rng = np.random.default_rng(0)
    for _ in range(5):
        ids = np.zeros((14, 18), int)
        for one in range(1, 5):
            y, x = rng.integers(0, 10), rng.integers(0, 12)
            ids[y : y + 5, x : x + 6] = one
        cross = ndimage.generate_binary_structure(2, 1)
        expected = ndimage.binary_dilation(slow_contour(ids), cross)
        assert np.array_equal(instance_outlines(ids), expected)


def test_uniform_maps_have_no_outline():
    assert not instance_outlines(np.zeros((5, 6), int)).any()
    assert not instance_outlines(np.full((5, 6), 3)).any()


def test_original_outlines_are_wider_inside():
    ids = np.zeros((12, 12), int)
    ids[3:9, 3:9] = 1
    ours, original = instance_outlines(ids), instance_outlines(ids, faithful=True)
    assert (original & ours).sum() == ours.sum()
    assert original.sum() > ours.sum()


def test_crowd_and_void_are_black_under_the_blend():
    image = np.full((10, 10, 3), 200, np.uint8)
    ids = np.zeros((10, 10), int)
    ids[:5], ids[5:, :5] = 1, 2
    panoptic = indexed_panoptic(ids, [255, 0, 13], [0, 0, 1])
    found = panoptic_picture(image, panoptic, CITYSCAPES.colors, CITYSCAPES.num_stuff)
    assert found[7, 2].tolist() == found[7, 8].tolist() == [100, 100, 100]
    road = np.array(CITYSCAPES.palette[0])
    assert np.abs(found[2, 2] - (200 + road) / 2).max() <= 1


def test_pictures_share_one_size_and_name_their_parts():
    panoptic = cityscapes_to_indexed(instance_ids())[0]
    found = sample_pictures(photo(), panoptic, panoptic, CITYSCAPES)
    assert list(found) == ["input", "truth", "prediction"]
    assert {picture.shape for picture in found.values()} == {(64, 96, 3)}
    assert (found["truth"] == 255).all(axis=2).any()
    assert list(sample_pictures(photo(), None, panoptic, CITYSCAPES)) == ["input", "prediction"]
    assert sample_pictures(None, None, panoptic, CITYSCAPES) == {}


def test_large_photographs_are_reduced():
    panoptic = cityscapes_to_indexed(instance_ids())[0]
    found = sample_pictures(photo((100, 3000)), panoptic, panoptic, CITYSCAPES)
    assert found["prediction"].shape == (34, 1024, 3)
