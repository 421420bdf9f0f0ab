"""Serving the viewer: one port, this machine only unless told otherwise, any number of windows.

The page, its images and its clicks all go through the one port, so a forwarded port is enough to
look at a run on a cluster. On an address that others can reach, only who knows the token gets in.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import torch

from eagleray.contract.task import require
from eagleray.evaluate.model_stage import load_model
from eagleray.evaluate.weights import find_weights
from eagleray.experiment.discovery import nearest, task_type
from eagleray.listening import is_loopback, new_token
from eagleray.prepare import StageAddress, StageFolder, open_rows
from eagleray.runs.run_folder import RunFolder, find_run
from eagleray.storage import Store
from eagleray.task import Rows, Scene, SettingsError, Viewing
from eagleray.view.session import ClientSession
from eagleray.view.turns import Turns

LOOPBACK = "127.0.0.1"
_EVERYWHERE = ("0.0.0.0", "::")


class Viewer:
    """A running viewer.

    Args:
        scene: What is looked at.
        title: Shown on top of the panel.
        host: Address to listen on; any other than loopback needs a token.
        port: Port; 0 takes a free one, one in use the next free one.
        max_side_px: Longest side of a rendered image.
        token: The token; without one a new one is made where it is needed.

    Raises:
        SettingsError: viser is not installed, or the address cannot be listened on.
    """

    def __init__(
        self,
        scene: Scene[Any],
        title: str,
        *,
        host: str = LOOPBACK,
        port: int = 8080,
        max_side_px: int = 800,
        token: str = "",
    ) -> None:
        try:
            from eagleray.view.guarded_server import GuardedServer
        except ImportError as error:
            raise SettingsError(
                "the viewer needs the package viser: pip install 'eagleray[view]'"
            ) from error
        _require_address(host, port)
        self.token = token or (None if is_loopback(host) else new_token())
        self._host = host
        self._sessions: dict[int, ClientSession] = {}
        self._arguments = (scene, Turns(), title, max_side_px)
        self._server = GuardedServer(host=host, port=port, label=title, token=self.token)
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        self._server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._server.gui.main_panel.dock_right()
        self._server.on_client_connect(self._enter)
        self._server.on_client_disconnect(self._leave)

    @property
    def address(self) -> str:
        """Where the viewer can be opened, with the token where one is needed."""
        name = socket.gethostname() if self._host in _EVERYWHERE else self._host
        name = f"[{name}]" if ":" in name else name
        query = f"/?token={quote(self.token)}" if self.token else ""
        return f"http://{name}:{self._server.get_port()}{query}"

    def close(self) -> None:
        """Stop the viewer."""
        for session in list(self._sessions.values()):
            session.close()
        self._server.stop()

    def _enter(self, client: Any) -> None:
        self._sessions[client.client_id] = ClientSession(client, *self._arguments)

    def _leave(self, client: Any) -> None:
        session = self._sessions.pop(client.client_id, None)
        if session is not None:
            session.close()


def view_run(
    storage: str,
    run_name: str,
    *,
    checkpoint: str,
    host: str,
    port: int,
    max_side_px: int,
    device: str,
    token: str = "",
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
        token: See Viewer.

    Raises:
        SettingsError: There is no such run, its task cannot be viewed, or the address cannot be
            listened on.
    """
    run = find_run(storage, run_name)
    experiment = run.experiment()
    task = require(task_type(experiment.task)(experiment.settings), Viewing)
    weights = find_weights(run, checkpoint, task, experiment.seed)
    chosen = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(task, weights, torch.device(chosen))
    scene = task.interactive_scene(model, RecordedRows(run, Store(storage)))
    return Viewer(scene, run_name, host=host, port=port, max_side_px=max_side_px, token=token)


class RecordedRows(Mapping[str, Rows]):
    """Rows of the prepared stages that a run used, by label; opened when they are asked for, since
    a run outlives the data that it was made from.

    Args:
        run: The run.
        storage: Folder that holds prepared data.
    """

    def __init__(self, run: RunFolder, storage: Store) -> None:
        self._run, self._storage = run, storage
        self._opened: dict[str, Rows] = {}

    def __getitem__(self, label: str) -> Rows:
        if label not in self._opened:
            fingerprints = self._run.fingerprints()
            if label not in fingerprints:
                raise SettingsError(
                    f"run {self._run.name} used no prepared stage {label!r}; "
                    f"{nearest(label, list(fingerprints))}"
                )
            address = StageAddress(
                self._run.summary().task, label.partition(":")[0], fingerprints[label]
            )
            self._opened[label] = open_rows(StageFolder.prepared(self._storage, address))
        return self._opened[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._run.fingerprints())

    def __len__(self) -> int:
        return len(self._run.fingerprints())


def serve_forever(viewer: Viewer) -> None:
    """Keep a viewer open until it is interrupted."""
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        viewer.close()


def _require_address(host: str, port: int) -> None:
    """Check what viser would wait for without end: an address that cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return
        raise SettingsError(f"cannot listen on {host}:{port}: {error}") from error
