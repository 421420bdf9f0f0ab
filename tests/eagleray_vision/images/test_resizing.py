"""Sizes and filters of resizing."""

import cv2
import numpy as np
import pytest
from PIL import Image

from eagleray_vision.images.opencv_resizing import resize_bilinear, resize_nearest_floor
from eagleray_vision.images.resizing import (
    resize_nearest,
    resize_rgb,
    scale_to_shortest,
    scaled_size,
)


@pytest.mark.parametrize(
    ("size", "shortest", "longest", "expected"),
    [
        ((100, 200), 50, None, (50, 100)),
        ((200, 100), 50, 80, (80, 40)),
        ((1000, 3), 6, 2000, (2000, 6)),
        ((3, 3), 1, 1, (1, 1)),
    ],
    ids=["shorter side", "longer side limits", "thin", "one pixel"],
)
def test_scaled_size(size, shortest, longest, expected):
    assert scaled_size(size, scale_to_shortest(size, shortest, longest)) == expected


def test_no_side_vanishes():
    assert scaled_size((1, 4000), 0.01) == (1, 40)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, bool])
def test_labels_take_the_pixel_under_the_center(dtype):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2 if dtype is bool else 200, (12, 20)).astype(dtype)
    # odd output sizes: no center falls on a border between two pixels
    found = resize_nearest(labels, (7, 31))
    rows = ((np.arange(7) + 0.5) * 12 / 7).astype(int)
    columns = ((np.arange(31) + 0.5) * 20 / 31).astype(int)
    assert np.array_equal(found, labels[rows[:, None], columns])
    assert found.dtype == dtype


def test_large_ids_survive():
    ids = np.array([[2**24 - 1, 70000]])
    assert resize_nearest(ids, (2, 4)).tolist() == [[2**24 - 1] * 2 + [70000] * 2] * 2


def test_images_are_resized_by_pillow():
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((5, 4), Image.Resampling.BILINEAR))
    assert np.array_equal(resize_rgb(image, (4, 5)), expected)
    assert resize_rgb(image, (9, 11)) is image


@pytest.mark.parametrize("size_hw", [(7, 31), (24, 40), (12, 20), (5, 3)])
def test_opencvs_rules(size_hw):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)
    wanted = (size_hw[1], size_hw[0])
    assert np.array_equal(resize_bilinear(image, size_hw), cv2.resize(image, wanted))
    labels = rng.integers(0, 60_000, (12, 20)).astype(np.uint16)
    expected = cv2.resize(labels, wanted, interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(resize_nearest_floor(labels, size_hw), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_labels_of_any_dtype_take_the_pixel_at_the_floor(dtype):
    labels = np.arange(240).reshape(12, 20).astype(dtype)
    found = resize_nearest_floor(labels, (5, 7))
    assert found.dtype == dtype
    assert np.array_equal(found, labels[(np.arange(5) * 12 // 5)[:, None], np.arange(7) * 20 // 7])
