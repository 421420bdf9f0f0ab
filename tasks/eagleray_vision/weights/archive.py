"""Zip archives as models are published, packed or unpacked: weights, and small files beside them.

Nothing in an archive is run or trusted: members whose names lead out of it and links are refused.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from eagleray_vision.weights.tensors import WeightFileError

Endings = Mapping[str, tuple[str, ...]]
"""What a kind of small file is called, and how its names end."""

_WEIGHTS = "weight file"
_WEIGHT_SUFFIXES = (".tar", ".pth", ".pt", ".safetensors")
MAX_WEIGHTS_BYTES = 16 << 30
"""Largest weight file that is unpacked; the largest published backbones take a tenth."""
MAX_BESIDE_BYTES = 64 << 20
"""Largest small file beside the weights."""
_ENCRYPTED = 0x1
"""Flag of an encrypted member of a zip file."""
_NUM_NAMED = 5
"""How many members an error message names."""
_TORCH_PICKLE = "data.pkl"
"""Member that every file of ``torch.save`` has, which is a zip archive too."""


@dataclass(frozen=True)
class OpenArchive:
    """The members of an archive.

    Attributes:
        weights: The weight file, unpacked; it is there while the archive is open.
        texts: Texts of the small files by kind; None where there is none.
        files: Bytes of the small files by kind, likewise.
        md5: Checksum of the whole archive; empty for a folder.
    """

    weights: Path
    texts: Mapping[str, str | None]
    files: Mapping[str, bytes | None]
    md5: str


def is_archive(path: Path) -> bool:
    """Return whether a path is a zip archive (and not a file of ``torch.save``) or a folder."""
    if path.is_dir() or path.suffix.lower() == ".zip":
        return True
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError):
        return True
    return not any(PurePosixPath(name).name == _TORCH_PICKLE for name in names)


@contextmanager
def weight_file(path: Path) -> Iterator[Path]:
    """Give the weights of an archive as a file, or the path itself where it is no archive.

    Raises:
        WeightFileError: As in `open_archive`.
    """
    if not is_archive(path):
        yield path
        return
    with open_archive(path) as archive:
        yield archive.weights


@contextmanager
def open_archive(
    path: Path, *, texts: Endings | None = None, files: Endings | None = None
) -> Iterator[OpenArchive]:
    """Open an archive; nothing is written but the weights, into a temporary folder.

    Args:
        path: The zip archive, or the folder that it was unpacked into.
        texts: Kinds of small text files to read beside the weights, at most one file of each.
        files: Kinds of small binary files, likewise.

    Raises:
        WeightFileError: The archive is damaged or encrypted, a member's name leaves the folder or
            is a link, there is not exactly one weight file and at most one of each other kind, or
            one is larger than `MAX_WEIGHTS_BYTES` or `MAX_BESIDE_BYTES`.

    Example:
        with open_archive(path, texts={"configuration": (".ini",)}) as archive:
            tensors = read_tensors(archive.weights)
            configuration = archive.texts["configuration"]
    """
    wanted = (texts or {}, files or {})
    if path.is_dir():
        yield _folder(path, *wanted)
        return
    if not path.is_file():
        raise WeightFileError(f"{path} is no regular file; give a zip archive or its folder")
    with tempfile.TemporaryDirectory() as folder:
        try:
            opened = _unpacked(path, Path(folder), *wanted)
        except (
            zipfile.BadZipFile,
            RuntimeError,
            EOFError,
            OSError,
            OverflowError,
            ValueError,
            zlib.error,
            lzma.LZMAError,
        ) as error:
            raise WeightFileError(
                f"{path} cannot be unpacked ({error}): download it again"
            ) from error
        yield opened


def _unpacked(path: Path, folder: Path, texts: Endings, files: Endings) -> OpenArchive:
    with zipfile.ZipFile(path) as archive:
        members = [_checked(path, one) for one in archive.infolist()]
        chosen = _chosen(path, [m.filename for m in members if not m.is_dir()], texts, files)
        _check_members(path, archive, chosen)
        weights = chosen[_WEIGHTS]
        target = folder / PurePosixPath(weights).name
        with archive.open(weights) as packed, target.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        content = {kind: archive.read(chosen[kind]) for kind in (*texts, *files) if chosen[kind]}
        return OpenArchive(
            target,
            {kind: content[kind].decode() if kind in content else None for kind in texts},
            {kind: content.get(kind) for kind in files},
            _md5(path),
        )


def _check_members(path: Path, archive: zipfile.ZipFile, chosen: Mapping[str, str]) -> None:
    """Refuse what needs a password, and what would fill disk or memory."""
    for kind, name in chosen.items():
        if not name:
            continue
        member = archive.getinfo(name)
        if member.flag_bits & _ENCRYPTED:
            raise WeightFileError(
                f"{path}: member {name!r} is encrypted; unpack the archive yourself and give its "
                "folder"
            )
        allowed = MAX_WEIGHTS_BYTES if kind == _WEIGHTS else MAX_BESIDE_BYTES
        if member.file_size > allowed:
            limit = "MAX_WEIGHTS_BYTES" if kind == _WEIGHTS else "MAX_BESIDE_BYTES"
            raise WeightFileError(
                f"{path}: member {name!r} ({kind}) would unpack to {member.file_size} bytes, "
                f"allowed are {allowed} (eagleray_vision.weights.archive.{limit}); if you trust "
                "it, unpack the archive yourself and give its folder"
            )


def _folder(path: Path, texts: Endings, files: Endings) -> OpenArchive:
    names = sorted(one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file())
    chosen = _chosen(path, names, texts, files)
    return OpenArchive(
        path / chosen[_WEIGHTS],
        {kind: _text(path / chosen[kind]) if chosen[kind] else None for kind in texts},
        {kind: (path / chosen[kind]).read_bytes() if chosen[kind] else None for kind in files},
        md5="",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise WeightFileError(f"{path} is no text ({error})") from error


def _chosen(path: Path, names: Sequence[str], texts: Endings, files: Endings) -> dict[str, str]:
    """Return the name of the one member of each kind; empty where there is none."""
    names = [name for name in names if not _is_litter(name)]
    kinds = {_WEIGHTS: _WEIGHT_SUFFIXES, **texts, **files}
    return {
        kind: _only(path, names, endings, kind, needed=kind == _WEIGHTS)
        for kind, endings in kinds.items()
    }


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
    fitting = [name for name in names if name.lower().endswith(endings)]
    if len(fitting) > 1 or (needed and not fitting):
        raise WeightFileError(
            f"{path} holds {len(fitting)} members that could be the {what} "
            f"({', '.join((fitting or names)[:_NUM_NAMED])}), expected is one: give an archive "
            f"with one weight file ({', '.join(_WEIGHT_SUFFIXES)}), or the weight file itself"
        )
    return fitting[0] if fitting else ""


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
