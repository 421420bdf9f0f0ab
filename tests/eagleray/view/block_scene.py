"""A scene that the browser draws: eight blocks in two colors and two frames that know two words."""

from __future__ import annotations

import numpy as np

from eagleray.task import InputError, Solid, Viewpoint

PLACES = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)
RED, BLUE = (220, 40, 40), (40, 80, 220)
WORDS = {"left": -1.0, "right": 1.0}


class BlockScene:
    """Blocks are red on the left and blue on the right; the second frame is seen in a mirror."""

    modes = ("colors", "likeness")
    selection_mode = "likeness"
    downloads = ("blocks",)
    frames = ("one", "two")
    heights = (-1.5, 1.5)

    def __init__(self):
        self.parts = {"red": RED, "blue": BLUE}
        self.requests = []

    def start(self):
        return Viewpoint((4.0, -6.0, 4.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.9)

    def solid(self, request):
        self.requests.append(request)
        left = PLACES[:, 0] < 0
        if request.frame == "two":
            left = ~left
        shown = ~(left & ("red" in request.hidden)) & ~(~left & ("blue" in request.hidden))
        if request.top is not None:
            shown &= PLACES[:, 2] <= request.top
        if request.mode == "likeness":
            side = np.where(left, -1.0, 1.0)
            shown &= np.isin(side, request.selection)
            shown &= np.arange(len(PLACES)) < 6
        colors = np.where(left[:, None], RED, BLUE).astype(np.uint8)
        return Solid(PLACES[shown], colors[shown], (1.5, 1.5, 1.5))

    def ask(self, text, request):
        if text not in WORDS:
            raise InputError(f"{text!r} is no word of {', '.join(WORDS)}")
        return WORDS[text]

    def beside(self, request):
        color = RED if request.frame == "one" else BLUE
        return {"camera": np.full((30, 60, 3), color, dtype=np.uint8)}

    def save(self, request, what, note):
        return "blocks.txt", request.frame.encode()
