"""Unpacking zip and tar files that strangers made: nothing is written outside the folder."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from eagleray.download.transfer import DownloadError

MAX_GROWTH = 100
"""How many times larger than the archive its members may be together: pictures hardly shrink and
text shrinks tenfold, while a bomb shrinks a thousandfold."""
ALWAYS_ALLOWED_BYTES = 1 << 30
"""Members up to this size together are unpacked whatever the archive's own size."""

_ENCRYPTED = 0x1
"""Flag of an encrypted member of a zip file."""
_CHUNK_BYTES = 1 << 20
_DAMAGES = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""What the unpackers of the standard library raise over a damaged or unknown archive."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a new folder, which is there only when it is complete.

    Args:
        archive: A zip file, or a tar file with any compression.
        folder: Must not exist.

    Raises:
        DownloadError: It is no archive, damaged or encrypted, or a member would leave the folder,
            is a link that does, or is no plain file; or the members are larger than `MAX_GROWTH`
            allows, or than the disk.
    """
    if not archive.is_file():
        raise DownloadError(f"{archive} is no regular file; give a zip or tar file")
    draft = folder.with_name(f".{folder.name}.unpacking-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, draft)
        elif tarfile.is_tarfile(archive):
            _unpack_tar(archive, draft)
        else:
            raise DownloadError(f"{archive} is neither a zip nor a tar file")
        draft.replace(folder)
    except _DAMAGES as error:
        raise DownloadError(
            f"{archive} cannot be unpacked into {folder} ({type(error).__name__}: {error}); if it "
            "is damaged, delete it and fetch it again"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        _check_names(archive, opened.namelist())
        for info in opened.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DownloadError(f"{archive}: member {info.filename!r} is no plain file")
            if info.flag_bits & _ENCRYPTED:
                raise DownloadError(
                    f"{archive}: member {info.filename!r} is encrypted; unpack it yourself, into "
                    f"a folder called {folder.name}"
                )
        _check_size(archive, folder, sum(info.file_size for info in opened.infolist()))
        opened.extractall(folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        _check_names(archive, opened.getnames())
        _check_size(archive, folder, sum(member.size for member in opened))
        opened.extractall(folder, filter="data")
        _check_end(opened)


def _check_end(opened: tarfile.TarFile) -> None:
    """Read a tar file to its end, where the checksum of its compression stands.

    Unpacking stops before it, and takes a damaged member's header for the end of the archive.
    """
    stream = opened.fileobj
    if stream is None:
        return
    stream.seek(opened.offset)
    if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"at byte {opened.offset} there is neither a member nor the end")
    while stream.read(_CHUNK_BYTES):
        pass


def _check_size(archive: Path, folder: Path, num_bytes: int) -> None:
    own = archive.stat().st_size
    allowed = max(ALWAYS_ALLOWED_BYTES, MAX_GROWTH * own)
    if num_bytes > allowed:
        raise DownloadError(
            f"{archive}: its {own} bytes would unpack to {num_bytes}; allowed are {allowed} "
            f"({MAX_GROWTH} times its size, eagleray.download.archive.MAX_GROWTH). If you trust "
            "it, unpack it yourself"
        )
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise DownloadError(
            f"{archive} unpacks to {num_bytes} bytes, but the disk of {folder.parent} has {free} "
            "left; make room, or fetch into another folder"
        )


def _check_names(archive: Path, names: Iterable[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
            raise DownloadError(
                f"{archive}: member {name!r} would be written outside the folder; the archive is "
                "not unpacked"
            )
