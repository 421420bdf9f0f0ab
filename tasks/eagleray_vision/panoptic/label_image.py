"""Label maps in PNG files: 24-bit ids in three channels, and 16-bit ids in one.

COCO panoptic: ``id = R + 256 G + 65536 B``. Cityscapes and the Seamless format: one channel of 16
bits, which Pillow opens as another mode in every few versions and refuses to write from 32 bits
since version 13.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from eagleray_vision.images.errors import UnreadableImageError
from eagleray_vision.images.reading import DAMAGES, describe_source, open_image
from eagleray_vision.panoptic.errors import (
    LabelFormatError,
    MissingLabelFileError,
    SegmentListError,
)
from eagleray_vision.panoptic.panoptic_map import NUM_SEGMENT_IDS

_BITS_OF_ID = 0x00FFFFFF
_STRIP_ROWS = 32
_LOSSY_FORMATS = ("JPEG", "JPEG2000", "WEBP")
_OTHER_DEPTHS = ("RGB;16", "RGBA;16", "LA;16", "L;2", "L;4")
_NARROW_MODES = ("L", "1", "P")
_WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_rgb_ids(source: str | Path | bytes) -> npt.NDArray[np.uint32]:
    """Read a map of 24-bit ids from a PNG with three channels.

    Args:
        source: Path of the file, or its bytes.

    Returns:
        ``(H, W)`` uint32 ids, ``R + 256 G + 65536 B``.

    Raises:
        MissingLabelFileError: The file does not exist.
        UnreadableImageError: The file is empty, damaged or no image.
        LabelFormatError: The image has no three color channels.
    """
    name = describe_source(source)
    image = _open_label(source)
    if image.mode not in ("RGB", "RGBA"):
        raise LabelFormatError(
            f"{name}: mode {image.mode}, but panoptic ids need an RGB PNG "
            "(id = R + 256 G + 65536 B)"
        )
    return _unpack_ids(_decoded(image, name))


def rgb_ids_png(ids: npt.NDArray[np.integer[Any]]) -> bytes:
    """Encode a map of 24-bit ids as a PNG with three channels.

    Args:
        ids: ``(H, W)`` ids in 0..2^24-1.

    Returns:
        PNG bytes.

    Raises:
        SegmentListError: An id does not fit in 24 bits.
    """
    return encode_png(rgb_of_ids(ids))


def rgb_of_ids(ids: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """Spread 24-bit ids over three channels.

    Args:
        ids: ``(H, W)`` ids in 0..2^24-1.

    Returns:
        ``(H, W, 3)`` uint8, ``(id % 256, id // 256 % 256, id // 65536)``.

    Raises:
        SegmentListError: An id does not fit in 24 bits.
    """
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if low < 0 or high >= NUM_SEGMENT_IDS:
        raise SegmentListError(
            f"ids {low}..{high} do not fit in 24 bits (0..{NUM_SEGMENT_IDS - 1})"
        )
    packed = np.ascontiguousarray(ids, dtype="<u4")
    return np.ascontiguousarray(packed.view(np.uint8).reshape(*ids.shape, 4)[..., :3])


def read_deep_ids(source: str | Path | bytes) -> npt.NDArray[np.int32]:
    """Read a map of ids from a PNG with one channel of 8 or 16 bits, whatever Pillow calls its
    mode.

    Args:
        source: Path of the file, or its bytes.

    Returns:
        ``(H, W)`` int32 ids; a palette image gives its indices.

    Raises:
        MissingLabelFileError: The file does not exist.
        UnreadableImageError: The file is empty, damaged or no image.
        LabelFormatError: The image has several channels.
    """
    name = describe_source(source)
    image = _open_label(source)
    if image.mode not in (*_NARROW_MODES, *_WIDE_MODES):
        raise LabelFormatError(
            f"{name}: mode {image.mode}, but ids need one channel of 8 or 16 bits; "
            "a colored preview (*_color.png) is no label file"
        )
    return np.asarray(_decoded(image, name)).astype(np.int32)


def deep_ids_png(ids: npt.NDArray[np.integer[Any]]) -> bytes:
    """Encode a map of ids as a PNG with one channel of 16 bits.

    Args:
        ids: ``(H, W)`` ids in 0..65535.

    Returns:
        PNG bytes.

    Raises:
        SegmentListError: An id does not fit in 16 bits.
    """
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise SegmentListError(f"ids {low}..{high} do not fit in 16 bits (0..65535)")
    return encode_png(ids.astype(np.uint16))


def encode_png(pixels: npt.NDArray[np.generic]) -> bytes:
    """Encode an array as PNG.

    Args:
        pixels: ``(H, W)`` uint8 or uint16, or ``(H, W, 3)`` uint8.

    Returns:
        PNG bytes.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _open_label(source: str | Path | bytes) -> Image.Image:
    if not isinstance(source, bytes) and not Path(source).is_file():
        what = "is no regular file" if Path(source).exists() else "does not exist"
        raise MissingLabelFileError(
            f"{source}: the label file {what}; check the folder and the file name"
        )
    image = open_image(source)
    problem = _format_problem(image)
    if problem:
        raise LabelFormatError(
            f"{describe_source(source)}: {problem}; a label is a PNG of one picture, with one "
            "channel of 8 or 16 bits or three of 8"
        )
    return image


def _format_problem(image: Image.Image) -> str:
    """Say why the pixels would not be the ids that were meant; empty where they are.

    Lossy formats change ids, and Pillow cuts channels of 16 bits to 8 and spreads 2 and 4 bits over
    0..255 without a word.
    """
    if image.format in _LOSSY_FORMATS:
        return f"{image.format} may change ids"
    try:
        num_pictures = int(getattr(image, "n_frames", 1))
    except DAMAGES as error:
        return f"its pictures cannot be counted ({error})"
    if num_pictures > 1:
        return f"it has {num_pictures} pictures"
    tiles = getattr(image, "tile", ()) if image.format == "PNG" else ()
    raw_mode = str(tiles[0].args) if tiles else ""
    if any(depth in raw_mode for depth in _OTHER_DEPTHS):
        return f"its channels are stored as {raw_mode}"
    return ""


def _unpack_ids(image: Image.Image) -> npt.NDArray[np.uint32]:
    # Pillow keeps RGB in four bytes per pixel: this raw mode copies without repacking, and strips
    # keep the copies in the processor's cache.
    raw_mode = "RGBX" if image.mode == "RGB" else "RGBA"
    width, height = image.size
    ids = np.empty((height, width), dtype=np.uint32)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, height)
        strip = image.crop((0, top, width, bottom)).tobytes("raw", raw_mode)
        packed = np.frombuffer(strip, dtype="<u4").reshape(bottom - top, width)
        np.bitwise_and(packed, np.uint32(_BITS_OF_ID), out=ids[top:bottom])
    return ids


def _decoded(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
    except DAMAGES as error:
        raise UnreadableImageError(
            f"{name}: the label image is damaged ({error}); copy or download the file again"
        ) from error
    return image
