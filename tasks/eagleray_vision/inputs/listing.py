"""Find a user's photographs, and give each one a name of its own.

Nothing is lost: whatever has an image's suffix becomes an item, also what turns out to be
unreadable, and no two items share a name, so that no export overwrites another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from eagleray.task import InputError, Item
from eagleray_vision.images.reading import PHOTO_SUFFIXES
from eagleray_vision.inputs.naming import portable_name, unique_keys

INPUT_SUFFIXES = PHOTO_SUFFIXES
"""Files that are read from a folder, in any case (the original takes three of them, lower case
only)."""

PATH, PATH_BYTES, NAME, PROBLEM = "path", "path_bytes", "name", "problem"
"""Payload of an item: where the file is; the same in hexadecimal where the path is no valid Unicode
text; its path below what was given; and what is wrong with it, where that is known."""


@dataclass(frozen=True, slots=True)
class _Located:
    """Something to be predicted, or a folder that cannot be searched."""

    path: Path
    identity: str
    problem: str = ""


def list_inputs(paths: Sequence[Path], suffixes: Set[str] = INPUT_SUFFIXES) -> Iterator[Item]:
    """List a user's photographs, or other files; folders are searched recursively, links followed.

    A file or folder that cannot be read is an item, too, so that it is counted as a reject under
    its name. A link to a folder that it lies in is not followed.

    Args:
        paths: Files (of any suffix) and folders.
        suffixes: Of the files that are taken from folders, in lower case.

    Yields:
        One item per photograph, in the order of ``paths`` and by name within each. Keys are paths
        without suffix, relative to the folder given; of several paths, relative to the innermost
        folder that holds them all. Files of one folder that differ in their suffix alone keep it.

    Raises:
        InputError: A path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; give image files or folders")
    starts = [
        path.resolve() if path.is_dir() else path.parent.resolve() / path.name for path in paths
    ]
    files = {one.path: one for start in starts for one in _search(start, suffixes)}
    folders = [start if start.is_dir() else start.parent for start in starts]
    base = Path(os.path.commonpath(folders)) if folders else Path()
    names = [path.relative_to(base) for path in files]
    for one, name, key in zip(files.values(), names, unique_keys(names), strict=True):
        yield Item(key, one.identity, _payload(one, name))


def input_path(item: Item) -> Path:
    """Return where the file of an item is."""
    if PATH_BYTES in item.payload:
        return Path(os.fsdecode(bytes.fromhex(item.payload[PATH_BYTES])))
    return Path(item.payload[PATH])


def _start(path: Path) -> Path:
    """Return a path without links or dots, so that no file is found twice; its own name stays."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def _search(path: Path, suffixes: Set[str]) -> Iterator[_Located]:
    if path.is_dir():
        yield from _search_folder(path, suffixes, frozenset())
    else:
        yield _file(path)


def _search_folder(
    folder: Path, suffixes: Set[str], above: frozenset[tuple[int, int]]
) -> Iterator[_Located]:
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            contents = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError as error:
        yield _refused(folder, f"the folder cannot be searched ({error.strerror or error})")
        return
    own = (status.st_dev, status.st_ino)
    if own in above:
        return
    for name, is_folder in contents:
        path = folder / name
        if is_folder:
            yield from _search_folder(path, suffixes, above | {own})
        elif path.suffix.lower() in suffixes:
            yield _file(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or to where nobody may look
        return False


def _file(path: Path) -> _Located:
    try:
        status = path.stat()
    except OSError as error:
        return _refused(path, f"the file cannot be read ({error.strerror or error})")
    if not S_ISREG(status.st_mode):
        return _refused(path, "this is no regular file")
    return _Located(path, f"{status.st_size}-{status.st_mtime_ns}")


def _refused(path: Path, problem: str) -> _Located:
    return _Located(path, problem, problem)


def _payload(file: _Located, name: Path) -> dict[str, str]:
    payload = {PATH: portable_name(str(file.path)), NAME: portable_name(name.as_posix())}
    if payload[PATH] != str(file.path):
        payload[PATH_BYTES] = os.fsencode(file.path).hex()
    return {**payload, PROBLEM: file.problem} if file.problem else payload
