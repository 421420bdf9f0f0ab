"""Reading, resizing and drawing photographs."""

from eagleray_vision.images.errors import (
    ImageError,
    ImageSizeMismatchError,
    UnreadableImageError,
    UnsupportedImageError,
)
from eagleray_vision.images.reading import read_rgb

__all__ = [
    "ImageError",
    "ImageSizeMismatchError",
    "UnreadableImageError",
    "UnsupportedImageError",
    "read_rgb",
]
