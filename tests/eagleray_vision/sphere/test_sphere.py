"""Panoramas, cube maps and views against a picture that is known in every direction."""

import numpy as np
import pytest

from eagleray_vision.sphere import (
    View,
    cube_to_panorama,
    faces_from_strip,
    panorama_directions,
    panorama_to_cube,
    panorama_to_view,
    roll_panorama,
    strip_from_faces,
    view_directions,
    views_to_panorama,
)
from eagleray_vision.sphere.directions import panorama_pixels
from eagleray_vision.sphere.errors import SphereError


def color(directions: np.ndarray) -> np.ndarray:
    """Return a smooth color of every direction, without a seam: the unit vector itself."""
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


PANORAMA = color(panorama_directions((64, 128)))


def test_the_middle_of_a_panorama_looks_ahead_and_its_first_row_up():
    assert panorama_directions((2, 4))[0, :, 1] == pytest.approx(np.sqrt(0.5))
    x, y, z = panorama_directions((64, 128))[32, 64]
    assert z > 0.99 and abs(x) < 0.05 and abs(y) < 0.05
    right = panorama_pixels(np.array([1.0, 0, 0]), (64, 128))
    assert right == pytest.approx((95.5, 31.5))


@pytest.mark.parametrize("yaw", [0, 90, 180, -135])
@pytest.mark.parametrize("pitch", [-90, 0, 80])
def test_a_view_shows_what_lies_in_its_directions(yaw, pitch):
    view = View(80, 60, yaw, pitch, 20)
    found = panorama_to_view(PANORAMA, view, (20, 30))
    # half a pixel of 2.8 degrees, squared: the error of bilinear interpolation
    np.testing.assert_allclose(found, color(view_directions(view, (20, 30))), atol=2e-3)


def test_yaw_turns_to_the_right_and_pitch_upwards():
    ahead = view_directions(View(90, 90, 30, 0), (3, 3))[1, 1]
    assert ahead == pytest.approx([0.5, 0, np.sqrt(0.75)])
    above = view_directions(View(90, 90, 0, 30), (3, 3))[1, 1]
    assert above == pytest.approx([0, 0.5, np.sqrt(0.75)])


def test_a_cube_map_and_back_is_the_same_picture_without_edges():
    faces = panorama_to_cube(PANORAMA, 32)
    assert faces.shape == (6, 32, 32, 3)
    back = cube_to_panorama(faces, (64, 128))
    np.testing.assert_allclose(back, PANORAMA, atol=4e-3)
    labels = (PANORAMA[..., :1] > 0).astype(np.uint8)
    round_trip = cube_to_panorama(panorama_to_cube(labels, 64, "nearest"), (64, 128), "nearest")
    assert (round_trip == labels).mean() > 0.98
    np.testing.assert_array_equal(faces_from_strip(strip_from_faces(faces)), faces)


def test_the_librarys_geometry_is_half_a_pixel_off_and_ours_is_not():
    faces = panorama_to_cube(PANORAMA, 32)
    error = np.abs(cube_to_panorama(faces, (64, 128)) - PANORAMA).mean()
    quirky = panorama_to_cube(PANORAMA, 32, faithful=True)
    theirs = np.abs(cube_to_panorama(quirky, (64, 128), faithful=True) - PANORAMA).mean()
    assert theirs > 10 * error


@pytest.mark.parametrize("columns", [1, 37, 64])
def test_turning_the_panorama_and_the_view_alike_changes_nothing(columns):
    degrees = 360 * columns / 128
    rolled = roll_panorama(PANORAMA, degrees)
    for yaw in (-180, 0, 175):
        here = panorama_to_view(PANORAMA, View(70, 70, yaw), (16, 16))
        there = panorama_to_view(rolled, View(70, 70, yaw + degrees), (16, 16))
        np.testing.assert_allclose(there, here, atol=1e-12)


def test_the_original_wrap_shows_the_seam_and_the_true_one_does_not():
    behind = View(40, 40, 180)
    truth = color(view_directions(behind, (40, 40)))
    ours = panorama_to_view(PANORAMA, behind, (40, 40))
    assert np.abs(ours - truth).max() < 2e-3
    quirky = color(view_directions(behind, (40, 40), corner_to_corner=True))
    theirs = panorama_to_view(PANORAMA, behind, (40, 40), faithful=True)
    assert np.abs(theirs - quirky).max() > 5 * np.abs(ours - truth).max()


def test_overlapping_views_make_the_panorama_again():
    views = [View(100, 100, yaw) for yaw in range(0, 360, 60)] + [
        View(100, 100, 0, 90),
        View(100, 100, 0, -90),
    ]
    pictures = [panorama_to_view(PANORAMA, view, (96, 96)) for view in views]
    back, weights = views_to_panorama(pictures, views, (64, 128))
    assert weights.min() > 0
    np.testing.assert_allclose(back, PANORAMA, atol=4e-3)
    one, weight = views_to_panorama(pictures[:1], views[:1], (64, 128))
    assert (one[weight == 0] == 0).all() and 0.1 < (weight > 0).mean() < 0.4


def test_annular_panoramas_and_single_columns_are_taken():
    annular = np.arange(2 * 9, dtype=np.uint8).reshape(2, 9)
    assert panorama_to_view(annular, View(60, 60), (4, 4), "nearest").shape == (4, 4)
    assert panorama_to_view(np.ones((1, 1, 3)), View(60, 60), (4, 4)).min() == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: View(180, 90),
        lambda: View(90, 0),
        lambda: panorama_to_view(np.zeros((0, 4)), View(90, 90), (4, 4)),
        lambda: faces_from_strip(np.zeros((4, 20, 3))),
        lambda: strip_from_faces(np.zeros((5, 4, 4, 3))),
        lambda: cube_to_panorama(np.zeros((6, 4, 4, 3)), (6, 12), faithful=True),
        lambda: views_to_panorama([], [], (4, 8)),
        lambda: views_to_panorama([np.zeros((2, 2, 1))], [], (4, 8)),
    ],
)
def test_what_is_no_picture_of_the_sphere_is_refused(call):
    with pytest.raises(SphereError):
        call()
