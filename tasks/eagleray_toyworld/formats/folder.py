"""A dataset folder that is filled file by file, survives being killed, and never mixes two recipes.

A file that exists is complete, so the same call continues where the last one ended.
``toyworld.json`` holds the recipe; a folder made by another recipe is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eagleray.task import EaglerayError, FolderWriter

RECIPE_FILE = "toyworld.json"


class FolderError(EaglerayError):
    """The folder cannot be read, or holds another dataset."""


class DatasetFolder:
    """One dataset on the local disk.

    Args:
        root: The folder; made if it does not exist.
        recipe: Everything the files depend on, JSON values.

    Raises:
        FolderError: It cannot be read, or was filled by another recipe.
        EaglerayError: It cannot be written.
    """

    def __init__(self, root: Path, recipe: Mapping[str, Any]) -> None:
        self.root, self._writer = root, FolderWriter(root, owner=RECIPE_FILE)
        text = json.dumps(recipe, indent=1, sort_keys=True)
        known = self._writer.path(RECIPE_FILE)
        try:
            stored = known.read_text() if known.exists() else None
        except OSError as error:
            raise FolderError(f"cannot read {known} ({error.strerror or error})") from error
        if stored is None:
            self._writer.write(RECIPE_FILE, text.encode())
        elif stored != text:
            raise FolderError(
                f"{root} holds a toy world of another recipe (found {' '.join(stored.split())}, "
                f"asked {' '.join(text.split())}): choose another folder or delete this one"
            )

    def has(self, names: Iterable[str]) -> bool:
        """Return whether all these files (relative POSIX paths) are there."""
        return self._writer.has(*names)

    def write(self, files: Mapping[str, bytes | Iterable[bytes]]) -> None:
        """Write files by relative POSIX path, each one whole or not at all.

        Args:
            files: Content, or its pieces in order, by path.

        Raises:
            EaglerayError: A name leaves the folder, or the disk refuses.
        """
        for name, content in files.items():
            self._writer.write(name, content)
