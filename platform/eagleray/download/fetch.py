"""One download from its record to its place: fetched or given by hand, verified, unpacked."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from pathlib import Path

import pooch

from eagleray.download.archive import unpack
from eagleray.download.transfer import DownloadError, ResumingDownloader
from eagleray.experiment.discovery import asking_task, installed_tasks, nearest, task_type
from eagleray.progress import Progress
from eagleray.task import Download, SettingsError

_log = logging.getLogger(__name__)
_LEAST_DIGITS = 6


def catalog() -> dict[str, Download]:
    """Return the downloads of all installed tasks by name, sorted; tasks that cannot be imported
    are left out.

    Raises:
        SettingsError: Two tasks use a name for different files.
    """
    found: dict[str, Download] = {}
    for name in installed_tasks():
        try:
            task = task_type(name)
            with asking_task(name, "downloads()"):
                records = tuple(task.downloads())
        except SettingsError as error:
            _log.warning("%s", error)
            continue
        for record in records:
            if found.setdefault(record.name, record) != record:
                raise SettingsError(
                    f"task {name!r} calls {record.url} {record.name!r}, but another task has "
                    f"{found[record.name].url} under that name: rename one of them"
                )
    return dict(sorted(found.items()))


def find_download(name: str) -> Download:
    """Return a download by name.

    Raises:
        SettingsError: There is none of that name.
    """
    known = catalog()
    if name not in known:
        raise SettingsError(f"there is no download {name!r}; {nearest(name, list(known))}")
    return known[name]


def fetch(download: Download, folder: Path, progress: Progress) -> Path:
    """Fetch, verify and place a download; what is there already is verified only.

    Args:
        download: The record.
        folder: Where it goes.
        progress: Told about megabytes.

    Returns:
        Path of the file, or of the folder into which an archive was unpacked.

    Raises:
        DownloadError: It cannot be fetched from here (the message says what a person has to do),
            the server refuses, the connection was cut too often (what has come is kept), or the
            file is not the published one (it is removed).
    """
    target = folder / download.file
    if not _is_there(download, folder):
        if download.by_hand:
            raise DownloadError(by_hand_text(download))
        _retrieve(download, target, progress)
    return _unpacked(download, folder)


def place(download: Download, source: Path, folder: Path) -> Path:
    """Verify a file that a person fetched and put it where ``fetch`` would have.

    Args:
        download: The record.
        source: The file; it is copied and left as it is.
        folder: Where it goes.

    Returns:
        As for ``fetch``.

    Raises:
        DownloadError: There is no such file, or it is not the published one.
    """
    if not source.is_file():
        raise DownloadError(f"there is no file {str(source)!r}; {by_hand_text(download)}")
    verify(source, download.checksum, download.name)
    target = folder / download.file
    if source.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.copying-{os.getpid()}")
        try:
            shutil.copyfile(source, draft)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    return _unpacked(download, folder)


def by_hand_text(download: Download) -> str:
    """Return what a person has to do to get a file that its host does not give to a program."""
    how = download.by_hand or f"open {download.url} with a browser"
    return (
        f"{download.name}: {how}; license: {download.license}. Then give it with:\n"
        f"  eagleray download {download.name} --from FILE"
    )


def is_whole(checksum: str) -> bool:
    """Tell whether a checksum has all of its digits."""
    kind, _, digits = checksum.partition(":")
    return bool(checksum) and len(digits) == 2 * hashlib.new(kind).digest_size


def verify(path: Path, checksum: str, what: str) -> None:
    """Compare a file with its published checksum; an empty one allows everything.

    Args:
        path: The file.
        checksum: ``sha256:`` or ``md5:`` with the digits that are published, or empty.
        what: Name of the download, for the message.

    Raises:
        DownloadError: The file has another checksum.
    """
    if not checksum:
        return
    kind, _, digits = checksum.partition(":")
    if len(digits) < _LEAST_DIGITS:
        raise DownloadError(f"{what}: checksum {checksum!r} has too few digits to tell anything")
    found = pooch.file_hash(str(path), alg=kind)
    if not found.startswith(digits.lower()):
        raise DownloadError(
            f"{what}: {path} has {kind} {found}, published is {digits}: it is damaged or another "
            "file; fetch it again"
        )


def _retrieve(download: Download, target: Path, progress: Progress) -> None:
    part = target.with_name(target.name + ".part")
    downloader = ResumingDownloader(part, progress, has_checksum=bool(download.checksum))
    whole = is_whole(download.checksum)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            download.url,
            known_hash=download.checksum if whole else None,
            fname=target.name,
            path=target.parent,
            downloader=downloader,
        )
    except ValueError as error:
        raise DownloadError(
            f"{download.name}: {download.url} is not the published file ({error}); it was removed"
        ) from error
    try:
        verify(target, download.checksum, download.name)
    except DownloadError:
        target.unlink()
        raise


def _is_there(download: Download, folder: Path) -> bool:
    """Tell whether the file is there; raises DownloadError if it is another one."""
    target = folder / download.file
    if not target.is_file():
        return download.is_archive and (folder / download.name).is_dir()
    verify(target, download.checksum, download.name)
    return True


def _unpacked(download: Download, folder: Path) -> Path:
    if not download.is_archive:
        return folder / download.file
    target = folder / download.name
    if not target.is_dir():
        unpack(folder / download.file, target)
    return target
