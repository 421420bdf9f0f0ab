"""One folder on a local disk or an object store, with whole-file writes that are all or nothing.

Object stores have no rename, so every write is one completed upload; locally it is a temporary
file, fsync and a rename. ``create`` succeeds for exactly one writer: it is what markers are made
with.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import uuid
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec

from eagleray.contract.errors import EaglerayError, SettingsError, is_transient

_LOCAL_READERS, _REMOTE_READERS = 16, 64
"""Files read at a time: on an object store each is a round trip of tens of milliseconds."""
TEMPORARY = ".tmp-"
"""Beginning of the names of local files that are being written."""
_HOST_TEMPORARY = f"{TEMPORARY}{zlib.crc32(socket.gethostname().encode()):08x}-"
"""Beginning of temporary files' names on this machine; the writer's process id follows."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def checked_name(name: str, what: str) -> str:
    """Return ``name`` if it can be one folder's name, else raise.

    Args:
        name: A run's, experiment's or stage's name.
        what: What is named, for the message.

    Raises:
        SettingsError: The name is empty, too long, or has other characters than letters, digits,
        ``. _ -``.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{what} {name!r} is not a usable name: allowed are 1 to 128 letters, digits, '.', "
            f"'_' and '-', "
            "beginning with a letter or digit, and no path; choose another name"
        )
    return name


class Store:
    """A folder addressed by URI; paths below it are relative POSIX paths that never leave it.

    Picklable, so that workers open the same folder.

    Args:
        uri: A local path, or a URI that fsspec knows (``s3://bucket/folder``, ``gs://``, ``memory://``).

    Raises:
        SettingsError: The URI's scheme is unknown, or what it needs is not installed.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> store.create("a/done.json", b"{}"), store.create("a/done.json", b"other")
        (True, False)
        >>> store.read("a/done.json")
        b'{}'
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri if "://" in uri else str(Path(uri).expanduser().absolute())
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.uri, **_options(self.uri))
        except (ValueError, ImportError, OSError) as error:
            raise SettingsError(
                f"storage {self.uri!r} cannot be opened: {error}; give a folder, or a URI such as "
                "s3://bucket/folder whose package and credentials are installed"
            ) from error
        self.is_local = "file" in _protocols(self._fs)

    @property
    def readers(self) -> int:
        """How many files are worth reading at a time."""
        return _LOCAL_READERS if self.is_local else _REMOTE_READERS

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return (Store, (self.uri,))

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def child(self, path: str) -> Store:
        """Return the folder ``path`` below this one."""
        _relative(path)
        return Store(f"{self.uri.rstrip('/')}/{path}")

    def path(self, path: str) -> str:
        """Return the full path or key of ``path`` in the file system's own terms."""
        return f"{self._root.rstrip('/')}/{_relative(path)}"

    def local_path(self, path: str) -> Path:
        """Return the path on the local disk.

        Raises:
            EaglerayError: The store is not a local folder.
        """
        if not self.is_local:
            raise EaglerayError(
                f"{self.uri} is not a local folder, but {path!r} was asked for as one"
            )
        return Path(self.path(path))

    def read(self, path: str) -> bytes:
        """Return a file's content; raises FileNotFoundError."""
        content: bytes = self._fs.cat_file(self.path(path))
        return content

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the contents of several files, at the same time on an object store; those that
        are not there, or may not be read, are left out.

        Raises:
            OSError: The storage does not answer, which says nothing about what is there.
        """
        if self.is_local:
            contents = {path: self._read_or_none(path) for path in paths}
        else:
            with ThreadPoolExecutor(self.readers) as pool:
                contents = dict(zip(paths, pool.map(self._read_or_none, paths), strict=True))
        return {path: content for path, content in contents.items() if content is not None}

    def open(self, path: str, *, exact: bool = False) -> IO[bytes]:
        """Open a file for reading with random access.

        Args:
            path: Which file.
            exact: Fetch from an object store what is read and no more, a request each time; by
                default it reads ahead, which for S3 means 50 MB.
        """
        how = {"cache_type": "none"} if exact and not self.is_local else {}
        handle: IO[bytes] = self._fs.open(self.path(path), "rb", **how)
        return handle

    def write(self, path: str, content: bytes | Iterable[bytes]) -> None:
        """Write a whole file, replacing an older one; a reader sees the old or the new content,
        never a part. What would change nothing is not refused by storage that is read-only.

        Args:
            path: Where, below this folder.
            content: All of it, or its pieces in order; these are joined only for an object store.

        Raises:
            EaglerayError: The disk refuses; nothing is left behind and an older file stays.
        """
        if not self.is_local:
            whole = content if isinstance(content, bytes) else b"".join(content)
            try:
                self._fs.pipe_file(self.path(path), whole)
            except OSError:
                if not self._holds(path, whole):
                    raise
            return
        target = Path(self.path(path))
        try:
            temporary = self._temporary(target, content)
        except EaglerayError:
            if not self._holds(path, content):
                raise
            return
        try:
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)

    def _holds(self, path: str, content: bytes | Iterable[bytes]) -> bool:
        """Return whether a file has this content already."""
        try:
            return isinstance(content, bytes) and self.read(path) == content
        except OSError:
            return False

    def create(self, path: str, content: bytes) -> bool:
        """Write a whole file if there is none of that name; return whether this call wrote it."""
        if not self.is_local:
            try:
                self._fs.pipe_file(self.path(path), content, mode="create")
            except FileExistsError:
                return False
            return True
        target = Path(self.path(path))
        if target.exists():  # also where nothing can be written
            return False
        temporary = self._temporary(target, content)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return True

    def append_line(self, path: str, line: str) -> None:
        """Append to a local log file; not for anything that correctness rests on."""
        target = self.local_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")

    def exists(self, path: str) -> bool:
        """Return whether a file or folder is there."""
        return bool(self._fs.exists(self.path(path)))

    def size(self, path: str) -> int:
        """Return a file's size in bytes."""
        return int(self._fs.size(self.path(path)))

    def changed_s(self, path: str) -> float:
        """Return when a file was written last, seconds since 1970; 0 where that is not known."""
        try:
            modified = self._fs.modified(self.path(path))
        except (NotImplementedError, OSError):
            return 0.0
        return float(modified.timestamp())

    def files(self, folder: str = "", *, recursive: bool = False) -> list[str]:
        """Return the sorted relative paths of the files in ``folder``; empty if it does not
        exist.

        Objects whose key ends with a slash are no files: consoles of object stores, and Ray's own
        storage, put them where others have folders.
        """
        base = self.path(folder) if folder else self._root
        self._fs.invalidate_cache()
        try:
            paths = self._fs.find(base, maxdepth=None if recursive else 1)
        except FileNotFoundError:
            return []
        start = len(self._root.rstrip("/")) + 1
        files = [p for p in paths if not p.endswith("/")]
        return sorted(p[start:] for p in files if not PurePosixPath(p).name.startswith(TEMPORARY))

    def folders(self, folder: str = "") -> list[str]:
        """Return the sorted names of the folders directly inside ``folder``."""
        base = self.path(folder) if folder else self._root
        self._fs.invalidate_cache()
        try:
            entries = self._fs.ls(base, detail=True)
        except FileNotFoundError:
            return []
        return sorted(PurePosixPath(e["name"]).name for e in entries if e["type"] == "directory")

    def move(self, path: str, target: str) -> None:
        """Move a folder to where nothing is yet; an object store copies, then deletes."""
        if not self.is_local:
            self._fs.mv(self.path(path), self.path(target), recursive=True)
            return
        self.local_path(target).parent.mkdir(parents=True, exist_ok=True)
        os.rename(self.local_path(path), self.local_path(target))  # noqa: PTH104

    def delete(self, path: str, *, recursive: bool = False) -> None:
        """Delete a file, or with ``recursive`` a folder; what is not there is no error."""
        try:
            self._fs.rm(self.path(path), recursive=recursive)
        except FileNotFoundError:
            return

    def _read_or_none(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except OSError as error:
            if is_transient(error):
                raise
            return None

    def remove_stale_temporaries(self) -> None:
        """Delete what writers of this machine left behind when they were killed in mid-write."""
        if not self.is_local:
            return
        for path in Path(self._root).rglob(f"{_HOST_TEMPORARY}*"):
            pid = path.name[len(_HOST_TEMPORARY) :].split("-", 1)[0]
            if pid.isdigit() and not _is_running(int(pid)):
                path.unlink(missing_ok=True)

    def _temporary(self, target: Path, content: bytes | Iterable[bytes]) -> Path:
        temporary = target.parent / f"{_HOST_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as handle:
                handle.writelines((content,) if isinstance(content, bytes) else content)
                handle.flush()
                os.fsync(handle.fileno())
        except BaseException as error:
            with contextlib.suppress(OSError):  # the folder itself may be out of reach
                temporary.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise EaglerayError(
                f"cannot write {target} ({error.strerror or error}): check that the folder is "
                "writable and the disk is not full, then give the same command again; what is "
                "there is kept"
            ) from error
        return temporary


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _options(uri: str) -> dict[str, Any]:
    """Return what a file system is opened with: for S3 as many connections as there are readers,
    where the library's own ten would have most of them wait. What fsspec's configuration says
    counts.
    """
    protocol = uri.partition("://")[0]
    if protocol not in ("s3", "s3a"):
        return {}
    given = fsspec.config.conf.get(protocol, {}).get("config_kwargs", {})
    return {"config_kwargs": {"max_pool_connections": _REMOTE_READERS, **given}}


def _protocols(fs: Any) -> tuple[str, ...]:
    protocol = fs.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise EaglerayError(f"path {path!r} must be relative and stay inside its store")
    return "/".join(parts)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
