"""A folder in the original's intermediate format (spec 4), as it is written: photographs and masks
one by one, the lists over all of them at the end. Every file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from PIL import Image

from eagleray.task import SettingsError
from eagleray_seamseg.intermediate.metadata import METADATA_FILE
from eagleray_seamseg.intermediate.source import coco_categories, pack_metadata
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.panoptic.label_space import LabelSpace

_OWNER_FILE = ".eagleray"
"""Names the folder, so that one that was deleted and is there again is another one."""
_TEMPORARY = ".tmp-"
"""Beginning of the names of files that are being written."""
_SUFFIXES: Mapping[str, str] = {".png": ".png", ".jpg": ".jpg", ".jpeg": ".jpg"}
"""Photographs that are kept as they are, and how the original wants their names to end."""


class SeamlessFolder:
    """Writer of one folder.

    Args:
        root: The folder; made where it does not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def claim(self) -> str:
        """Return the folder's own name, which it is given at the first call.

        Raises:
            SettingsError: A data set is there that was not written here.
        """
        owner = self.root / _OWNER_FILE
        if not owner.is_file():
            if (self.root / METADATA_FILE).exists():
                raise SettingsError(
                    f"{self.root} holds a converted data set of another origin "
                    f"({METADATA_FILE}), which is not replaced: name an empty folder in "
                    "data.convert.folder"
                )
            self.root.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError), owner.open("x") as file:
                file.write(uuid.uuid4().hex)
        return owner.read_text()

    def remove_temporaries(self) -> None:
        """Delete what killed writers left; only while nothing else writes."""
        for path in self.root.rglob(f"{_TEMPORARY}*"):
            path.unlink(missing_ok=True)

    def write_mask(self, image_id: str, png: bytes) -> None:
        """Write the mask of one image, a PNG with one channel of 16 bits."""
        _write(self.root / "msk" / f"{image_id}.png", png)

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
        target = self.root / "img" / f"{image_id}{suffix or '.png'}"
        for other in set(_SUFFIXES.values()) - {target.suffix}:
            target.with_name(f"{image_id}{other}").unlink(missing_ok=True)
        if isinstance(photo, bytes):
            _write(target, photo)
        elif suffix is None:
            _write(target, _png(read_rgb(photo)))
        elif mode == "link":
            _link(target, photo.absolute())
        else:
            _write(target, photo.read_bytes())

    def write_metadata(self, entries: Iterable[Mapping[str, Any]], space: LabelSpace) -> None:
        """Write ``metadata.bin`` over all images of all splits."""
        _write(self.root / METADATA_FILE, pack_metadata(list(entries), space))

    def write_list(self, split: str, image_ids: Iterable[str]) -> None:
        """Write the list of a split, one id per line."""
        text = "".join(f"{image_id}\n" for image_id in image_ids)
        _write(self.root / "lst" / f"{split}.txt", text.encode())

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
        numbered = (
            {**one, "id": number} for number, one in enumerate(annotations, first_annotation_id)
        )
        with _whole(self.root / "coco" / f"{split}.json") as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
            text.write(f'{{"info": {json.dumps({"version": version})}, "images": [')
            _write_entries(text, images)
            text.write(f'], "categories": {json.dumps(coco_categories(space))}, "annotations": [')
            count = _write_entries(text, numbered)
            text.write("]}")
            text.detach()
        return count


def _write_entries(text: IO[str], entries: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    for entry in entries:
        text.write(f"{', ' if count else ''}{json.dumps(entry)}")
        count += 1
    return count


def _write(path: Path, content: bytes) -> None:
    with _whole(path) as file:
        file.write(content)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its place once it is complete."""
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _link(target: Path, source: Path) -> None:
    temporary = _temporary(target)
    temporary.symlink_to(source)
    temporary.replace(target)


def _temporary(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}")


def _png(image: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
