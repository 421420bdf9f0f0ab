"""Content, checksum, marker last: how a result of several files appears whole or not at all.

No storage writes several files at once, and object stores have no rename. So the content goes
first, and then one small marker, created only if there is none, which names the content and its
checksums. A reader looks for the marker and trusts nothing else: a writer that is killed leaves
files that nobody reads, and of two writers of one result the first marker counts. Deleting goes
the other way round. What a marker says is its owner's: a shard, a checkpoint, the end of a phase.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from eagleray.contract.errors import EaglerayError
from eagleray.storage.store import Store


class DamagedError(EaglerayError):
    """A file is not what its marker says."""


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits, as markers carry it."""
    return hashlib.sha256(content).hexdigest()


def commit(store: Store, files: Mapping[str, bytes], marker: str, marker_content: bytes) -> bool:
    """Write the files, then create the marker; return whether it is this call's marker that counts.

    Where another writer may be at the same result, give files names that hold their checksum: then
    neither overwrites what the other's marker promises.

    Args:
        store: The folder that holds all of them.
        files: Content by path.
        marker: Path of the marker.
        marker_content: What it says; names the files with their checksums.

    Raises:
        EaglerayError: The disk refuses; there is no marker then.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> commit(store, {"a/model.bin": b"weights"}, "a.json", sha256(b"weights").encode())
        True
        >>> read_checked(store, "a/model.bin", store.read("a.json").decode())
        b'weights'
    """
    for path, content in files.items():
        store.write(path, content)
    return store.create(marker, marker_content)


def read_checked(store: Store, path: str, expected: str, *, remedy: str = "delete it") -> bytes:
    """Return a file's content, compared with the checksum that its marker says.

    Args:
        store: The folder.
        path: The file.
        expected: SHA-256 from the marker.
        remedy: What to do about a damaged file, for the message.

    Raises:
        DamagedError: The content is another one.
        FileNotFoundError: There is no such file.
    """
    content = store.read(path)
    if sha256(content) != expected:
        raise DamagedError(
            f"{store.uri}/{path} is damaged: its marker says SHA-256 {expected}, "
            f"found {sha256(content)}; {remedy}"
        )
    return content


def have_sizes(store: Store, sizes: Mapping[str, int]) -> bool:
    """Return whether all files are there with the sizes (bytes) that their marker says.

    A check for listings, which cannot read gigabytes to tell a torn copy; ``read_checked`` follows
    where a file is used.
    """
    try:
        return all(store.size(path) == size for path, size in sizes.items())
    except FileNotFoundError:
        return False


def retract(store: Store, marker: str, *content: str) -> None:
    """Delete a committed result: its marker first, so that no marker promises what is gone.

    Args:
        store: The folder that holds all of them.
        marker: Path of the marker.
        *content: Files, and folders with all they hold, that it names.
    """
    store.delete(marker)
    for path in content:
        store.delete(path, recursive=True)
