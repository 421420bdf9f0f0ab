"""Writing masks and patches as the original's ``run_sam`` leaves them, as one more stage.

Its programs look for ``sam/<stem>.npz`` beside the images; ``masks/`` and ``patches/`` hold its
overlays. The files are whole at any time, so a job that was killed goes on where it stopped; a
folder that was deleted is written anew.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eagleray.task import InputError, Item, Record, Resources, Rows, Settings, Stage
from eagleray_omniseg3d.stages import MASKS_LABEL, PATCHES_LABEL, TRAIN, hierarchy_file

_CLAIM = ".eagleray"
"""Name of the file by which a folder is known again."""


class OriginalFolderSettings(Settings):
    """What is written where."""

    folder: str
    """The folder."""
    pictures: bool
    """Whether overlays are there to be written."""


@dataclass(frozen=True, slots=True)
class _Files:
    key: str
    content: Mapping[str, bytes]


class OriginalFolderStage(Stage):
    """Writes ``sam/``, ``masks/`` and ``patches/`` into a folder.

    Args:
        folder: Where; usually the scene's own folder.
        pictures: Write overlays too.
    """

    name = "original_folder"
    version = 1
    source = TRAIN
    schema: Mapping[str, str] = {"files": "list<string>"}
    upstream = (MASKS_LABEL, PATCHES_LABEL)
    resources = Resources(seconds_per_item=0.1, loader_threads=2)

    def __init__(self, folder: Path, *, pictures: bool) -> None:
        self._folder, self._pictures = folder.absolute(), pictures

    def settings(self) -> OriginalFolderSettings:
        """Return the folder and what goes there."""
        return OriginalFolderSettings(folder=str(self._folder), pictures=self._pictures)

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the images that have patches.

        Raises:
            InputError: The folder cannot be written.
        """
        claim = self._claim()
        masks, patches = upstream[MASKS_LABEL], upstream[PATCHES_LABEL]
        for key in patches.keys():  # noqa: SIM118 (Rows is no mapping)
            payload = {"file_name": str(masks[key]["file_name"])}
            yield Item(key, f"{claim}/{patches[key]['num_patches']}", payload)

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Keep the rows."""
        self._rows = upstream

    def load(self, item: Item) -> _Files:
        """Read the prepared files of one image."""
        places = {hierarchy_file(item.key): PATCHES_LABEL}
        if self._pictures:
            name = item.payload["file_name"]
            places |= {f"masks/{name}": MASKS_LABEL, f"patches/{name}": PATCHES_LABEL}
        rows = self._rows
        content = {name: rows[label].read_file(item.key, name) for name, label in places.items()}
        return _Files(item.key, content)

    def process(self, samples: Sequence[_Files]) -> Sequence[Sequence[Record]]:
        """Write the files of images."""
        for sample in samples:
            for name, content in sample.content.items():
                _write_whole(self._folder / name, content)
        return [[Record(sample.key, {"files": sorted(sample.content)})] for sample in samples]

    def _claim(self) -> str:
        """Return a name for this very folder, which a new one in its place does not have."""
        path = self._folder / "sam" / _CLAIM
        try:
            if not path.is_file():
                _write_whole(path, uuid.uuid4().hex.encode())
            return path.read_text()
        except OSError as error:
            raise InputError(
                f"masks.folder {str(self._folder)!r} cannot be written ({error.strerror})"
            ) from error


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
