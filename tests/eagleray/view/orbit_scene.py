"""A scene that can be viewed: a ball, drawn without any network; it notes what it was asked."""

from __future__ import annotations

import numpy as np

from eagleray.task import InputError, Viewpoint

START = Viewpoint((0.0, -3.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.9)


class OrbitScene:
    """Shows a ball whose color follows the number of clicks."""

    modes = ("color", "grey", "selection")
    selection_mode = "selection"
    downloads = ("image", "points")
    has_levels = True

    def __init__(self):
        self.looks, self.picks, self.cameras = [], [], []

    def start(self):
        return START

    def look(self, request, check):
        self.looks.append(request)
        camera = request.camera
        v, u = np.mgrid[0 : camera.height_px, 0 : camera.width_px]
        ball = np.hypot(u - camera.width_px / 2, v - camera.height_px / 2) < camera.height_px / 4
        color = np.array([200, 80, (40 + 100 * len(request.selection)) % 256])
        color = 128 if request.mode == "grey" else color
        image = ball[:, :, None] * np.broadcast_to(color, (*ball.shape, 3))
        return image.astype(np.uint8)

    def pick(self, camera, column, row, *, positive):
        if column < 0.2 * camera.width_px:
            raise InputError("nothing there")
        self.cameras.append(camera)
        self.picks.append((column, row, positive))
        return (column, row, positive)

    def thresholds(self, request):
        if not request.selection:
            raise InputError("click at a thing first")
        return [0.25, 0.625]

    def save(self, request, what, note):
        if what == "points" and not request.selection:
            raise InputError("nothing is selected")
        note("one of one")
        content = f"{request.camera.width_px} {len(request.selection)}"
        return f"{what}.txt", content.encode()
