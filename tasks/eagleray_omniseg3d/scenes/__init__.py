"""Readers of captured scenes; each gives a ``Scene`` in the same conventions."""

from eagleray_omniseg3d.scenes.scene import Scene, View

__all__ = ["Scene", "View"]
