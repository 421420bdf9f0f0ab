"""Published checksums: whole ones, and the leading digits that some publishers put into names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pooch

from eagleray.task import EaglerayError

_LEAST_DIGITS = 6


class DownloadError(EaglerayError):
    """A file could not be fetched, or is not the one that was published."""


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
