"""Serving the viewer: one port, loopback unless told otherwise, any number of visitors.

The page, its images and its clicks all go through the one port, so a forwarded port is enough to
look at a run on a cluster.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import torch

from eagleray.evaluate.driver import find_weights
from eagleray.evaluate.stage import load_model
from eagleray.experiment.discovery import task_type
from eagleray.results.run_folder import find_run, read_experiment
from eagleray.task import SettingsError
from eagleray.view.functions import ViewFunctions
from eagleray.view.visitor import Visitor

LOOPBACK = "127.0.0.1"


class Viewer:
    """A running viewer.

    Args:
        functions: The task's functions.
        title: Shown on top of the panel.
        host: Address to listen on; other addresses than loopback let everybody in who reaches the
            port.
        port: Port; 0 takes a free one.
        max_side_px: Longest side of a rendered image.

    Raises:
        SettingsError: viser is not installed.
    """

    def __init__(
        self,
        functions: ViewFunctions,
        title: str,
        *,
        host: str = LOOPBACK,
        port: int = 8080,
        max_side_px: int = 800,
    ) -> None:
        try:
            import viser
        except ImportError as error:
            raise SettingsError(
                "the viewer needs the package viser: pip install 'eagleray[omniseg3d]'"
            ) from error
        self._gate = threading.Lock()
        self._visitors: dict[int, Visitor] = {}
        self._server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
        self._server.gui.configure_theme(control_layout="collapsible")
        self._arguments = (functions, self._gate, title, max_side_px)
        self._server.on_client_connect(self._enter)
        self._server.on_client_disconnect(self._leave)

    @property
    def address(self) -> str:
        """Where the viewer can be opened."""
        return f"http://{self._server.get_host()}:{self._server.get_port()}"

    def close(self) -> None:
        """Stop the viewer."""
        for visitor in list(self._visitors.values()):
            visitor.close()
        self._server.stop()

    def _enter(self, client: Any) -> None:
        self._visitors[client.client_id] = Visitor(client, *self._arguments)

    def _leave(self, client: Any) -> None:
        visitor = self._visitors.pop(client.client_id, None)
        if visitor is not None:
            visitor.close()


def view_run(
    storage: str,
    run_name: str,
    *,
    checkpoint: str,
    host: str,
    port: int,
    max_side_px: int,
    device: str,
) -> Viewer:
    """Open a run in the viewer.

    Args:
        storage: Folder that holds the runs.
        run_name: EXPERIMENT/RUN, RUN or EXPERIMENT.
        checkpoint: ``best``, ``last``, ``initial`` or a path.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        max_side_px: Longest side of a rendered image.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        SettingsError: There is no such run, or its task cannot be viewed.
    """
    run = find_run(storage, run_name)
    experiment = read_experiment(run)
    task = task_type(experiment.task)(experiment.settings)
    weights = find_weights(run, checkpoint, task, experiment.seed)
    chosen = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(task, weights, torch.device(chosen))
    functions = ViewFunctions(task, model)
    return Viewer(functions, run_name, host=host, port=port, max_side_px=max_side_px)


def serve_forever(viewer: Viewer) -> None:
    """Keep a viewer open until it is interrupted."""
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        viewer.close()
