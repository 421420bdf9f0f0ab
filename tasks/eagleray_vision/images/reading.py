"""Read any photograph as 8-bit RGB.

Files from the wild are truncated, empty, gray, palettes, CMYK, 16 bits deep, rotated by an EXIF tag
or far too large. Each of them either becomes an ``(H, W, 3)`` uint8 array or a typed error that
says what to do.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from eagleray.task import is_transient
from eagleray_vision.images.errors import UnreadableImageError, UnsupportedImageError

MAX_PIXELS = 178_956_970
"""Largest image accepted by default, in pixels: the size at which Pillow itself refuses (2 x
89478485)."""

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM")
"""Formats that are tried. Pillow knows more, some of which start other programs (EPS runs
Ghostscript) or read over the network."""

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""Files that are taken for photographs in a folder, in any case."""

DAMAGES = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise over damaged bytes."""

_DEEP_GRAY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_DEEP_GRAY_PER_LEVEL = 257
"""16-bit gray levels per 8-bit level: 65535 = 255 * 257."""


def read_rgb(
    source: str | Path | bytes,
    *,
    apply_orientation: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> npt.NDArray[np.uint8]:
    """Read an image file as 8-bit RGB.

    Alpha is dropped (colors as stored), CMYK and palettes are converted, 16-bit gray is scaled from
    0..65535 to 0..255, and of several frames the first is taken.

    Args:
        source: Path of the file, or its bytes.
        apply_orientation: Turn the picture upright according to its EXIF tag. Off by default,
            because label maps of the usual datasets follow the stored pixels.
        max_pixels: Refuse images with more pixels than this.

    Returns:
        ``(H, W, 3)`` uint8 array, a contiguous copy.

    Raises:
        UnreadableImageError: The file is missing, empty, truncated or no image.
        UnsupportedImageError: The image has more than ``max_pixels`` pixels or floating-point
            values.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> buffer = io.BytesIO()
        >>> Image.new("L", (4, 3), 7).save(buffer, "PNG")
        >>> read_rgb(buffer.getvalue()).shape
        (3, 4, 3)
    """
    name = describe_source(source)
    image = open_image(source, max_pixels=max_pixels)
    try:
        if apply_orientation:
            image = ImageOps.exif_transpose(image)
        return _to_rgb(image, name)
    except UnsupportedImageError:
        raise
    except DAMAGES as error:
        raise UnreadableImageError(
            f"{name}: the image data are damaged ({error}); copy or download the file again"
        ) from error


def open_image(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image without decoding its pixels.

    Args:
        source: Path of the file, or its bytes.
        max_pixels: Refuse images with more pixels than this.

    Returns:
        Pillow image; mode and size are known, pixels are not decoded yet.

    Raises:
        UnreadableImageError: The file is missing, empty or no image.
        UnsupportedImageError: The image has more than ``max_pixels`` pixels.
    """
    name = describe_source(source)
    data = source if isinstance(source, bytes) else read_bytes(Path(source))
    if not data:
        raise UnreadableImageError(f"{name}: the file is empty; copy or download it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnsupportedImageError(f"{name}: {error}; cut the image into tiles") from error
    except DAMAGES as error:
        raise UnreadableImageError(
            f"{name}: not an image that can be read (first bytes {data[:8]!r}); "
            f"accepted are {', '.join(FORMATS)}"
        ) from error
    width, height = image.size
    if width * height > max_pixels:
        raise UnsupportedImageError(
            f"{name}: {width} x {height} = {width * height} pixels, at most {max_pixels} are "
            "accepted; "
            "reduce the image, cut it into tiles or raise max_pixels"
        )
    return image


def describe_source(source: str | Path | bytes) -> str:
    """Name an image source in an error message: its path, or the number of bytes given."""
    return f"<{len(source)} bytes>" if isinstance(source, bytes) else str(source)


def read_bytes(path: Path) -> bytes:
    """Return an image file's bytes; raises UnreadableImageError where it cannot be read."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device never ends
            raise UnreadableImageError(
                f"{path}: cannot be read (a pipe, device or folder, no regular file); "
                "give an image file"
            )
        return path.read_bytes()
    except OSError as error:
        if is_transient(error):
            raise
        raise UnreadableImageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UnreadableImageError(f"{path}: no file can have this name ({error})") from error


def _to_rgb(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    if image.mode == "F":
        raise UnsupportedImageError(
            f"{name}: floating-point pixels have no agreed range; store the photograph with 8 or "
            "16 bits"
        )
    if image.mode in _DEEP_GRAY_MODES:
        return _deep_grey_to_rgb(np.asarray(image), name)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _deep_grey_to_rgb(values: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.uint8]:
    wide = values.astype(np.int64)
    if wide.min(initial=0) < 0 or wide.max(initial=0) > np.iinfo(np.uint16).max:
        raise UnsupportedImageError(
            f"{name}: gray values {wide.min()}..{wide.max()} leave the 16-bit range 0..65535; "
            "store the photograph with 8 or 16 bits"
        )
    gray = ((wide + _DEEP_GRAY_PER_LEVEL // 2) // _DEEP_GRAY_PER_LEVEL).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)
