"""The way through key positions, and the film along it."""

import numpy as np
import pytest

from eagleray.task import Camera, SettingsError
from eagleray.view.camera_path import cameras_along, encode_film

HALF = np.sqrt(0.5)


def camera(*position, wxyz=(1.0, 0.0, 0.0, 0.0), fov=0.9):
    return Camera(position, wxyz, fov, 64, 48)


def places(cameras):
    return np.array([one.position for one in cameras])


def test_it_passes_through_every_key():
    keys = [camera(0.0, 0, 0), camera(1.0, 2, 0), camera(4.0, 2, 1), camera(4.0, -3, 1)]
    way = places(cameras_along(keys, 2001))
    for key in keys:
        assert np.linalg.norm(way - key.position, axis=1).min() < 5e-3
    np.testing.assert_allclose(way[[0, -1]], [keys[0].position, keys[-1].position], atol=1e-12)


def test_keys_on_a_line_are_passed_in_a_line_without_turning_back():
    keys = [camera(0.0, 0, 0), camera(1.0, 0, 0), camera(9.0, 0, 0)]
    way = places(cameras_along(keys, 500))
    np.testing.assert_allclose(way[:, 1:], 0.0, atol=1e-12)
    assert (np.diff(way[:, 0]) > 0).all()


def test_the_way_has_no_corner_at_a_key():
    keys = [camera(0.0, 0, 0), camera(1.0, 0, 0), camera(1.0, 1, 0)]
    steps = np.diff(places(cameras_along(keys, 4000)), axis=0)
    directions = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    turns = np.arccos(np.clip((directions[1:] * directions[:-1]).sum(1), -1, 1))
    assert turns.max() < 0.01  # a right angle of 1.57 is spread over the way


def test_it_turns_the_shortest_way_with_unit_quaternions():
    left, right = (HALF, 0.0, HALF, 0.0), (-HALF, 0.0, HALF, 0.0)  # 90 degrees to either side
    cameras = cameras_along([camera(0.0, 0, 0, wxyz=left), camera(1.0, 0, 0, wxyz=right)], 51)
    turned = np.array([one.wxyz for one in cameras])
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1.0, atol=1e-12)
    assert (np.abs((turned[1:] * turned[:-1]).sum(1)) > 0.99).all()
    same = cameras_along([camera(0.0, 0, 0), camera(1.0, 0, 0, wxyz=(-1.0, 0, 0, 0))], 5)
    assert all(abs(one.wxyz[0]) > 0.999999 for one in same)


def test_keys_at_one_place_turn_and_zoom_there():
    keys = [camera(1.0, 1, 1, fov=0.4), camera(1.0, 1, 1, wxyz=(HALF, 0, 0, HALF), fov=0.8)]
    cameras = cameras_along(keys, 9)
    np.testing.assert_allclose(places(cameras), 1.0)
    assert [cameras[0].fov_rad, cameras[4].fov_rad, cameras[-1].fov_rad] == pytest.approx(
        [0.4, 0.6, 0.8]
    )
    np.testing.assert_allclose(cameras[-1].wxyz, keys[1].wxyz, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1])
def test_a_way_of_fewer_than_two_keys_is_refused(count):
    with pytest.raises(SettingsError, match=f"two positions or more, {count} are kept"):
        cameras_along([camera(0.0, 0, 0)] * count, 10)


def test_the_film_holds_every_picture(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    pictures = [np.full((32, 48, 3), 25 * i, np.uint8) for i in range(10)]
    film = encode_film(iter(pictures), 5)
    (tmp_path / "film.mp4").write_bytes(film)
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "film.mp4")) == (10, 2.0)
    assert encode_film(iter(()), 5) == b""
