"""The viewer's parts without a browser."""

import threading
import time

import numpy as np
import pytest
from tests.eagleray.view.orbit_task import OrbitTask, no_model
from tests.sixth_task import SquareSettings, SquareTask

from eagleray.task import InputError, SettingsError
from eagleray.view.functions import Camera, ViewFunctions
from eagleray.view.painter import COARSE_TO_FINE, Painter, Wish, reduced

CAMERA = Camera((0.0, -3.0, 0.0), (1.0, 0.0, 0.0, 0.0), 0.9, 64, 48)


def test_choices_come_from_the_types():
    functions = ViewFunctions(OrbitTask(), no_model())
    assert functions.modes == ("color", "grey") and functions.downloads == ("image", "points")
    assert functions.look(CAMERA, "color", 0.5, ()).shape == (48, 64, 3)
    assert functions.pick(CAMERA, 30, 20, positive=False) == (30, 20, False)
    assert functions.save(CAMERA, "color", 0.5, [1], "points") == ("points.txt", b"64 1")


def test_task_without_the_functions_is_named():
    with pytest.raises(SettingsError, match=r"squares.*start, look, pick, save"):
        ViewFunctions(SquareTask(SquareSettings()), no_model())


def test_impossible_arguments_are_named():
    functions = ViewFunctions(OrbitTask(), no_model())
    with pytest.raises(SettingsError, match="mode"):
        functions.look(CAMERA, "infrared", 0.5, ())


def test_cameras_are_reduced_to_one_pixel_at_least():
    assert (reduced(CAMERA, 8).width_px, reduced(CAMERA, 8).height_px) == (8, 6)
    assert reduced(CAMERA, 1000).width_px == 1


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_images_get_finer_until_they_are_full():
    images, texts = [], []
    painter = Painter(
        ViewFunctions(OrbitTask(), no_model()), images.append, texts.append, threading.Lock()
    )
    painter.want(Wish(CAMERA, "color", 0.5, ()))
    wait_for(lambda: len(images) == len(COARSE_TO_FINE))
    assert [i.shape[1] for i in images] == [64 // d for d in COARSE_TO_FINE]
    painter.close()
    assert texts == []


def test_a_newer_wish_interrupts_an_older_one():
    started, go_on = threading.Event(), threading.Event()
    images = []

    def show(image):
        images.append(image)
        started.set()
        go_on.wait(30)

    painter = Painter(ViewFunctions(OrbitTask(), no_model()), show, print, threading.Lock())
    painter.want(Wish(CAMERA, "color", 0.5, ()))
    assert started.wait(30)
    painter.want(Wish(CAMERA, "grey", 0.5, ()))
    go_on.set()
    wait_for(lambda: len(images) == 1 + len(COARSE_TO_FINE))
    painter.close()
    assert [int(np.ptp(i.max((0, 1)))) == 0 for i in images] == [False, *[True] * 4]


def test_errors_are_told_and_the_painter_goes_on():
    task, images, texts = OrbitTask(), [], []

    def broken(camera, mode, threshold, selection):
        if mode == "grey":
            raise InputError("no grey today")
        return np.zeros((2, 2, 3), np.uint8)

    functions = ViewFunctions(task, no_model())
    functions.look = broken
    painter = Painter(functions, images.append, texts.append, threading.Lock())
    painter.want(Wish(CAMERA, "grey", 0.5, ()))
    wait_for(lambda: texts == ["no grey today"])
    painter.want(Wish(CAMERA, "color", 0.5, ()))
    wait_for(lambda: len(images) == len(COARSE_TO_FINE))
    painter.close()
