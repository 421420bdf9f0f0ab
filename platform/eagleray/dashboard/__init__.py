"""Results of runs in the browser: reads a store, changes nothing in it."""

from eagleray.dashboard.app import make_app
from eagleray.dashboard.server import serve

__all__ = ["make_app", "serve"]
