"""Zip archives as the original's model was published, packed or unpacked: weights, ``config.ini``
and ``metadata.bin`` (spec 8).
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from eagleray_seamseg.model.backbone_weights import WeightFileError

PUBLISHED_MD5 = "7046e54e54e9dcc38060b150e97f4a5a"
"""Checksum of the published Vistas model (README of the original)."""
PUBLISHED_LICENSE = "CC BY-NC-SA 4.0"
"""License of the published model (README of the original)."""

_WEIGHT_SUFFIXES = (".tar", ".pth", ".pt", ".safetensors")
_NUM_NAMED = 5
"""How many members an error message names."""
_TORCH_PICKLE = "data.pkl"
"""Member that every file of ``torch.save`` has, which is a zip archive too."""


@dataclass(frozen=True)
class OpenArchive:
    """The members of a published archive.

    Attributes:
        weights: The weight file, unpacked; it is there while the archive is open.
        config: Text of the configuration, if there is one.
        metadata: Bytes of ``metadata.bin``, if there are some.
        md5: Checksum of the whole archive; empty for a folder.
    """

    weights: Path
    config: str | None
    metadata: bytes | None
    md5: str

    @property
    def origin(self) -> str:
        """One line about where the archive comes from, by its checksum."""
        if not self.md5:
            return (
                f"an unpacked archive, whose md5 cannot be compared with the published one "
                f"({PUBLISHED_MD5}); make sure of where it comes from"
            )
        if self.md5 == PUBLISHED_MD5:
            return f"md5 {self.md5}: the published Vistas model, licensed {PUBLISHED_LICENSE}"
        return (
            f"md5 {self.md5} is not that of the published Vistas model ({PUBLISHED_MD5}): it is "
            "another one, or not the file that was published; make sure of where it comes from"
        )


def is_archive(path: Path) -> bool:
    """Return whether a path is a zip archive (and not a file of ``torch.save``) or a folder."""
    if path.is_dir() or path.suffix.lower() == ".zip":
        return True
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return True
    return not any(PurePosixPath(name).name == _TORCH_PICKLE for name in names)


@contextmanager
def open_archive(path: Path) -> Iterator[OpenArchive]:
    """Open an archive; nothing is written but the weights, into a temporary folder.

    Args:
        path: The zip archive, or the folder that it was unpacked into.

    Raises:
        WeightFileError: The archive is damaged or encrypted, a member's name leaves the folder or
            is a link, or there is not exactly one weight file and at most one of the others.
    """
    if path.is_dir():
        yield _folder(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            opened = _unpacked(path, Path(folder))
        except (
            zipfile.BadZipFile,
            RuntimeError,
            EOFError,
            zlib.error,
            UnicodeDecodeError,
        ) as error:
            raise WeightFileError(
                f"{path} cannot be unpacked ({error}): download it again"
            ) from error
        yield opened


def _unpacked(path: Path, folder: Path) -> OpenArchive:
    with zipfile.ZipFile(path) as archive:
        members = [_checked(path, one) for one in archive.infolist()]
        weights, config, metadata = _chosen(path, [m.filename for m in members if not m.is_dir()])
        target = folder / PurePosixPath(weights).name
        with archive.open(weights) as packed, target.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        return OpenArchive(
            target,
            archive.read(config).decode() if config else None,
            archive.read(metadata) if metadata else None,
            _md5(path),
        )


def _folder(path: Path) -> OpenArchive:
    files = sorted(one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file())
    weights, config, metadata = _chosen(path, files)
    try:
        text = (path / config).read_text() if config else None
    except UnicodeDecodeError as error:
        raise WeightFileError(f"{path / config} is no text ({error})") from error
    return OpenArchive(
        path / weights, text, (path / metadata).read_bytes() if metadata else None, md5=""
    )


def _chosen(path: Path, names: Sequence[str]) -> tuple[str, str, str]:
    """Return the names of weights, configuration and metadata; empty where there is none."""
    names = [name for name in names if not _is_litter(name)]
    return (
        _only(path, names, _WEIGHT_SUFFIXES, "weight file", needed=True),
        _only(path, names, (".ini",), "configuration"),
        _only(path, names, ("metadata.bin",), "metadata.bin"),
    )


def _checked(path: Path, member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    name = member.filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or (parts and ":" in parts[0]):
        reason = "its name leads out of the archive"
    elif stat.S_ISLNK(member.external_attr >> 16):
        reason = "it is a link"
    else:
        return member
    raise WeightFileError(
        f"{path} is refused because of its member {name!r}: {reason}; a published archive has no "
        "such member, so do not trust this one"
    )


def _is_litter(name: str) -> bool:
    """Return whether a member was left by a file manager (resource forks, hidden files)."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _only(
    path: Path,
    names: Sequence[str],
    endings: tuple[str, ...],
    what: str,
    *,
    needed: bool = False,
) -> str:
    """Return the one member of a kind, or nothing where it may be absent."""
    found = [name for name in names if name.lower().endswith(endings)]
    if len(found) > 1 or (needed and not found):
        raise WeightFileError(
            f"{path} holds {len(found)} members that could be the {what} "
            f"({', '.join((found or names)[:_NUM_NAMED])}), expected is one: an archive with the "
            "weights (.tar), config.ini and metadata.bin, or give the weight file itself"
        )
    return found[0] if found else ""


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
