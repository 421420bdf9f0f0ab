"""A task that can be viewed: a ball, drawn without any network; it notes what it was asked."""

from __future__ import annotations

from typing import Literal

import numpy as np
from tests.sixth_task import SquareTask
from torch import nn

from eagleray.task import InputError, Settings, Tool


class Nothing(Settings):
    """No arguments."""


class View(Settings):
    """A camera."""

    position: tuple[float, float, float]
    wxyz: tuple[float, float, float, float]
    fov_rad: float
    width_px: int
    height_px: int


class Look(View):
    """How it is shown."""

    mode: Literal["color", "grey", "selection"] = "color"
    threshold: float = 0.5


class Pick(View):
    """A click."""

    column: int
    row: int
    positive: bool = True


class Save(Look):
    """A download."""

    what: Literal["image", "points"] = "image"


class Start:
    position, look_at, up, fov_rad = (0.0, -3.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.9


class OrbitTask(SquareTask):
    """Shows a ball whose color follows the camera's position."""

    name = "orbit"

    def __init__(self, settings=None):
        super().__init__(settings)
        self.looks, self.picks, self.selections = [], [], []

    def tools(self):
        return [
            Tool("start", "", Nothing, lambda model, a: Start()),
            Tool("look", "", Look, self.look),
            Tool("pick", "", Pick, self.pick),
            Tool("save", "", Save, self.save),
            Tool("thresholds", "", View, self.thresholds),
        ]

    def look(self, model, a, selection=(), check=None):
        self.looks.append(a)
        self.selections.append(list(selection))
        v, u = np.mgrid[0 : a.height_px, 0 : a.width_px]
        ball = np.hypot(u - a.width_px / 2, v - a.height_px / 2) < a.height_px / 4
        color = np.array([200, 80, (40 + 100 * len(selection)) % 256])
        color = 128 if a.mode == "grey" else color
        return (ball[:, :, None] * np.broadcast_to(color, (a.height_px, a.width_px, 3))).astype(
            np.uint8
        )

    def pick(self, model, a):
        if a.column < 0.2 * a.width_px:
            raise InputError("nothing there")
        self.picks.append(a)
        return (a.column, a.row, a.positive)

    def thresholds(self, model, a, selection=()):
        if not selection:
            raise InputError("click at a thing first")
        return [0.25, 0.625]

    def save(self, model, a, selection=(), note=None):
        if a.what == "points" and not selection:
            raise InputError("nothing is selected")
        if note is not None:
            note("one of one")
        return f"{a.what}.txt", f"{a.width_px} {len(selection)}".encode()


def no_model():
    return nn.Identity()
