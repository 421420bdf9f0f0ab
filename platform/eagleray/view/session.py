"""One browser window: its camera, and what its buttons, clicks and questions do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from eagleray.task import (
    AskableScene,
    Camera,
    CapturedScene,
    EaglerayError,
    InteractiveScene,
    PicturedScene,
    RgbImage,
    Scene,
    SettingsError,
    Solid,
    SolidScene,
    ViewRequest,
)
from eagleray.view.camera_path import FRAMES_PER_SECOND, cameras_along, encode_film
from eagleray.view.captures import forward, frustums
from eagleray.view.painter import NewestRequest, Painter, SolidSender, SupersededError
from eagleray.view.panel import (
    CLEAR,
    DROP,
    FILM,
    KEEP,
    LEVELS,
    OFF,
    SELECT,
    TAKE_AWAY,
    Panel,
    Reactions,
)
from eagleray.view.turns import Turns

_COARSE_QUALITY, _FINE_QUALITY = 80, 92
"""JPEG quality of images that finer ones follow, and of the last one."""
_REFINING = "_getting sharper ..._"
_BEGINNING = "_making the first view ..._"
_SOLID = "/solid"
_CUBE_CORNERS = np.array(
    [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], dtype=np.float32
)
_CUBE_FACES = np.array(
    [
        *((0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1)),
        *((2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)),
    ],
    dtype=np.uint32,
)
"""Twelve triangles, seen from outside in counterclockwise order."""


class ClientSession:
    """Panel, camera and selection of one browser window.

    Args:
        client: viser's handle of the window.
        scene: What is looked at.
        turns: The device, which all windows share.
        title: Shown on top of the panel.
        max_side_px: Longest side of a rendered image.

    Raises:
        SettingsError: The scene is neither rendered nor drawn by the browser.
    """

    def __init__(
        self,
        client: Any,
        scene: Scene[Any],
        turns: Turns,
        title: str,
        max_side_px: int,
    ) -> None:
        self._client, self._scene, self._turns = client, scene, turns
        self._max_side_px = max_side_px
        self._selection: tuple[Any, ...] = ()
        self._history: list[tuple[Any, ...]] = []
        self._changing = threading.Lock()
        self._drawn: Any = None
        self._frustums: list[Any] = []
        self._path: list[Camera] = []
        reactions = Reactions(
            self.repaint,
            self._place_camera,
            self._choose_level,
            self._take_back,
            self._ask,
            self._download,
            self._show_cameras,
            self._go_to,
            self._change_path,
        )
        self._panel = Panel(client.gui, scene, title, reactions)
        self._panel.say_progress(_BEGINNING)
        self._server = self._serving(scene)
        self._place_camera()
        client.camera.on_update(lambda _: self.repaint())
        if isinstance(scene, InteractiveScene):
            client.scene.on_pointer_event(event_type="click")(self._on_click)
        self.repaint()

    def repaint(self) -> None:
        """Ask for what the panel and the camera say now."""
        self._server.want(self._request())

    def close(self) -> None:
        """Stop rendering for this window."""
        self._server.close()

    def _serving(self, scene: Scene[Any]) -> NewestRequest:
        if isinstance(scene, InteractiveScene):
            return Painter(scene, self._show, self._panel.say, self._turns)
        if isinstance(scene, SolidScene):
            return SolidSender(scene, self._draw, self._panel.say, self._turns)
        raise SettingsError(
            f"{type(scene).__name__} cannot be shown: a scene has look(), pick() and thresholds() "
            "(InteractiveScene), or solid() (SolidScene)"
        )

    def _place_camera(self) -> None:
        start = self._scene.start()
        camera = self._client.camera
        camera.up_direction = np.asarray(start.up)
        camera.position = np.asarray(start.position)
        camera.look_at = np.asarray(start.look_at)
        camera.fov = start.fov_rad

    def _request(self) -> ViewRequest[Any]:
        panel = self._panel
        return ViewRequest(
            self._camera(),
            panel.mode,
            panel.threshold,
            self._selection,
            panel.frame,
            panel.hidden,
            panel.top,
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
        kind = self._panel.clicks
        if kind == OFF or not isinstance(self._scene, InteractiveScene):
            return
        camera = self._camera()
        (u, v), *_ = event.screen_pos
        column = min(max(int(u * camera.width_px), 0), camera.width_px - 1)
        row = min(max(int(v * camera.height_px), 0), camera.height_px - 1)
        try:
            with self._turns.take(urgent=True):
                positive = kind != TAKE_AWAY
                picked = self._scene.pick(camera, column, row, positive=positive)
        except EaglerayError as error:
            self._panel.say(str(error))
            return
        self._add(picked, joins=kind != SELECT)

    def _ask(self, text: str, joins: bool) -> None:
        if not isinstance(self._scene, AskableScene):
            return
        try:
            with self._turns.take(urgent=True):
                answer = self._scene.ask(text.strip(), self._request())
        except EaglerayError as error:
            self._panel.say(str(error))
            return
        self._add(answer, joins=joins)

    def _add(self, picked: Any, *, joins: bool) -> None:
        is_first = not self._selection
        self._keep((*self._selection, picked) if joins else (picked,))
        if is_first and self._shows_no_selection():
            self._panel.mode = str(self._scene.selection_mode)

    def _shows_no_selection(self) -> bool:
        """Return whether a first click would change nothing that is seen."""
        is_first_mode = self._panel.mode == self._scene.modes[0]
        return self._scene.selection_mode is not None and is_first_mode

    def _choose_level(self, level: str) -> None:
        if not isinstance(self._scene, InteractiveScene):
            return
        try:
            with self._turns.take(urgent=True):
                thresholds = self._scene.thresholds(self._request())
        except EaglerayError as error:
            self._panel.say(str(error))
            return
        self._panel.threshold = thresholds[min(LEVELS.index(level), len(thresholds) - 1)]

    def _take_back(self, what: str) -> None:
        if what == CLEAR:
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
        self._panel.count(len(selection))
        self._panel.say("")
        self.repaint()

    def _note(self, text: str) -> None:
        """Say how far long work is, and let what others wait for go first."""
        if self._server.is_closed:
            raise SupersededError
        self._panel.say(text)
        self._turns.give_way()

    def _download(self, what: str) -> None:
        self._send(lambda: self._scene.save(self._request(), what, self._note))

    def _change_path(self, what: str) -> None:
        """Keep the view, drop the last one, or send the film through all of them."""
        if what == KEEP:
            self._path.append(self._camera())
        elif what == DROP:
            del self._path[-1:]
        elif what == FILM:
            self._send(self._film)
        self._panel.count_views(len(self._path))

    def _film(self) -> tuple[str, bytes]:
        """Return what a camera sees that goes through the kept views, as a film."""
        request, scene = self._request(), self._scene
        if not isinstance(scene, InteractiveScene):
            raise SettingsError("only a scene that is rendered here can be filmed")
        cameras = cameras_along(self._path, round(self._panel.film_s * FRAMES_PER_SECOND))

        def pictures() -> Iterator[RgbImage]:
            for number, camera in enumerate(cameras, start=1):
                self._note(f"picture {number} of {len(cameras)}")
                # H.264 halves the resolution of colors, so both sides are even.
                width, height = (max(px // 2 * 2, 2) for px in (camera.width_px, camera.height_px))
                even = replace(camera, width_px=width, height_px=height)
                yield scene.look(replace(request, camera=even), self._turns.give_way)

        return "camera_path.mp4", encode_film(pictures(), FRAMES_PER_SECOND)

    def _send(self, make: Callable[[], tuple[str, bytes]]) -> None:
        """Have the window download a file, which is made while nobody else uses the device."""
        try:
            with self._turns.take():
                name, content = make()
        except EaglerayError as error:
            self._panel.say(str(error))
            return
        except SupersededError:
            return
        self._client.send_file_download(name, content, save_immediately=True)
        self._panel.say(f"{name}: {len(content):,} bytes")

    def _show_cameras(self, shown: bool) -> None:
        """Draw where the photographs were taken from, or hide it."""
        scene = self._scene
        if not isinstance(scene, CapturedScene):
            return
        with self._client.atomic():
            if not self._frustums:
                self._frustums = frustums(self._client.scene, scene.captures)
            for frustum in self._frustums:
                frustum.visible = shown

    def _go_to(self, name: str) -> None:
        """Look from where a photograph was taken, and show it beside."""
        scene = self._scene
        if not isinstance(scene, CapturedScene):
            return
        own = next(one.camera for one in scene.captures if one.name == name)
        start, camera = self._scene.start(), self._client.camera
        distance = float(np.linalg.norm(np.subtract(start.look_at, start.position)))
        with self._client.atomic():
            camera.position = np.asarray(own.position)
            camera.look_at = np.asarray(own.position) + distance * forward(own)
            camera.fov = own.fov_rad
        try:
            with self._turns.take(urgent=True):
                image = scene.photograph(name)
        except EaglerayError as error:
            self._panel.say(str(error))
            return
        self._panel.show_pictures({"photograph": image})

    def _show(self, image: RgbImage, is_coarse: bool) -> None:
        quality = _COARSE_QUALITY if is_coarse else _FINE_QUALITY
        self._client.scene.set_background_image(image, format="jpeg", jpeg_quality=quality)
        self._panel.say_progress(_REFINING if is_coarse else "")

    def _draw(self, solid: Solid, request: ViewRequest[Any]) -> None:
        """Draw a solid in place of the one before, and the pictures that belong to it."""
        scene, before = self._client.scene, self._drawn
        with self._client.atomic():
            if before is not None:
                before.remove()
            self._drawn = _drawn(scene, solid) if len(solid.centers) else None
        self._panel.say_progress(f"{len(solid.centers):,} {'boxes' if solid.sides else 'points'}")
        if isinstance(self._scene, PicturedScene):
            with self._turns.take():
                pictures = dict(self._scene.beside(request))
            self._panel.show_pictures(pictures)


def _drawn(scene: Any, solid: Solid) -> Any:
    if solid.sides is None:
        return scene.add_point_cloud(
            _SOLID, solid.centers, solid.colors, point_size=solid.point_size, precision="float32"
        )
    count = len(solid.centers)
    upright = np.tile(np.array([1.0, 0.0, 0.0, 0.0], dtype=np.float32), (count, 1))
    return scene.add_batched_meshes_simple(
        _SOLID,
        _CUBE_CORNERS * np.asarray(solid.sides, dtype=np.float32),
        _CUBE_FACES,
        upright,
        solid.centers,
        batched_colors=solid.colors,
        lod="off",
        flat_shading=True,
        cast_shadow=False,
        receive_shadow=False,
    )
