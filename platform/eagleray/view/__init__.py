"""A viewer in the browser for tasks whose results can be looked at from any side."""

from eagleray.view.server import Viewer, view_run

__all__ = ["Viewer", "view_run"]
