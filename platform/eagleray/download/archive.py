"""Unpacking zip and tar files that strangers made: nothing is written outside the folder."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from eagleray.download.transfer import DownloadError


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a new folder, which is there only when it is complete.

    Args:
        archive: A zip file, or a tar file with any compression.
        folder: Must not exist.

    Raises:
        DownloadError: It is no archive or damaged, or a member would leave the folder, is a link
            that does, or is no plain file.
    """
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
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise DownloadError(f"{archive} cannot be unpacked into {folder}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        _check_names(archive, opened.namelist())
        for info in opened.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DownloadError(f"{archive}: member {info.filename!r} is no plain file")
        opened.extractall(folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        _check_names(archive, opened.getnames())
        opened.extractall(folder, filter="data")


def _check_names(archive: Path, names: Iterable[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
            raise DownloadError(
                f"{archive}: member {name!r} would be written outside the folder; the archive is "
                "not unpacked"
            )
