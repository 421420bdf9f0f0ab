"""A file that processes on several machines read: its URI and checksum travel, its content lies in
a cache per node.

    <cache>/eagleray/files/<sha256>/<name>      complete, compared with the checksum
    <cache>/eagleray/files/of/<digest>          which checksum a URI had, by its size and time

``<cache>`` is XDG_CACHE_HOME, by default ``~/.cache``. What nobody has used for two weeks is
deleted when something new comes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from eagleray.contract.errors import SettingsError
from eagleray.storage.committed import DamagedError
from eagleray.storage.store import Store

_CHUNK_BYTES = 1 << 20
_KEPT_S = 14 * 24 * 3600.0


def is_uri(place: str) -> bool:
    """Return whether a place is a URI, and no path.

    Example:
        >>> is_uri("s3://bucket/model.safetensors"), is_uri("/data/model.safetensors")
        (True, False)
    """
    return "://" in place


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file by URI (or path) and checksum; picklable.

    Args:
        uri: Where it lies.
        sha256: Its checksum.
        host: Where that was computed: there a path needs no second look.
    """

    uri: str
    sha256: str
    host: str = field(default_factory=socket.gethostname)

    @classmethod
    def of(cls, path: Path) -> SharedFile:
        """Return a file of this machine; workers on others must see it under the same path."""
        with path.open("rb") as handle:
            return cls(str(path.absolute()), hashlib.file_digest(handle, "sha256").hexdigest())

    @classmethod
    def fetched(cls, uri: str) -> SharedFile:
        """Return a file whose checksum is not known yet; it is copied into this node's cache.

        Raises:
            SettingsError: It cannot be read.
        """
        folder, name = _split(uri)
        try:
            version = f"{uri}\0{folder.size(name)}\0{folder.changed_s(name)}"
        except (OSError, TypeError) as error:
            raise SettingsError(
                f"{uri} cannot be read ({type(error).__name__}: {error}): check its name, and that "
                "this machine may read it"
            ) from error
        note = _cache() / "of" / hashlib.sha256(version.encode()).hexdigest()
        with _alone(note.name):
            if note.is_file():
                known = cls(uri, note.read_text())
                if known._place.is_file():
                    return known
            shared = cls(uri, _copied(folder, name, None))
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(shared.sha256)
        return shared

    def local(self) -> Path:
        """Return its path on this node; what lies elsewhere is copied here once.

        Raises:
            SettingsError: It is a path that this machine does not see, or sees another file at.
            DamagedError: What was copied has another checksum.
        """
        if not is_uri(self.uri):
            return self._seen()
        if not self._place.is_file():
            with _alone(self.sha256):
                if not self._place.is_file():
                    _copied(*_split(self.uri), self.sha256)
        os.utime(self._place)
        return self._place

    def _seen(self) -> Path:
        path, here = Path(self.uri), socket.gethostname()
        if here == self.host:
            return path
        remedy = (
            f"put it where all machines see it (a shared folder, or a URI such as "
            f"s3://bucket/{path.name}), and name that"
        )
        if not path.is_file():
            raise SettingsError(f"{path} of {self.host} is not there on {here}: {remedy}")
        with path.open("rb") as handle:
            checksum = hashlib.file_digest(handle, "sha256").hexdigest()
        if checksum != self.sha256:
            raise SettingsError(
                f"{path} on {here} is not that of {self.host} (SHA-256 {checksum}, and not "
                f"{self.sha256}): {remedy}"
            )
        return path

    @property
    def _place(self) -> Path:
        return _cache() / self.sha256 / PurePosixPath(self.uri).name


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "eagleray" / "files"


def _split(uri: str) -> tuple[Store, str]:
    parent, _, name = uri.rpartition("/")
    return Store(parent), name


def _copied(folder: Store, name: str, expected: str | None) -> str:
    """Copy a file into the cache and return its checksum."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    _forget_unused(cache)
    draft = cache / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"
    digest = hashlib.sha256()
    try:
        with folder.open(name) as source, draft.open("wb") as target:
            for chunk in _chunks(source):
                digest.update(chunk)
                target.write(chunk)
        if expected is not None and digest.hexdigest() != expected:
            raise DamagedError(
                f"{folder.uri}/{name} has SHA-256 {digest.hexdigest()}, expected {expected}: it "
                "was replaced or damaged meanwhile; give the same command again"
            )
        place = cache / digest.hexdigest() / name
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)
    return digest.hexdigest()


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK_BYTES):
        yield chunk


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Let one process of this node at a time copy a file."""
    path = _cache() / f".lock-{name[:16]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _forget_unused(cache: Path) -> None:
    before = time.time() - _KEPT_S
    for folder in cache.iterdir():
        files = [f for f in folder.iterdir() if f.is_file()] if folder.is_dir() else []
        if folder.name != "of" and files and all(f.stat().st_mtime < before for f in files):
            shutil.rmtree(folder, ignore_errors=True)
