"""Colors have names where people would agree; surfaces have words finer than classes."""

from __future__ import annotations

import numpy as np
import pytest

from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.scene.dice import Dice
from eagleray_toyworld.scene.material import Pattern
from eagleray_toyworld.scene.paint import PAINTS, color_name, main_part, object_color, repaint
from eagleray_toyworld.scene.words import SURFACE_WORDS, object_word, part_words, word_map
from eagleray_toyworld.worlds.home import home_scene
from eagleray_toyworld.worlds.room import room_scene
from eagleray_toyworld.worlds.street import street_camera, street_scene


@pytest.mark.parametrize("name", PAINTS)
def test_paints_are_called_by_their_names_in_any_light(name):
    dice = Dice(0, 0)
    assert {color_name(dice.vary(PAINTS[name], 0.12)) for _ in range(50)} == {name}


@pytest.mark.parametrize(
    ("color", "name"),
    [
        ((0.50, 0.03, 0.03), "red"),
        ((0.03, 0.09, 0.33), "blue"),
        ((0.30, 0.30, 0.31), "gray"),
        ((0.20, 0.09, 0.03), "brown"),
        ((0.33, 0.36, 0.22), None),
        ((0.62, 0.56, 0.44), None),
        ((0.0, 0.0, 0.0), "black"),
        ((1.0, 1.0, 1.0), "white"),
    ],
)
def test_names_of_colors(color, name):
    assert color_name(color) == name


def test_repainted_car_keeps_windows_and_wheels():
    cars = [o for o in street_scene(0, 1).objects if o.street_class.name == "car"]
    for car in cars[:5]:
        blue = repaint(car, PAINTS["blue"])
        assert object_color(blue) == "blue"
        changed = [
            (a.name, b.material.color)
            for a, b in zip(car.parts, blue.parts, strict=True)
            if a.material != b.material
        ]
        assert changed and {color for _, color in changed} == {PAINTS["blue"]}
        assert {name for name, _ in changed} <= {"body", "mirror"}
        assert main_part(car).material.pattern is Pattern.PAINT


def test_trees_have_no_color_of_their_own():
    trees = [o for o in street_scene(0, 0).objects if object_word(o) == "tree"]
    assert trees and all(
        object_color(one) is None for one in trees if main_part(one).name == "crown"
    )


def test_curb_and_crosswalk_come_from_parts():
    found = set()
    for index in range(12):
        scene = street_scene(0, index)
        words = part_words(scene)
        for item in scene.objects:
            for part, number in zip(item.parts, item.part_ids(), strict=True):
                if part.name == "kerb":
                    assert words[number] == "curb" and item.street_class.name == "sidewalk"
                if part.name == "zebra":
                    assert words[number] == "crosswalk" and item.street_class.name == "road"
        found |= set(words.values())
    assert found >= {"curb", "crosswalk", "road", "sidewalk", "tree", "bush", "sky", "trash bin"}


def test_every_surface_of_every_world_has_a_word():
    for build in (street_scene, room_scene, home_scene):
        for index in range(5):
            assert set(part_words(build(0, index)).values()) <= set(SURFACE_WORDS)


def test_word_map_of_a_frame():
    scene = street_scene(0, 0)
    frame = render(scene, street_camera(scene, size_hw=(48, 96)))
    words = word_map(scene, frame.part_id)
    assert words.shape == frame.part_id.shape and words.dtype == np.uint8
    assert set(words[frame.part_id == 0]) == {SURFACE_WORDS.index("sky")}
    named = part_words(scene)
    for part_id in np.unique(frame.part_id).tolist():
        assert SURFACE_WORDS[int(words[frame.part_id == part_id][0])] == named[part_id]
