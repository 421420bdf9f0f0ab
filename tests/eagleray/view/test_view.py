"""The viewer's parts without a browser."""

import threading
import time
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest
from tests.eagleray.view.block_scene import BlockScene
from tests.eagleray.view.orbit_scene import START, OrbitScene

from eagleray.runs.run_folder import RunFolder
from eagleray.storage import Store
from eagleray.task import Camera, Capture, EaglerayError, InputError, SettingsError, ViewRequest
from eagleray.view.painter import COARSE_TO_FINE, FIRST_IMAGE_S, Painter, SolidSender, reduced
from eagleray.view.panel import DROP, FILM, KEEP
from eagleray.view.server import RecordedRows
from eagleray.view.session import ClientSession
from eagleray.view.turns import Turns

CAMERA = Camera((0.0, -3.0, 0.0), (1.0, 0.0, 0.0, 0.0), 0.9, 64, 48)
COLOR, GREY = ViewRequest(CAMERA, "color", 0.5), ViewRequest(CAMERA, "grey", 0.5)


def test_cameras_are_reduced_to_one_pixel_at_least():
    assert (reduced(CAMERA, 8).width_px, reduced(CAMERA, 8).height_px) == (8, 6)
    assert reduced(CAMERA, 1000).width_px == 1


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Screen:
    """Takes what a painter shows; ``look`` takes ``seconds`` for a full image and asks between."""

    def __init__(self, seconds=0.0):
        self.images, self.texts, self.coarse, self.seconds = [], [], [], seconds
        self.scene = OrbitScene()
        self.scene.look = self.look
        self.turns = Turns()
        self.painter = Painter(self.scene, self.show, self.texts.append, self.turns)

    def look(self, request, check):
        camera = request.camera
        share = camera.width_px * camera.height_px / (CAMERA.width_px * CAMERA.height_px)
        for _ in range(20):
            time.sleep(self.seconds * share / 20)
            check()
        level = 255 if request.mode == "grey" else 0
        return np.full((camera.height_px, camera.width_px, 3), level, np.uint8)

    def show(self, image, is_coarse):
        self.images.append(image)
        self.coarse.append(is_coarse)

    @property
    def widths(self):
        return [image.shape[1] for image in self.images]


@pytest.fixture
def screen():
    screen = Screen()
    yield screen
    screen.painter.close()


@pytest.fixture
def slow_screen():
    screen = Screen(seconds=30 * FIRST_IMAGE_S)
    yield screen
    screen.painter.close()


def test_images_get_finer_until_they_are_full(screen):
    screen.painter.want(COLOR)
    wait_for(lambda: len(screen.images) == len(COARSE_TO_FINE))
    assert screen.widths == [64 // d for d in COARSE_TO_FINE]
    assert screen.coarse == [True, True, True, False] and screen.texts == []


def test_a_quick_task_is_shown_in_full_at_once(screen):
    screen.painter.want(COLOR)
    wait_for(lambda: len(screen.images) == len(COARSE_TO_FINE))
    moved = Camera((0.0, -2.0, 0.0), (1.0, 0.0, 0.0, 0.0), 0.9, 64, 48)
    screen.painter.want(ViewRequest(moved, "color", 0.5))
    wait_for(lambda: len(screen.images) == len(COARSE_TO_FINE) + 1)
    assert screen.widths[-1] == 64


def test_a_slow_task_begins_coarse_again(slow_screen):
    slow_screen.painter.want(COLOR)
    wait_for(lambda: len(slow_screen.images) == 1)
    slow_screen.painter.want(GREY)
    wait_for(lambda: len(slow_screen.images) == 2)
    assert slow_screen.widths == [8, 8]


def test_a_newer_request_interrupts_an_image_in_the_middle(slow_screen):
    slow_screen.painter.want(COLOR)
    wait_for(lambda: len(slow_screen.images) == 2)
    begin = time.monotonic()
    slow_screen.painter.want(GREY)
    wait_for(lambda: len(slow_screen.images) == 3)
    assert time.monotonic() - begin < slow_screen.seconds / 4
    assert int(slow_screen.images[2].max()) == 255


def test_requests_that_come_faster_than_images_are_shown_all_the_same(slow_screen):
    end = time.monotonic() + 30
    while len(slow_screen.images) < 4:
        assert time.monotonic() < end
        slow_screen.painter.want(COLOR)
        time.sleep(0.01)
    assert slow_screen.widths[:4] == [8] * 4


def test_errors_are_told_and_the_painter_goes_on(screen):
    def broken(request, check):
        if request.mode == "grey":
            raise InputError("no grey today")
        return np.zeros((2, 2, 3), np.uint8)

    screen.scene.look = broken
    screen.painter.want(GREY)
    wait_for(lambda: screen.texts == ["no grey today"])
    screen.painter.want(COLOR)
    wait_for(lambda: len(screen.images) == len(COARSE_TO_FINE))


def test_urgent_work_goes_before_the_rest_of_long_work():
    turns, order = Turns(), []
    started = threading.Event()

    def long_work():
        with turns.take():
            started.set()
            for _ in range(200):
                time.sleep(0.005)
                turns.give_way()
                if order:
                    break
            order.append("long")

    thread = threading.Thread(target=long_work)
    thread.start()
    assert started.wait(30)
    with turns.take(urgent=True):
        order.append("urgent")
    thread.join(30)
    assert order == ["urgent", "long"]
    with turns.take():
        turns.give_way()


class Shown:
    """Takes what a sender shows."""

    def __init__(self):
        self.scene, self.solids, self.texts = BlockScene(), [], []
        self.sender = SolidSender(
            self.scene, lambda solid, request: self.solids.append(solid), self.texts.append, Turns()
        )


@pytest.fixture
def shown():
    shown = Shown()
    yield shown
    shown.sender.close()


def test_solids_are_sent_when_something_else_than_the_camera_changed(shown):
    request = ViewRequest(CAMERA, "colors", 0.5, frame="one")
    shown.sender.want(request)
    wait_for(lambda: len(shown.solids) == 1)
    shown.sender.want(replace(request, camera=reduced(CAMERA, 2)))
    time.sleep(0.1)
    assert len(shown.solids) == 1
    for change in (
        {"hidden": ("red",)},
        {"frame": "two"},
        {"top": 0.0},
        {"selection": (1.0,), "mode": "likeness"},
    ):
        request = replace(request, **change)
        shown.sender.want(request)
        count = len(shown.solids) + 1
        wait_for(lambda n=count: len(shown.solids) == n)
    assert [len(solid.centers) for solid in shown.solids] == [8, 4, 4, 2, 2]


def test_a_scene_that_shows_nothing_is_refused(shown):
    class Nothing:
        modes, selection_mode, downloads = ("a",), None, ()

        def start(self):
            return START

        def save(self, request, what, note):
            raise InputError("nothing")

    with pytest.raises(SettingsError, match=r"Nothing cannot be shown: a scene has look\(\)"):
        ClientSession(MagicMock(), Nothing(), Turns(), "title", 100)


class PhotographedScene(OrbitScene):
    """A ball with two photographs of it, one from each side."""

    def __init__(self):
        super().__init__()
        turned = (0.0, 0.0, 1.0, 0.0)
        self.captures = [
            Capture("front", Camera((0.0, 0.0, -3.0), (1.0, 0.0, 0.0, 0.0), 0.9, 4, 3)),
            Capture("back", Camera((0.0, 0.0, 3.0), turned, 0.7, 4, 3)),
        ]

    def photograph(self, name):
        return np.full((3, 4, 3), 7, np.uint8)


def test_cameras_of_photographs_are_drawn_once_and_hidden_again():
    client = MagicMock()
    client.camera.image_width = client.camera.image_height = 8
    client.camera.wxyz, client.camera.position = np.array([1.0, 0, 0, 0]), np.zeros(3)
    client.camera.fov = 0.9
    session = ClientSession(client, PhotographedScene(), Turns(), "title", 100)
    try:
        for shown in (True, False, True):
            session._show_cameras(shown)
        draw = client.scene.add_camera_frustum
        assert draw.call_count == 2 and draw.return_value.visible is True
        assert draw.call_args.kwargs["position"] == (0.0, 0.0, 3.0)
        session._go_to("back")
        assert client.camera.position.tolist() == [0, 0, 3] and client.camera.fov == 0.7
        assert client.camera.look_at[2] < 3 and client.camera.look_at[:2] == pytest.approx([0, 0])
        assert client.gui.add_image.call_args.args[0].shape == (3, 4, 3)
    finally:
        session.close()


def test_a_film_goes_through_the_views_that_were_kept(monkeypatch):
    client, scene = MagicMock(), OrbitScene()
    client.camera.image_width, client.camera.image_height = 65, 49
    client.camera.wxyz, client.camera.fov = np.array([1.0, 0, 0, 0]), 0.9
    client.gui.add_slider.return_value.value = 0.25
    filmed = {}

    def encode(pictures, frames_per_second):
        filmed["shapes"] = [picture.shape for picture in pictures]
        return b"film"

    monkeypatch.setattr("eagleray.view.session.encode_film", encode)
    client.camera.position = np.array([0.0, -3.0, 0.0])
    session = ClientSession(client, scene, Turns(), "title", 100)
    try:
        wait_for(lambda: len(scene.looks) == len(COARSE_TO_FINE))
        wait_for(lambda: session._panel._progress.content == "")
        session._change_path(KEEP)
        session._change_path(FILM)
        assert "two positions or more, 1 are kept" in session._panel._status.content
        client.camera.position = np.array([2.0, -3.0, 0.0])
        session._change_path(KEEP)
        session._change_path(KEEP)
        session._change_path(DROP)
        scene.looks.clear()
        session._change_path(FILM)
        assert filmed["shapes"] == [(48, 64, 3)] * 6  # a quarter of a second
        x = [request.camera.position[0] for request in scene.looks]
        assert x == sorted(x) and x[0] == 0.0 and x[-1] == 2.0
        assert client.send_file_download.call_args.args == ("camera_path.mp4", b"film")
    finally:
        session.close()


def test_rows_of_a_run_are_opened_when_they_are_asked_for(tmp_path):
    run = RunFolder(str(tmp_path / "runs/a/main-1"))
    run.record_stages({"squares:train": "abc"})
    run.update_summary(task="squares")
    rows = RecordedRows(run, Store(str(tmp_path)))
    assert list(rows) == ["squares:train"] and len(rows) == 1
    with pytest.raises(SettingsError, match="squares:train"):
        rows["squares:trian"]
    with pytest.raises(EaglerayError):
        rows["squares:train"]
