"""A dataset folder that is filled file by file, survives being killed, and never mixes two recipes.

Every file appears whole or not at all: it is written under a temporary name, flushed to the disk
and
renamed. So a file that exists is complete, and the same call continues where the last one ended.
``toyworld.json`` holds the recipe; a folder made by another recipe is refused.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from eagleray.task import EaglerayError

RECIPE_FILE = "toyworld.json"


class FolderError(EaglerayError):
    """The folder cannot be written, or holds another dataset."""


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that appears whole or not at all.

    Args:
        path: Target; an older file of that name is replaced.
        chunks: Content in order.

    Raises:
        FolderError: The disk refuses (no permission, no space); nothing is left behind.
    """
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            handle.writelines(chunks)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        raise FolderError(
            f"cannot write {path} ({error.strerror or error}): check that the folder is writable "
            "and the disk is not full, then give the same command again; what is there is kept"
        ) from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # The folder itself cannot be reached; the error above says so.


class DatasetFolder:
    """One dataset on the local disk.

    Args:
        root: The folder; made if it does not exist.
        recipe: Everything the files depend on, JSON values.

    Raises:
        FolderError: It cannot be written, or was filled by another recipe.
    """

    def __init__(self, root: Path, recipe: Mapping[str, Any]) -> None:
        self.root = root
        text = json.dumps(recipe, indent=1, sort_keys=True)
        known = root / RECIPE_FILE
        try:
            found = known.read_text() if known.exists() else None
        except OSError as error:
            raise FolderError(f"cannot read {known} ({error.strerror or error})") from error
        if found is None:
            write_atomically(known, [text.encode()])
        elif found != text:
            raise FolderError(
                f"{root} holds a toy world of another recipe (found {' '.join(found.split())}, "
                f"asked {' '.join(text.split())}): choose another folder or delete this one"
            )

    def has(self, names: Iterable[str]) -> bool:
        """Return whether all these files (relative POSIX paths) are there."""
        return all(self.path(name).is_file() for name in names)

    def path(self, name: str) -> Path:
        """Return the path of a file of the dataset.

        Raises:
            FolderError: The name leaves the folder.
        """
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise FolderError(f"file name {name!r} must be relative and stay inside {self.root}")
        return self.root.joinpath(*parts)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files by relative POSIX path, each one atomically."""
        for name, content in files.items():
            write_atomically(self.path(name), [content])
