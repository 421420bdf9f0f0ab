"""A folder in the original's intermediate format, as it is written: photographs and masks one by
one, the lists over all of them at the end. Every file appears whole or not at all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from eagleray.task import FolderWriter
from eagleray_seamseg.intermediate.metadata import METADATA_FILE
from eagleray_seamseg.intermediate.source import coco_categories, pack_metadata
from eagleray_vision.images.reading import read_bytes, read_rgb
from eagleray_vision.panoptic.label_space import LabelSpace

_SUFFIXES: Mapping[str, str] = {".png": ".png", ".jpg": ".jpg", ".jpeg": ".jpg"}
"""Photographs that are kept as they are, and how the original wants their names to end."""


class SeamlessFolder:
    """Writer of one folder.

    Args:
        root: The folder; made where it does not exist.
    """

    def __init__(self, root: Path) -> None:
        self._writer = FolderWriter(root)

    def claim(self) -> str:
        """Return the folder's own name, which it is given at the first call.

        Raises:
            SettingsError: A data set is there that was not written here.
        """
        hint = "name an empty folder in data.convert.folder"
        return self._writer.claim([METADATA_FILE], hint=hint)

    def remove_temporaries(self) -> None:
        """Delete what killed writers left; only while nothing else writes."""
        self._writer.remove_temporaries()

    def write_mask(self, image_id: str, png: bytes) -> None:
        """Write the mask of one image, a PNG with one channel of 16 bits."""
        self._writer.write(f"msk/{image_id}.png", png)

    def write_photo(
        self, image_id: str, photo: Path | bytes, mode: Literal["copy", "link"]
    ) -> None:
        """Put one photograph into ``img``: PNG and JPEG as they are, others become PNG.

        Args:
            image_id: Its id.
            photo: Its file, or the bytes of a PNG.
            mode: ``link`` makes a symbolic link to the file instead of a copy.
        """
        suffix = ".png" if isinstance(photo, bytes) else _SUFFIXES.get(photo.suffix.lower())
        ending = suffix or ".png"
        for other in sorted(set(_SUFFIXES.values()) - {ending}):
            self._writer.delete(f"img/{image_id}{other}")
        name = f"img/{image_id}{ending}"
        if isinstance(photo, bytes):
            self._writer.write(name, photo)
        elif suffix is None:
            self._writer.write(name, _png(read_rgb(photo)))
        elif mode == "link":
            self._writer.link(name, photo)
        else:
            self._writer.write(name, read_bytes(photo))

    def write_metadata(self, entries: Iterable[Mapping[str, Any]], space: LabelSpace) -> None:
        """Write ``metadata.bin`` over all images of all splits."""
        self._writer.write(METADATA_FILE, pack_metadata(list(entries), space))

    def write_list(self, split: str, image_ids: Iterable[str]) -> None:
        """Write the list of a split, one id per line."""
        text = "".join(f"{image_id}\n" for image_id in image_ids)
        self._writer.write(f"lst/{split}.txt", text.encode())

    def write_coco(
        self,
        split: str,
        images: Iterable[Mapping[str, Any]],
        annotations: Iterable[Mapping[str, Any]],
        space: LabelSpace,
        *,
        version: str,
        first_annotation_id: int,
    ) -> int:
        """Write the COCO list of a split, one entry at a time.

        Args:
            split: Name of the split.
            images: Entries of its images.
            annotations: Annotations of its things, which are numbered here.
            space: Class list.
            version: Version of the data set.
            first_annotation_id: Number of the first annotation.

        Returns:
            The number of annotations.
        """
        count = 0

        def numbered() -> Iterator[Mapping[str, Any]]:
            nonlocal count
            for annotation in annotations:
                yield {**annotation, "id": first_annotation_id + count}
                count += 1

        categories = json.dumps(coco_categories(space))

        def content() -> Iterator[bytes]:
            yield f'{{"info": {json.dumps({"version": version})}, "images": ['.encode()
            yield from _entries(images)
            yield f'], "categories": {categories}, "annotations": ['.encode()
            yield from _entries(numbered())
            yield b"]}"

        self._writer.write(f"coco/{split}.json", content())
        return count


def _entries(entries: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    for position, entry in enumerate(entries):
        yield f"{', ' if position else ''}{json.dumps(entry)}".encode()


def _png(image: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
