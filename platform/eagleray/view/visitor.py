"""One visitor of the viewer: the panel in the browser and what its buttons do."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import EaglerayError
from eagleray.view.functions import Camera, ViewFunctions
from eagleray.view.painter import Painter, Wish

_MAX_SIDE_PX = 800
_JPEG_QUALITY = 85


class Visitor:
    """Panel, camera and clicks of one browser window.

    Args:
        client: viser's handle of the window.
        functions: The task's functions.
        gate: Held while rendering.
        title: Shown on top of the panel.
        max_side_px: Longest side of a rendered image.
    """

    def __init__(
        self,
        client: Any,
        functions: ViewFunctions,
        gate: threading.Lock,
        title: str,
        max_side_px: int = _MAX_SIDE_PX,
    ) -> None:
        self._client, self._functions, self._gate = client, functions, gate
        self._max_side_px = max_side_px
        self._selection: list[Any] = []
        self._painter = Painter(functions, self._show, self._say, gate)
        self._build_panel(title)
        self._place_camera()
        client.camera.on_update(lambda _: self.repaint())
        client.scene.on_pointer_event(event_type="click")(self._on_click)
        self.repaint()

    def repaint(self) -> None:
        """Ask for an image of what the panel and the camera say now."""
        self._painter.want(
            Wish(
                self._camera(),
                self._mode.value,
                float(self._threshold.value),
                tuple(self._selection),
            )
        )

    def close(self) -> None:
        """Stop rendering for this visitor."""
        self._painter.close()

    def _build_panel(self, title: str) -> None:
        gui = self._client.gui
        gui.add_markdown(f"**{title}**")
        self._mode = gui.add_dropdown("show", self._functions.modes)
        self._clicks = gui.add_button_group("click", ("off", "select", "take away"))
        self._click_mode = "off"
        self._threshold = gui.add_slider("threshold", 0.0, 0.99, 0.01, 0.5)
        self._count = gui.add_text("clicks kept", "0", disabled=True)
        undo, clear = gui.add_button("undo click"), gui.add_button("clear clicks")
        self._mode.on_update(lambda _: self.repaint())
        self._threshold.on_update(lambda _: self.repaint())
        self._clicks.on_click(self._choose_click_mode)
        undo.on_click(lambda _: self._keep(self._selection[:-1]))
        clear.on_click(lambda _: self._keep([]))
        with gui.add_folder("download"):
            for what in self._functions.downloads:
                button = gui.add_button(what.replace("_", " "))
                button.on_click(lambda _, what=what: self._download(what))
        self._status = gui.add_text("status", "", disabled=True)

    def _place_camera(self) -> None:
        start = self._functions.start()
        camera = self._client.camera
        camera.up_direction = np.asarray(start.up)
        camera.position = np.asarray(start.position)
        camera.look_at = np.asarray(start.look_at)
        camera.fov = start.fov_rad

    def _camera(self) -> Camera:
        camera = self._client.camera
        width, height = self._size(camera)
        wxyz = np.asarray(camera.wxyz, np.float64)
        wxyz = wxyz / np.linalg.norm(wxyz)
        position = tuple(float(v) for v in camera.position)
        return Camera(position, tuple(wxyz.tolist()), float(camera.fov), width, height)

    def _size(self, camera: Any) -> tuple[int, int]:
        aspect = float(camera.aspect) if camera.aspect else 1.0
        if aspect >= 1:
            return self._max_side_px, max(1, round(self._max_side_px / aspect))
        return max(1, round(self._max_side_px * aspect)), self._max_side_px

    def _choose_click_mode(self, event: Any) -> None:
        self._click_mode = str(event.target.value)
        self._say("drag to turn" if self._click_mode == "off" else f"click to {self._click_mode}")

    def _on_click(self, event: Any) -> None:
        if self._click_mode == "off":
            return
        camera = self._camera()
        (u, v), *_ = event.screen_pos
        column = min(int(u * camera.width_px), camera.width_px - 1)
        row = min(int(v * camera.height_px), camera.height_px - 1)
        try:
            with self._gate:
                picked = self._functions.pick(
                    camera, column, row, positive=self._click_mode == "select"
                )
        except EaglerayError as error:
            self._say(str(error))
            return
        self._keep([*self._selection, picked])

    def _keep(self, selection: list[Any]) -> None:
        self._selection = selection
        self._count.value = str(len(selection))
        self.repaint()

    def _download(self, what: str) -> None:
        try:
            with self._gate:
                name, content = self._functions.save(
                    self._camera(),
                    self._mode.value,
                    float(self._threshold.value),
                    self._selection,
                    what,
                )
        except EaglerayError as error:
            self._say(str(error))
            return
        self._client.send_file_download(name, content)
        self._say(f"{name}: {len(content)} bytes")

    def _show(self, image: npt.NDArray[np.uint8]) -> None:
        self._client.scene.set_background_image(image, format="jpeg", jpeg_quality=_JPEG_QUALITY)

    def _say(self, text: str) -> None:
        self._status.value = text
