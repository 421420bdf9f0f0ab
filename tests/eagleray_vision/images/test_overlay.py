"""Coloring, blending and arranging pictures."""

import numpy as np
import pytest

from eagleray_vision.images.errors import ImageSizeMismatchError
from eagleray_vision.images.overlay import blend, color_labels, paint_through, side_by_side
from eagleray_vision.images.palette import distinct_palette

PALETTE = np.array([[10, 20, 30], [200, 100, 0]], np.uint8)


def test_labels_take_their_colors_and_void_is_black():
    found = color_labels(np.array([[0, 1], [255, -1]]), PALETTE)
    assert found.tolist() == [[[10, 20, 30], [200, 100, 0]], [[0, 0, 0], [0, 0, 0]]]


def test_blend_is_the_weighted_mean():
    image = np.full((2, 3, 3), 100, np.uint8)
    colors = np.full((2, 3, 3), 200, np.uint8)
    assert np.unique(blend(image, colors)).tolist() == [150]
    assert np.unique(blend(image, colors, 0.0)).tolist() == [100]
    with pytest.raises(ImageSizeMismatchError, match=r"\(2, 3, 3\)"):
        blend(image, colors[:1])


def test_paint_follows_the_mask():
    image = np.zeros((1, 3, 3), np.uint8)
    painted = paint_through(image, np.array([[0, 255, 128]], np.uint8))
    assert painted[0, :, 0].tolist() == [0, 255, 128]


def test_side_by_side_keeps_every_picture():
    left, right = np.full((30, 40, 3), 9, np.uint8), np.full((30, 50, 3), 99, np.uint8)
    found = side_by_side([left, right], ["input", "truth"])
    assert found.shape == (30, 94, 3)
    assert (found[20:, :40] == 9).all()
    assert (found[20:, 44:] == 99).all()
    with pytest.raises(ImageSizeMismatchError, match=r"\[29, 30\]"):
        side_by_side([left, right[:29]])


def test_palette_is_stable_and_distinct():
    colors = distinct_palette(133)
    assert np.array_equal(colors[:19], distinct_palette(19))
    assert len(np.unique(colors, axis=0)) == 133
    assert distinct_palette(0).shape == (0, 3)
