"""Typed errors for scenes, masks and clicks that cannot be used."""

from __future__ import annotations

from eagleray.task import InputError


class SceneError(InputError):
    """Base of everything that can be wrong with a captured scene."""


class PoseError(SceneError):
    """A camera pose is no rigid transform (no rotation, not finite)."""


class MissingImageError(SceneError):
    """An image that the poses name is not there, or none at all."""


class ColmapFileError(SceneError):
    """A COLMAP file is cut short, malformed or of an unknown kind."""


class CameraModelError(SceneError):
    """A camera model that has no pinhole form here."""


class MaskError(InputError):
    """Masks or a hierarchy that cannot be used, or do not fit their image."""


class SelectionError(InputError):
    """A click outside the image or on nothing, or an empty selection."""
