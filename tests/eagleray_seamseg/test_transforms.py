"""Placement of images and labels."""

import numpy as np
import pytest
import torch
from tests.eagleray_seamseg.small_data import instance_ids, photo

from eagleray_seamseg.transforms import (
    ImageNormalization,
    Placement,
    evaluation_placement,
    place_image,
    place_labels,
    training_placement,
)
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic

PLAIN = ImageNormalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
DRAW = {"shortest_px": 100, "longest_max_px": 1000, "flip_probability": 0.5}


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


def test_scales_cover_the_range_and_repeat_with_their_seed():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return training_placement((100, 200), rng, random_scale=(0.5, 2.0), **DRAW)

    heights = [draw(seed).size_hw[0] for seed in range(300)]
    assert 50 <= min(heights) < 60
    assert 190 < max(heights) < 200
    assert draw(7) == draw(7)
    assert 100 < sum(draw(seed).flip for seed in range(300)) < 200


def test_scales_are_chosen_from_a_list():
    rng = np.random.default_rng(0)
    found = {
        training_placement((100, 200), rng, random_scale=(0.5, 1.0, 1.5), **DRAW).size_hw
        for _ in range(50)
    }
    assert found == {(50, 100), (100, 200), (150, 300)}


def test_no_random_scale():
    rng = np.random.default_rng(0)
    assert training_placement((50, 80), rng, random_scale=None, **DRAW).size_hw == (100, 160)


@pytest.mark.parametrize(("longest", "expected"), [(None, (100, 400)), (200, (50, 200))])
def test_longer_side_is_limited(longest, expected):
    found = evaluation_placement((50, 200), shortest_px=100, longest_max_px=longest)
    assert found.size_hw == expected


def test_image_keeps_its_colors_at_its_own_size():
    image = photo()
    found = place_image(image, Placement((64, 96)), PLAIN)
    assert np.array_equal(np.rint(found.numpy().transpose(1, 2, 0) * 255), image)
