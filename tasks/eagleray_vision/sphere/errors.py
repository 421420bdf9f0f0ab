"""Typed error of pictures of the sphere."""

from __future__ import annotations

from eagleray.task import InputError


class SphereError(InputError):
    """A picture that is no panorama, cube map or view of the asked kind."""
