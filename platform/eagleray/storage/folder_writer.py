"""A dataset folder in the layout of other programs, written so that it can be killed at any time.

Other programs know nothing of the engine's markers. So each file appears whole or not at all, the
file by which a reader knows the data set comes last, and a small owner file tells this very folder
from one that somebody else has filled, or that was deleted and made again.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from eagleray.contract.errors import SettingsError
from eagleray.storage.store import TEMPORARY, Store

Content = bytes | Iterable[bytes]
"""A file's content, or its pieces in order where it is too large for memory."""

OWNER = ".eagleray"


class FolderWriter:
    """Writes one folder on the local disk. Picklable; several processes and threads may write.

    Args:
        root: The folder; made when something is written.
        owner: Path below it of the owner file.

    Example:
        >>> import tempfile
        >>> writer = FolderWriter(Path(tempfile.mkdtemp()))
        >>> same = writer.claim() == writer.claim()
        >>> writer.commit({"img/a.png": b"..."}, "index.json", b"{}")
        >>> same, writer.has("img/a.png", "index.json")
        (True, True)
    """

    def __init__(self, root: Path, *, owner: str = OWNER) -> None:
        self.root = root.absolute()
        self._owner = owner
        self._store = Store(str(self.root))

    def claim(self, foreign: Sequence[str] = (), *, hint: str = "name an empty folder") -> str:
        """Return the folder's own name, which it is given at the first call.

        Use it as (part of) the identity of a stage's items: a folder that was deleted gets another
        name, so that everything is written anew.

        Args:
            foreign: Files that only a finished data set has; where one is there before the first
                claim, somebody else wrote it.
            hint: What to do then, for the message.

        Raises:
            SettingsError: The folder holds a data set of another origin.
            EaglerayError: It cannot be written.
        """
        if not self.has(self._owner):
            present = [name for name in foreign if self.path(name).exists()]
            if present:
                raise SettingsError(
                    f"{self.root} holds a data set of another origin ({', '.join(present)}), "
                    f"which is not replaced: {hint}"
                )
            self._store.create(self._owner, uuid.uuid4().hex.encode())
        return self._store.read(self._owner).decode()

    def path(self, name: str) -> Path:
        """Return where a file of the folder is; ``name`` is a relative POSIX path.

        Raises:
            EaglerayError: The name leaves the folder.
        """
        return self._store.local_path(name)

    def has(self, *names: str) -> bool:
        """Return whether all these files are there; what is there is whole."""
        return all(self.path(name).is_file() for name in names)

    def write(self, name: str, content: Content) -> None:
        """Write one file, replacing an older one.

        Raises:
            EaglerayError: The disk refuses (no permission, no space); nothing is left behind.
        """
        self._store.write(name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write one file if there is none of that name; return whether this call wrote it."""
        return self._store.create(name, content)

    def link(self, name: str, target: Path) -> None:
        """Put a symbolic link to ``target`` in a file's place, replacing an older one."""
        place = self.path(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}")
        temporary.symlink_to(target.absolute())
        temporary.replace(place)

    def delete(self, name: str) -> None:
        """Delete one file or link; what is not there is no error."""
        self.path(name).unlink(missing_ok=True)

    def commit(self, files: Mapping[str, Content], last: str, content: Content) -> None:
        """Write what a data set has once: lists and indices first, then the file by which its
        readers know it.

        Args:
            files: Content by name.
            last: Name of that file.
            content: Its content.

        Raises:
            EaglerayError: The disk refuses; the last file is then not written.
        """
        for name, part in files.items():
            self.write(name, part)
        self.write(last, content)

    def remove_temporaries(self) -> None:
        """Delete what killed writers of any machine left; only while nothing else writes here."""
        for path in self.root.rglob(f"{TEMPORARY}*"):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
