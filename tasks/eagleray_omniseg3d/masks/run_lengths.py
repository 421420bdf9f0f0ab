"""COCO run lengths: encoding, decoding, and reading the JSON layouts in which tools store masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from eagleray_omniseg3d.errors import MaskError
from eagleray_vision.images.reading import MAX_PIXELS
from eagleray_vision.json_file import read_json, whole_number

BoolArray = npt.NDArray[np.bool_]

_MOST_CHARACTERS = 7
"""Characters of one compressed count: 35 bits, more than any image has pixels."""
_LISTS = ("masks", "annotations", "segments_info")


def encode_masks(masks: BoolArray) -> list[dict[str, Any]]:
    """Return (N, H, W) booleans as compressed run lengths, JSON values."""
    columns = np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))
    return [
        {"size": [int(v) for v in code["size"]], "counts": code["counts"].decode()}
        for code in coco_mask.encode(columns)
    ]


def decode_masks(
    codes: Sequence[Mapping[str, Any]], name: str, size_hw: tuple[int, int] | None = None
) -> BoolArray:
    """Return run lengths (compressed or not) as (N, H, W) booleans.

    Args:
        codes: ``size`` (H, W) and ``counts`` each; all of one size.
        name: Whose masks, for error messages.
        size_hw: Size that they must have, None to take any.

    Raises:
        MaskError: No mask at all, different sizes, or counts that do not fill the size.
    """
    sizes = {_size_of(code, name) for code in codes}
    if len(sizes) != 1:
        raise MaskError(f"{name}: masks must have one size, found {sorted(sizes) or 'no mask'}")
    height, width = sizes.pop()
    _require_size((height, width), size_hw, name)
    out = np.empty((len(codes), height, width), np.bool_)
    for index, code in enumerate(codes):
        counts = code["counts"]
        try:
            if isinstance(counts, list):
                if min((whole_number(one, "a count") for one in counts), default=0) < 0:
                    raise ValueError("a count is negative")
                if sum(counts) != height * width:
                    raise ValueError(f"counts add up to {sum(counts)}, not {height * width}")
                runs = {"size": [height, width], "counts": [int(one) for one in counts]}
                code = coco_mask.frPyObjects(runs, height, width)
            else:
                if not isinstance(counts, str | bytes):
                    raise TypeError(f"counts are a {type(counts).__name__}")
                counts = counts.encode() if isinstance(counts, str) else counts
                _require_full(counts, height * width)
                code = {"size": [height, width], "counts": counts}
            out[index] = coco_mask.decode(code)
        except (ValueError, TypeError, KeyError) as error:
            raise MaskError(f"{name}: mask {index} cannot be decoded ({error})") from error
    return out


def compressed_runs(counts: bytes) -> npt.NDArray[np.int64]:
    """Return the run lengths that a compressed string holds, of background and mask in turns.

    Every character carries 5 bits, lowest first, and says whether more follow; the last one's
    highest bit is the sign. From the fourth run on, differences to the run before the last are
    stored.

    Raises:
        ValueError: It holds other characters, or ends within a number.
    """
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    is_last = (codes & 0x20) == 0
    if codes.min() < 0 or codes.max() > 0x3F or not is_last[-1]:
        raise ValueError("the compressed counts are cut or damaged")
    ends = np.flatnonzero(is_last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _MOST_CHARACTERS:
        raise ValueError("a compressed count is too long for a number")
    shift = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
    values = np.add.reduceat((codes & 0x1F) << shift, starts)
    values -= np.where(codes[ends] & 0x10, 1 << (5 * (ends - starts + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _require_full(counts: bytes, num_pixels: int) -> None:
    """Check that compressed counts fill the size: pycocotools leaves the rest to chance."""
    runs = compressed_runs(counts)
    if (runs < 0).any() or int(runs.sum()) != num_pixels:
        raise ValueError(f"counts add up to {int(runs.sum())}, not {num_pixels}")


def read_mask_records(path: Path) -> list[Mapping[str, Any]]:
    """Return the records of a mask file, each with ``segmentation`` {size, counts}.

    Read are: a list of records or of run lengths (Segment Anything's output), an object with
    ``masks`` or ``annotations`` (COCO, SA-1B).

    Raises:
        MaskError: The file is missing, no JSON, or holds no run lengths.
    """
    values = read_json(path, MaskError)
    if isinstance(values, Mapping):
        values = next((values[key] for key in _LISTS if key in values), None)
    if not isinstance(values, list):
        raise MaskError(f"{path}: neither a list of masks nor an object with one of {_LISTS}")
    return list(_records(values, path))


def read_mask_file(path: Path, size_hw: tuple[int, int]) -> BoolArray:
    """Read the masks of one image.

    Args:
        path: JSON file, see ``read_mask_records``.
        size_hw: Size of the image; a view without masks gives (0, H, W).

    Raises:
        MaskError: As ``read_mask_records``, or masks of another size than the image.
    """
    codes = [record["segmentation"] for record in read_mask_records(path)]
    if not codes:
        return np.zeros((0, *size_hw), np.bool_)
    return decode_masks(codes, str(path), size_hw)


def read_sav_frame(path: Path, frame_idx: int, size_hw: tuple[int, int] | None = None) -> BoolArray:
    """Read one annotated frame of an SA-V file (``masklet[frame][object]``) as (N, H, W).

    Args:
        path: The file.
        frame_idx: Number of the annotated frame.
        size_hw: Size of the image, None to take any.

    Raises:
        MaskError: The file has no such frame or no masklets, or masks of another size.
    """
    values = read_json(path, MaskError)
    try:
        codes = values["masklet"][frame_idx]
        codes = [record["segmentation"] for record in _records(list(codes), path)]
    except (KeyError, IndexError, TypeError) as error:
        raise MaskError(f"{path}: no masklet of frame {frame_idx} ({error!r})") from error
    masks = decode_masks(codes, f"{path}, frame {frame_idx}", size_hw)
    return masks[masks.any(axis=(1, 2))]


def _size_of(code: Mapping[str, Any], name: str) -> tuple[int, int]:
    try:
        height, width = (whole_number(side, "a side") for side in code["size"])
        if min(height, width) < 1 or height * width > MAX_PIXELS:
            raise ValueError(f"{height} x {width} pixels, allowed are 1 to {MAX_PIXELS}")
    except (TypeError, ValueError, KeyError) as error:
        raise MaskError(f"{name}: size must be height and width ({error})") from error
    return height, width


def _require_size(found: tuple[int, int], size_hw: tuple[int, int] | None, name: str) -> None:
    if size_hw is not None and found != size_hw:
        raise MaskError(
            f"{name}: masks of {found} pixels (H, W) for an image of {size_hw}; "
            "make them from the same image"
        )


def _records(values: list[Any], path: Path) -> Iterator[Mapping[str, Any]]:
    for index, value in enumerate(values):
        record = value if isinstance(value, Mapping) else {}
        record = record if "segmentation" in record else {"segmentation": record}
        code = record["segmentation"]
        if not isinstance(code, Mapping) or not {"size", "counts"} <= set(code):
            raise MaskError(f"{path}: mask {index} is no run length with size and counts")
        yield record
