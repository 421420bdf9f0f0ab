"""Placement of images and labels."""

import cv2
import numpy as np
import pytest
import torch
from tests.eagleray_vision.small_data import instance_ids, photo

from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic
from eagleray_vision.samples.placement import (
    Crop,
    ImageNormalization,
    Placement,
    evaluation_placement,
    place_image,
    place_labels,
)

PLAIN = ImageNormalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_image_and_labels_are_mirrored_alike():
    ids = instance_ids()
    image = np.repeat((ids % 251).astype(np.uint8)[..., None], 3, axis=2)
    panoptic = cityscapes_to_indexed(ids)[0]
    plain, mirrored = Placement((64, 96)), Placement((64, 96), flip=True)
    assert torch.equal(
        place_image(image, mirrored, PLAIN), place_image(image, plain, PLAIN).flip(2)
    )
    assert np.array_equal(
        place_labels(panoptic, mirrored).class_map(255),
        place_labels(panoptic, plain).class_map(255)[:, ::-1],
    )


def test_normalization_follows_the_channels():
    colors = ImageNormalization((0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 2] = 255
    found = place_image(image, Placement((2, 2)), colors)[:, 0, 0]
    torch.testing.assert_close(found, torch.tensor([-0.2, -0.2, 0.35]))


def test_lost_segments_are_dropped_and_the_rest_renumbered():
    ids = np.zeros((40, 40), int)
    ids[:20], ids[30, 30], ids[20:, :10] = 1, 2, 3
    placed = place_labels(indexed_panoptic(ids, [255, 5, 6, 7], [0, 0, 0, 1]), Placement((4, 4)))
    assert placed.categories.tolist() == [255, 5, 7]
    assert placed.is_crowd.tolist() == [False, False, True]
    assert set(np.unique(placed.id_map)) == {0, 1, 2}


def test_void_stays_in_the_list_without_pixels():
    placed = place_labels(
        indexed_panoptic(np.ones((8, 8), int), [255, 5], [0, 0]), Placement((4, 4))
    )
    assert placed.categories.tolist() == [255, 5]


@pytest.mark.parametrize(("longest", "expected"), [(None, (100, 400)), (200, (50, 200))])
def test_longer_side_is_limited(longest, expected):
    found = evaluation_placement((50, 200), shortest_px=100, longest_max_px=longest)
    assert found.size_hw == expected


def test_image_keeps_its_colors_at_its_own_size():
    image = photo()
    found = place_image(image, Placement((64, 96)), PLAIN)
    assert np.array_equal(np.rint(found.numpy().transpose(1, 2, 0) * 255), image)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("resizing", ["pillow", "opencv"])
def test_crop_is_a_part_of_the_resized_image_before_it_is_mirrored(resizing, flip):
    panoptic, image = cityscapes_to_indexed(instance_ids())[0], photo()
    crop = Crop(top=5, left=40, size_hw=(20, 31))
    whole = Placement((48, 80), resizing=resizing)
    part = Placement((48, 80), flip, crop, resizing)
    assert part.placed_hw == (20, 31)
    assert whole.placed_hw == (48, 80)
    step = -1 if flip else 1
    expected = place_image(image, whole, PLAIN)[:, 5:25, 40:71].numpy()[..., ::step]
    assert np.array_equal(place_image(image, part, PLAIN).numpy(), expected)
    classes = place_labels(panoptic, whole).class_map(255)[5:25, 40:71][:, ::step]
    assert np.array_equal(place_labels(panoptic, part).class_map(255), classes)


def test_crop_drops_the_segments_outside():
    ids = np.zeros((40, 40), int)
    ids[:20], ids[20:, :10], ids[20:, 30:] = 1, 2, 3
    panoptic = indexed_panoptic(ids, [255, 5, 6, 7], [0, 0, 0, 0])
    placed = place_labels(panoptic, Placement((40, 40), crop=Crop(20, 10, (20, 30))))
    assert placed.categories.tolist() == [255, 7]
    assert set(np.unique(placed.id_map)) == {0, 1}


def test_opencv_placement_is_opencvs():
    image, ids = photo(), instance_ids()
    placement = Placement((37, 61), resizing="opencv")
    found = place_image(image, placement, PLAIN).numpy().transpose(1, 2, 0)
    assert np.array_equal(np.rint(found * 255), cv2.resize(image, (61, 37)))
    labels = place_labels(cityscapes_to_indexed(ids)[0], placement)
    resized = cv2.resize(ids.astype(np.uint16), (61, 37), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(
        labels.class_map(255), cityscapes_to_indexed(resized.astype(np.int64))[0].class_map(255)
    )
