"""``metadata.bin`` of the original's intermediate format, read and checked.

A MessagePack map: ``meta`` with the class list, and ``images`` with size, categories and crowd
flags. Prediction needs ``meta`` alone, so that a stripped file without ``images`` is one as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgpack

from eagleray_vision.panoptic.errors import MissingLabelFileError, SegmentListError
from eagleray_vision.panoptic.label_space import LabelSpace

METADATA_FILE = "metadata.bin"

_META_KEYS = ("categories", "num_stuff", "num_thing", "palette", "original_ids")
_IMAGE_KEYS = ("id", "size", "cat", "iscrowd")


@dataclass(frozen=True)
class SeamlessMetadata:
    """The content of a ``metadata.bin``.

    Attributes:
        space: Class list.
        images: Entry of every image by its id, in the order of the file; None where the file was
            stripped of them.
    """

    space: LabelSpace
    images: Mapping[str, Mapping[str, Any]] | None


def read_metadata(path: Path) -> SeamlessMetadata:
    """Read the ``metadata.bin`` of a converted data set.

    Args:
        path: The file.

    Raises:
        MissingLabelFileError: It does not exist.
        SegmentListError: See `parse_metadata`.
    """
    if not path.is_file():  # a pipe would be waited for
        raise MissingLabelFileError(f"{path}: not found; is this the root of a converted data set?")
    return parse_metadata(path.read_bytes(), str(path), path.parent.name)


def parse_metadata(content: bytes, origin: str, name: str) -> SeamlessMetadata:
    """Check the bytes of a ``metadata.bin``.

    Args:
        content: The bytes.
        origin: Where they were read, for messages.
        name: What to call the class list.

    Raises:
        SegmentListError: They are no MessagePack or cut off, a key is missing or of another type,
            the class list contradicts itself, or an image is there twice.
    """
    try:
        unpacked = msgpack.unpackb(content, raw=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise SegmentListError(
            f"{origin}: no metadata of a converted data set: not MessagePack, or cut off "
            f"({type(error).__name__}: {error}); copy the file again or convert the data set again"
        ) from error
    if not isinstance(unpacked, Mapping) or not isinstance(unpacked.get("meta"), Mapping):
        instead = sorted(map(str, unpacked)) if isinstance(unpacked, Mapping) else type(unpacked)
        raise SegmentListError(
            f"{origin}: no metadata of a converted data set: 'meta' is missing, found {instead}"
        )
    space = _label_space(unpacked["meta"], origin, name)
    images = unpacked.get("images")
    return SeamlessMetadata(space, None if images is None else _images(images, origin))


def _label_space(meta: Mapping[str, Any], origin: str, name: str) -> LabelSpace:
    missing = [key for key in _META_KEYS if key not in meta]
    if missing:
        raise SegmentListError(f"{origin}: 'meta' lacks {', '.join(missing)}")
    try:
        names = tuple(str(one) for one in meta["categories"])
        num_stuff, num_thing = int(meta["num_stuff"]), int(meta["num_thing"])
        space = LabelSpace(
            name,
            names,
            num_stuff,
            tuple(int(one) for one in meta["original_ids"]),
            tuple((int(r), int(g), int(b)) for r, g, b in meta["palette"][: len(names)]),
        )
    except (TypeError, ValueError, OverflowError, KeyError) as error:
        raise SegmentListError(f"{origin}: the class list is malformed ({error})") from error
    if num_stuff + num_thing != len(names):
        raise SegmentListError(
            f"{origin}: {num_stuff} stuff and {num_thing} thing classes, but {len(names)} names"
        )
    return space


def _images(entries: Any, origin: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(entries, list):
        raise SegmentListError(f"{origin}: 'images' is a {type(entries).__name__}, not a list")
    by_id: dict[str, Mapping[str, Any]] = {}
    for position, entry in enumerate(entries):
        missing = [k for k in _IMAGE_KEYS if not isinstance(entry, Mapping) or k not in entry]
        if missing:
            raise SegmentListError(f"{origin}: images[{position}] lacks {', '.join(missing)}")
        image_id = str(entry["id"])
        parts = PurePosixPath(image_id).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise SegmentListError(
                f"{origin}: images[{position}] has the id {image_id!r}, which is no file name"
            )
        if image_id in by_id:
            raise SegmentListError(
                f"{origin}: image {image_id!r} is listed twice; ids must be unique over all splits"
            )
        by_id[image_id] = entry
    return by_id
