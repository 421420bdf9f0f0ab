"""Homes are closed, the same everywhere, and show the classes of the indoor data sets."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.scene.classes import INDOOR_CLASSES, STREET_CLASSES, indoor_class
from eagleray_toyworld.worlds.home import home_camera, home_panorama_camera, home_scene
from eagleray_toyworld.worlds.room import RoomPath, room_scene
from eagleray_toyworld.worlds.street import street_camera, street_scene

MATTERPORT_NAMES = {
    *("wall", "floor", "chair", "door", "table", "picture", "window", "sofa", "bed", "sink"),
    *("stairs", "ceiling", "toilet", "mirror", "shower", "bathtub", "counter", "shelving"),
}
"""All 20 names of Matterport3D's panoramas but "furniture" and "objects"."""
STANFORD_NAMES = {"beam", "board", "ceiling", "chair", "column", "door", "floor", "sofa", "table"}


def test_homes_have_the_names_of_the_indoor_data_sets():
    names = {entry.name for entry in INDOOR_CLASSES}
    assert names >= MATTERPORT_NAMES | STANFORD_NAMES
    built = {item.street_class.name for k in range(40) for item in home_scene(0, k).objects}
    assert built == names


def test_indoor_ids_are_no_ids_of_streets():
    ids = [entry.train_id for entry in INDOOR_CLASSES]
    assert len(set(ids)) == len(ids) and max(ids) < 255
    assert not set(ids) & {entry.train_id for entry in STREET_CLASSES}
    with pytest.raises(ValueError, match=r"unknown indoor class 'sopha'.*sofa"):
        indoor_class("sopha")


@pytest.mark.parametrize("index", range(6))
def test_rooms_are_closed_and_hold_their_furniture(index):
    scene = home_scene(3, index)
    frame = render(scene, home_panorama_camera(scene, size_hw=(32, 64)))
    assert np.isfinite(frame.range_m).all()
    assert (frame.object_id > 0).all()
    half = [np.inf, np.inf]
    for item in scene.objects:
        if item.street_class.name == "wall":
            x, y, _ = item.parts[0].pose.position_m
            half = [min(half[0], abs(x) or np.inf), min(half[1], abs(y) or np.inf)]
    for item in scene.objects:
        if item.street_class.is_thing:
            x, y, _ = item.pose.position_m
            assert abs(x) < half[0] and abs(y) < half[1]


def test_furniture_of_a_wall_does_not_stand_in_its_neighbor():
    for index in range(20):
        scene = home_scene(1, index)
        places = [
            (round(item.pose.yaw_rad, 6), item.pose.position_m)
            for item in scene.objects
            if item.street_class.name in ("sofa", "bed", "bathtub", "shelving", "toilet")
        ]
        for k, (yaw, one) in enumerate(places):
            for other_yaw, other in places[k + 1 :]:
                if yaw == other_yaw:
                    assert np.hypot(one[0] - other[0], one[1] - other[1]) > 0.7


def test_views_of_a_room_differ_and_repeat():
    scene = home_scene(0, 0)
    views = [render(scene, home_camera(scene, size_hw=(24, 32), view_idx=k)).rgb for k in (0, 1, 0)]
    assert not np.array_equal(views[0], views[1])
    assert np.array_equal(views[0], views[2])


def test_same_numbers_same_bytes():
    scene = home_scene(5, 2)
    frame = render(scene, home_camera(scene, size_hw=(48, 64)))
    digest = hashlib.sha256(frame.rgb.tobytes() + frame.part_id.tobytes()).hexdigest()
    assert digest == "ba2e9e88a9247279657efcafcfeb62c66fcd9c28e9f8a987ae006c2c91ba6371"


def test_streets_and_rooms_keep_the_bytes_that_records_rest_on():
    digest = hashlib.sha256()
    for index in (0, 1, 7):
        street, room = street_scene(0, index), room_scene(0, index)
        views = (
            render(street, street_camera(street, size_hw=(48, 96))),
            render(room, RoomPath(num_views=4, size_hw=(48, 64)).camera(1)),
        )
        for frame in views:
            for name in ("rgb", "train_id", "part_id"):
                digest.update(getattr(frame, name).tobytes())
    assert digest.hexdigest() == "4fa2ca946faa9ab01c8ae60a382aff2edee10659369b5e9d448d7a6e5029f9aa"
