"""The panel beside the scene: what there is to choose follows from what the scene can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagleray.task import (
    AskableScene,
    CapturedScene,
    FramedScene,
    InteractiveScene,
    PartedScene,
    RgbImage,
    Scene,
    SolidScene,
)

SELECT, ADD, TAKE_AWAY, OFF = "select", "add", "take away", "nothing"
UNDO, CLEAR = "undo", "clear"
LEVELS = ("coarse", "medium", "fine")
FIND, AND = "find", "and this"
KEEP, DROP, FILM = "add this view", "drop the last", "film (mp4)"
_CLICKS = (SELECT, ADD, TAKE_AWAY, OFF)
_FIRST_THRESHOLD = 0.8
_QUIET = "gray"
_NOWHERE = "(stay here)"
_MOST_CHOICES = 200
"""With more frames a number is chosen instead of a name."""
_CLICK_HELP = "Drag to turn, scroll to come closer. **Click at a thing to select it.**"
_SOLID_HELP = "Drag to turn, scroll to come closer, drag with the right button to move."
_LONGEST_FILM_S = 60.0
_ASK_HELP = " **Type what you look for**, then press *find*."


@dataclass(frozen=True)
class Reactions:
    """What the panel calls.

    Args:
        changed: Something that the scene shows was chosen.
        home: Back to the start.
        level: A level of wholes and parts was chosen.
        take_back: ``undo`` or ``clear``.
        ask: A text, and whether it joins what is selected.
        download: One of the scene's downloads.
        cameras: Whether the places of the photographs are shown.
        go_to: A photograph, by its name.
        path: What becomes of the camera path: ``KEEP``, ``DROP`` or ``FILM``.
    """

    changed: Callable[[], None]
    home: Callable[[], None]
    level: Callable[[str], None]
    take_back: Callable[[str], None]
    ask: Callable[[str, bool], None]
    download: Callable[[str], None]
    cameras: Callable[[bool], None]
    go_to: Callable[[str], None]
    path: Callable[[str], None]


class Panel:
    """The panel of one window.

    Args:
        gui: viser's interface of the window.
        scene: What is looked at.
        title: Shown on top.
        react: What happens when something is chosen.
    """

    def __init__(self, gui: Any, scene: Scene[Any], title: str, react: Reactions) -> None:
        self._gui, self._react = gui, react
        self._clicks: Any = None
        self._frame: Any = None
        self._frame_name: Any = None
        self._question: Any = None
        self._top: Any = None
        self._parts: dict[str, Any] = {}
        self._images: dict[str, Any] = {}
        self._frames = tuple(scene.frames) if isinstance(scene, FramedScene) else ()
        gui.set_panel_label(title)
        help_text = _CLICK_HELP if isinstance(scene, InteractiveScene) else _SOLID_HELP
        gui.add_markdown(help_text + (_ASK_HELP if isinstance(scene, AskableScene) else ""))
        self._add_view(scene)
        self._add_selection(scene)
        if isinstance(scene, PartedScene):
            self._add_parts(scene)
        if isinstance(scene, CapturedScene):
            self._add_captures(scene)
        if isinstance(scene, InteractiveScene):
            self._add_path()
        self._add_downloads(scene)
        self._progress, self._status = gui.add_markdown(""), gui.add_markdown("")
        self._pictures = gui.add_folder("beside", visible=False)

    @property
    def mode(self) -> str:
        """What is shown."""
        return str(self._mode.value)

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode.value = mode

    @property
    def threshold(self) -> float:
        """From which likeness on things are selected."""
        return float(self._threshold.value)

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        self._threshold.value = min(max(round(threshold, 2), 0.0), 0.99)

    @property
    def clicks(self) -> str:
        """What a click does."""
        return OFF if self._clicks is None else str(self._clicks.value)

    @property
    def frame(self) -> str:
        """The frame that is shown; empty where there are none."""
        if self._frame is None:
            return self._frames[0] if self._frames else ""
        value = self._frame.value
        return value if isinstance(value, str) else self._frames[int(value)]

    @property
    def hidden(self) -> tuple[str, ...]:
        """Parts that are switched off."""
        return tuple(name for name, box in self._parts.items() if not box.value)

    @property
    def top(self) -> float | None:
        """Height above which nothing is shown."""
        return None if self._top is None else float(self._top.value)

    @property
    def film_s(self) -> float:
        """Length of the film along the camera path, seconds."""
        return float(self._film_s.value)

    def count_views(self, kept: int) -> None:
        """Show how many views the camera path goes through."""
        self._views.value = str(kept)

    def count(self, selected: int) -> None:
        """Show how many clicks and questions are kept."""
        self._count.value = str(selected)

    def say(self, text: str) -> None:
        """Show a line under the panel."""
        self._status.content = text

    def say_progress(self, text: str) -> None:
        """Show a line that is gone with the work that it tells of."""
        self._progress.content = text

    def show_pictures(self, pictures: dict[str, RgbImage]) -> None:
        """Show pictures beside the scene."""
        self._pictures.visible = bool(pictures)
        for title, image in pictures.items():
            if title in self._images:
                self._images[title].image = np.asarray(image)
            else:
                with self._pictures:
                    self._images[title] = self._gui.add_image(
                        np.asarray(image), label=title, format="jpeg", jpeg_quality=85
                    )

    def _add_view(self, scene: Scene[Any]) -> None:
        gui, changed = self._gui, lambda _: self._react.changed()
        with gui.add_folder("view"):
            if 1 < len(self._frames) <= _MOST_CHOICES:
                self._frame = gui.add_dropdown("frame", self._frames)
            elif self._frames:
                last = max(len(self._frames) - 1, 1)
                self._frame = gui.add_slider("frame", 0, last, 1, 0)
                self._frame_name = gui.add_text("name", self._frames[0], disabled=True)
            if self._frame is not None:
                self._frame.on_update(self._choose_frame)
            self._mode = gui.add_dropdown("show", tuple(scene.modes))
            if isinstance(scene, SolidScene) and scene.heights is not None:
                low, high = scene.heights
                self._top = gui.add_slider("up to height", low, high, (high - low) / 100, high)
                self._top.on_update(changed)
            home = gui.add_button("back to the start", color=_QUIET)
        self._mode.on_update(changed)
        home.on_click(lambda _: self._react.home())

    def _add_selection(self, scene: Scene[Any]) -> None:
        gui = self._gui
        has_levels = isinstance(scene, InteractiveScene) and scene.has_levels
        with gui.add_folder("selection"):
            if isinstance(scene, AskableScene):
                self._question = gui.add_text("look for", "")
                ask = gui.add_button_group("ask", (FIND, AND))
                ask.on_click(
                    lambda event: self._react.ask(
                        str(self._question.value), event.target.value == AND
                    )
                )
            if isinstance(scene, InteractiveScene):
                self._clicks = gui.add_dropdown("a click will", _CLICKS)
            self._threshold = gui.add_slider("threshold", 0.0, 0.99, 0.01, _FIRST_THRESHOLD)
            levels = gui.add_button_group("level", LEVELS, visible=has_levels)
            kept = "clicks kept" if self._question is None else "kept"
            self._count = gui.add_text(kept, "0", disabled=True)
            changes = gui.add_button_group("take back", (UNDO, CLEAR))
        self._threshold.on_update(lambda _: self._react.changed())
        levels.on_click(lambda event: self._react.level(str(event.target.value)))
        changes.on_click(lambda event: self._react.take_back(str(event.target.value)))

    def _add_parts(self, scene: PartedScene) -> None:
        with self._gui.add_folder("classes", expand_by_default=False):
            for name, color in scene.parts.items():
                red, green, blue = color
                box = self._gui.add_checkbox(name, True, hint=f"rgb({red}, {green}, {blue})")
                box.on_update(lambda _: self._react.changed())
                self._parts[name] = box

    def _add_captures(self, scene: CapturedScene) -> None:
        names = [capture.name for capture in scene.captures]
        with self._gui.add_folder("photographs", expand_by_default=False):
            box = self._gui.add_checkbox("show the cameras", False)
            if len(names) <= _MOST_CHOICES:
                chosen = self._gui.add_dropdown("go to", (_NOWHERE, *names))
                chosen.on_update(lambda _: self._go_to(str(chosen.value)))
            else:
                number = self._gui.add_slider("go to", 0, len(names) - 1, 1, 0)
                number.on_update(lambda _: self._go_to(names[int(number.value)]))
        box.on_update(lambda _: self._react.cameras(bool(box.value)))

    def _add_path(self) -> None:
        """Offer to keep views in an order, and the film of a camera that goes through them."""
        gui = self._gui
        with gui.add_folder("camera path", expand_by_default=False):
            self._views = gui.add_text("views kept", "0", disabled=True)
            changes = gui.add_button_group("path", (KEEP, DROP))
            self._film_s = gui.add_slider("seconds", 1.0, _LONGEST_FILM_S, 1.0, 6.0)
            film = gui.add_button(FILM, color=_QUIET, icon="download")
        changes.on_click(lambda event: self._react.path(str(event.target.value)))
        film.on_click(lambda _: self._react.path(FILM))

    def _go_to(self, name: str) -> None:
        if name != _NOWHERE:
            self._react.go_to(name)

    def _add_downloads(self, scene: Scene[Any]) -> None:
        with self._gui.add_folder("download"):
            for what in scene.downloads:
                button = self._gui.add_button(what.replace("_", " "), color=_QUIET, icon="download")
                button.on_click(lambda _, what=what: self._react.download(what))

    def _choose_frame(self, _: Any) -> None:
        if self._frame_name is not None:
            self._frame_name.value = self.frame
        self._react.changed()
