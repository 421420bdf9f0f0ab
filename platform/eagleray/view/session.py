"""One browser window: its panel, and what its buttons and clicks do."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np

from eagleray.task import Camera, EaglerayError, InteractiveScene, RgbImage, ViewRequest
from eagleray.view.painter import Painter, SupersededError
from eagleray.view.turns import Turns

_log = logging.getLogger(__name__)

_COARSE_QUALITY, _FINE_QUALITY = 80, 92
"""JPEG quality of images that finer ones follow, and of the last one."""
_SELECT, _ADD, _TAKE_AWAY, _OFF = "select", "add", "take away", "nothing"
_CLICKS = (_SELECT, _ADD, _TAKE_AWAY, _OFF)
_LEVELS = ("coarse", "medium", "fine")
_UNDO, _CLEAR = "undo", "clear"
_FIRST_THRESHOLD = 0.8
_QUIET = "gray"
_REFINING = "_getting sharper ..._"
_HELP = "Drag to turn, scroll to come closer. **Click at a thing to select it.**"


class ClientSession:
    """Panel, camera and clicks of one browser window.

    Args:
        client: viser's handle of the window.
        scene: What is looked at.
        turns: The device, which all windows share.
        title: Shown on top of the panel.
        max_side_px: Longest side of a rendered image.
    """

    def __init__(
        self,
        client: Any,
        scene: InteractiveScene[Any],
        turns: Turns,
        title: str,
        max_side_px: int,
    ) -> None:
        self._client, self._scene, self._turns = client, scene, turns
        self._max_side_px = max_side_px
        self._selection: tuple[Any, ...] = ()
        self._history: list[tuple[Any, ...]] = []
        self._changing = threading.Lock()
        self._painter = Painter(scene, self._show, self._say, turns)
        self._build_panel(title)
        self._place_camera()
        client.camera.on_update(lambda _: self.repaint())
        client.scene.on_pointer_event(event_type="click")(self._on_click)
        self.repaint()

    def repaint(self) -> None:
        """Ask for an image of what the panel and the camera say now."""
        self._painter.want(self._request())

    def close(self) -> None:
        """Stop rendering for this window."""
        self._painter.close()

    def _build_panel(self, title: str) -> None:
        gui = self._client.gui
        gui.set_panel_label(title)
        gui.add_markdown(_HELP)
        with gui.add_folder("view"):
            self._mode = gui.add_dropdown("show", tuple(self._scene.modes))
            home = gui.add_button("back to the start", color=_QUIET)
        with gui.add_folder("selection"):
            self._clicks = gui.add_dropdown("a click will", _CLICKS)
            self._threshold = gui.add_slider("threshold", 0.0, 0.99, 0.01, _FIRST_THRESHOLD)
            levels = gui.add_button_group("level", _LEVELS, visible=self._scene.has_levels)
            self._count = gui.add_text("clicks kept", "0", disabled=True)
            changes = gui.add_button_group("take back", (_UNDO, _CLEAR))
        with gui.add_folder("download"):
            for what in self._scene.downloads:
                button = gui.add_button(what.replace("_", " "), color=_QUIET, icon="download")
                button.on_click(lambda _, what=what: self._download(what))
        self._progress, self._status = gui.add_markdown(""), gui.add_markdown("")
        self._mode.on_update(lambda _: self.repaint())
        self._threshold.on_update(lambda _: self.repaint())
        home.on_click(lambda _: self._place_camera())
        levels.on_click(self._choose_level)
        changes.on_click(self._take_back)

    def _place_camera(self) -> None:
        start = self._scene.start()
        camera = self._client.camera
        camera.up_direction = np.asarray(start.up)
        camera.position = np.asarray(start.position)
        camera.look_at = np.asarray(start.look_at)
        camera.fov = start.fov_rad

    def _request(self) -> ViewRequest[Any]:
        return ViewRequest(
            self._camera(), str(self._mode.value), float(self._threshold.value), self._selection
        )

    def _camera(self) -> Camera:
        camera = self._client.camera
        width, height = self._size(camera)
        wxyz = np.asarray(camera.wxyz, np.float64)
        wxyz = wxyz / np.linalg.norm(wxyz)
        x, y, z = (float(v) for v in camera.position)
        qw, qx, qy, qz = wxyz.tolist()
        return Camera((x, y, z), (qw, qx, qy, qz), float(camera.fov), width, height)

    def _size(self, camera: Any) -> tuple[int, int]:
        """Return the size of the canvas, reduced to the longest side that is rendered."""
        width, height = max(1, int(camera.image_width)), max(1, int(camera.image_height))
        factor = min(1.0, self._max_side_px / max(width, height))
        return max(1, round(width * factor)), max(1, round(height * factor))

    def _on_click(self, event: Any) -> None:
        kind = str(self._clicks.value)
        if kind == _OFF:
            return
        camera = self._camera()
        (u, v), *_ = event.screen_pos
        column = min(max(int(u * camera.width_px), 0), camera.width_px - 1)
        row = min(max(int(v * camera.height_px), 0), camera.height_px - 1)
        try:
            with self._turns.take(urgent=True):
                positive = kind != _TAKE_AWAY
                picked = self._scene.pick(camera, column, row, positive=positive)
        except EaglerayError as error:
            self._say(str(error))
            return
        is_first = not self._selection
        self._keep((picked,) if kind == _SELECT else (*self._selection, picked))
        if is_first and self._shows_no_selection():
            self._mode.value = self._scene.selection_mode

    def _shows_no_selection(self) -> bool:
        """Return whether a first click would change nothing that is seen."""
        is_first_mode = self._mode.value == self._scene.modes[0]
        return self._scene.selection_mode is not None and is_first_mode

    def _choose_level(self, event: Any) -> None:
        try:
            with self._turns.take(urgent=True):
                thresholds = self._scene.thresholds(self._request())
        except EaglerayError as error:
            self._say(str(error))
            return
        level = min(_LEVELS.index(str(event.target.value)), len(thresholds) - 1)
        self._threshold.value = min(max(round(thresholds[level], 2), 0.0), 0.99)

    def _take_back(self, event: Any) -> None:
        if event.target.value == _CLEAR:
            self._keep(())
            return
        with self._changing:
            selection = self._history.pop() if self._history else ()
        self._show_selection(selection)

    def _keep(self, selection: tuple[Any, ...]) -> None:
        with self._changing:
            self._history.append(self._selection)
        self._show_selection(selection)

    def _show_selection(self, selection: tuple[Any, ...]) -> None:
        self._selection = selection
        self._count.value = str(len(selection))
        self._say("")
        self.repaint()

    def _download(self, what: str) -> None:
        def note(text: str) -> None:
            if self._painter.is_closed:
                raise SupersededError
            self._say(text)
            self._turns.give_way()

        try:
            with self._turns.take():
                name, content = self._scene.save(self._request(), what, note)
        except EaglerayError as error:
            self._say(str(error))
            return
        except SupersededError:
            return
        self._client.send_file_download(name, content)
        self._say(f"{name}: {len(content):,} bytes")

    def _show(self, image: RgbImage, is_coarse: bool) -> None:
        quality = _COARSE_QUALITY if is_coarse else _FINE_QUALITY
        self._client.scene.set_background_image(image, format="jpeg", jpeg_quality=quality)
        self._progress.content = _REFINING if is_coarse else ""

    def _say(self, text: str) -> None:
        self._status.content = text
