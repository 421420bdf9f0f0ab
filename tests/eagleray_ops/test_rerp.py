"""RERP: what chance decides, where pixels go, and what is refused."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from eagleray.task import InputError
from eagleray_ops.rerp import (
    OddCropError,
    RerpDraw,
    draw_rerp,
    permuted_quadrants,
    rerp,
    rerp_projection,
)
from eagleray_vision.sphere.library_cube import cube_positions, extended_faces

STRAIGHT = RerpDraw(0, 0, None)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("block", [1, 8, 40])
def test_faithful_colors_are_those_of_scipy_on_the_extended_cube_to_the_bit(block):
    """Flat areas too, where the order of four additions decides between 99 and 100."""
    side = 160
    image = noise(side // block, side // block).repeat(block, 0).repeat(block, 1)
    faces = np.zeros((6, side, side, 3))
    faces[0] = image
    padded, half = extended_faces(faces), side // 2
    window = (slice(half, half + side), slice(3 * half, 3 * half + side))
    place = cube_positions((2 * side, 4 * side), side, *window)
    wanted = np.stack(
        [
            ndimage.map_coordinates(
                padded[..., c], [place.face, place.rows, place.columns], order=1, mode="wrap"
            )
            for c in range(3)
        ],
        axis=-1,
    )
    projection = rerp_projection(side, STRAIGHT, faithful=True)
    np.testing.assert_array_equal(projection.colors(image), wanted)
    np.testing.assert_array_equal(projection.image(image), wanted.astype(np.uint8))


def test_the_mended_projection_is_symmetric_and_the_original_is_not():
    labels = np.zeros((64, 64), np.uint8)
    mended = rerp_projection(64, STRAIGHT, faithful=False).labels(labels)
    for turned in (mended[::-1], mended[:, ::-1]):
        np.testing.assert_array_equal(turned, mended)
    faithful = rerp_projection(64, STRAIGHT, faithful=True).labels(labels)
    assert (faithful[::-1] != faithful).any()
    gray = np.full((64, 64, 3), 200, np.uint8)
    image = rerp_projection(64, STRAIGHT, faithful=False).image(gray)
    # colors are where labels are, and nothing fades at the border
    assert set(np.unique(image)) == {0, 200}
    np.testing.assert_array_equal(image[..., 0] == 200, mended == 0)
    faded = rerp_projection(64, STRAIGHT, faithful=True).image(gray)
    assert len(np.unique(faded)) > 2


def test_a_crop_seen_from_the_side_is_the_same_crop_elsewhere():
    labels = np.zeros((64, 64), np.uint8)
    right = rerp_projection(64, RerpDraw(0, 0, None, yaw_deg=20), faithful=False).labels(labels)
    columns = np.flatnonzero((right == 0).any(axis=0))
    assert columns.min() > 10 and columns.max() == 63
    up = rerp_projection(64, RerpDraw(0, 0, None, pitch_deg=20), faithful=False).labels(labels)
    # the upper border of the crop has left the window, the lower one has come up
    assert (up[0] == 0).any() and (up[-12:] == 255).all()


def test_the_same_seed_makes_the_same_image_and_another_seed_another_one():
    image, labels = noise(80, 100), noise(80, 100, 1)[..., 0]
    options = {"shuffle": True, "faithful": False, "yaw_deg": 10.0, "pitch_deg": 5.0}
    first, again, other = (
        rerp(image, labels, 64, np.random.default_rng(seed), **options) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()
    assert first[0].shape == (64, 64, 3) and first[1].shape == (64, 64)


def test_image_and_labels_go_the_same_way():
    """An image whose red level is its label: the projected one still says its label."""
    labels = (np.arange(96)[:, None] // 32 * 60 + np.arange(128)[None] // 32 * 10).astype(np.uint8)
    image = np.repeat(labels[..., None], 3, axis=2)
    for faithful in (True, False):
        rng = np.random.default_rng(5)
        colors, found = rerp(image, labels, 96, rng, shuffle=True, faithful=faithful)
        inside = (found != 255) & (
            ndimage.maximum_filter(found, 5) == ndimage.minimum_filter(found, 5)
        )
        assert inside.mean() > 0.5
        differs = colors[..., 0][inside] != found[inside]
        # faithful: colors fade at the borders of the crop, labels do not
        assert differs.mean() < (0.02 if faithful else 1e-9)


def test_all_24_orders_and_all_crops_are_drawn_alike():
    rng = np.random.default_rng(0)
    drawn = [draw_rerp((64, 70), 64, rng, shuffle=True) for _ in range(4800)]
    orders = Counter(one.order for one in drawn)
    assert len(orders) == 24 and min(orders.values()) > 140 and max(orders.values()) < 265
    lefts = Counter(one.left for one in drawn)
    assert set(lefts) == set(range(7)) and min(lefts.values()) > 560
    assert {one.top for one in drawn} == {0}
    assert draw_rerp((64, 64), 64, rng, shuffle=False).order is None


def test_quadrants_are_permuted():
    picture = np.arange(16).reshape(4, 4)
    moved = permuted_quadrants(picture, (3, 2, 1, 0))
    np.testing.assert_array_equal(moved[:2, :2], picture[2:, 2:])
    np.testing.assert_array_equal(moved[2:, :2], picture[:2, 2:])


def test_odd_crops_and_labels_of_another_size_are_refused():
    with pytest.raises(OddCropError, match="even side"):
        rerp(
            noise(9, 9),
            noise(9, 9)[..., 0],
            7,
            np.random.default_rng(0),
            shuffle=True,
            faithful=True,
        )
    with pytest.raises(OddCropError):
        permuted_quadrants(np.zeros((4, 6)), (0, 1, 2, 3))
    with pytest.raises(OddCropError, match="64 x 64"):
        rerp_projection(64, STRAIGHT, faithful=True).image(noise(32, 32))
    with pytest.raises(InputError, match="one size"):
        rerp(
            noise(9, 9),
            noise(8, 9)[..., 0],
            8,
            np.random.default_rng(0),
            shuffle=True,
            faithful=True,
        )
