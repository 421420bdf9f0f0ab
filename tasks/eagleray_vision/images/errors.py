"""Typed errors for photographs that cannot be used."""

from __future__ import annotations

from eagleray.task import InputError


class ImageError(InputError):
    """Base of everything that can be wrong with an image file."""


class UnreadableImageError(ImageError):
    """The file is missing, empty, truncated or no image at all."""


class UnsupportedImageError(ImageError):
    """The file is an image, but of a kind or size that is not accepted."""


class ImageSizeMismatchError(ImageError):
    """Two rasters that must cover the same pixels have different sizes."""
