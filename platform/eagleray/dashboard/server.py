"""Serving the dashboard: on this machine by default, elsewhere only to those who know a token."""

from __future__ import annotations

import logging
import sys
from urllib.parse import quote

from werkzeug.serving import make_server

from eagleray.dashboard.app import make_app
from eagleray.listening import checked_port, is_loopback, new_token
from eagleray.storage import Store
from eagleray.task import SettingsError


def serve(storage: str, *, host: str = "127.0.0.1", port: int = 8050, token: str = "") -> None:
    """Serve the dashboard until it is interrupted.

    Args:
        storage: Folder or URI that holds the runs.
        host: Address to listen on; any other than loopback needs a token.
        port: Port, 0 for a free one.
        token: The token; without one a new one is made where it is needed.

    Raises:
        SettingsError: There is no such folder, or the address cannot be listened on.
    """
    checked_port(port)
    store = Store(storage)
    if store.is_local and not store.local_path("x").parent.is_dir():
        raise SettingsError(f"there is no folder {store.uri!r}; --storage names the one with runs/")
    needed = token or (None if is_loopback(host) else new_token())
    app = make_app(storage, token=needed)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    try:
        server = make_server(host, port, app.server, threaded=True)
    except (OSError, SystemExit) as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error}; try another --port"
        ) from error
    query = f"/?token={quote(needed)}" if needed else "/"
    sys.stdout.write(f"dashboard of {store.uri}: http://{host}:{server.server_port}{query}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    finally:
        server.server_close()
