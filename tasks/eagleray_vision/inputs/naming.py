"""Names of exports: one for every photograph, on any file system."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath, PurePosixPath

LONGEST_NAME_BYTES = 255
"""Longest name of one file or folder on the usual file systems, in bytes of UTF-8."""

ENDINGS = (".jpg", ".png", ".pth.tar", "_instanceIds.png")
"""What exports add to a key."""

_UNPORTABLE = re.compile(r"[\udc80-\udcff\\]|%(?=[0-9A-F]{2})")
_ROOM_BYTES = max(map(len, ENDINGS))
_DIGEST_CHARACTERS = 8


def unique_keys(names: Sequence[PurePath]) -> list[str]:
    """Return a key for every file: its path without suffix, or with it where that is taken.

    Which file comes first plays no role. A key also keeps its suffix where its export would have
    the name of a folder of exports (``a.png`` beside a folder ``a.jpg``).

    Args:
        names: Relative paths, each one once.

    Returns:
        Keys in the same order: POSIX paths that any file system takes.

    Example:
        >>> from pathlib import PurePosixPath as Path
        >>> unique_keys([Path("a.jpg"), Path("b/a.jpg"), Path("c.jpg"), Path("c.png")])
        ['a', 'b/a', 'c.jpg', 'c.png']
    """
    whole = [_portable_path(name) for name in names]
    keys = [_portable_path(name.with_suffix("")) if name.name else "." for name in names]
    folders = {parent.as_posix() for name in whole for parent in PurePosixPath(name).parents}
    taken = [any(key + ending in folders for ending in ENDINGS) for key in keys]
    keys = [full if clash else key for key, full, clash in zip(keys, whole, taken, strict=True)]
    while True:
        counts = Counter(keys)
        longer = [full if counts[key] > 1 else key for key, full in zip(keys, whole, strict=True)]
        if longer == keys:
            return keys
        keys = longer


def portable_name(name: str) -> str:
    """Write what is no valid Unicode text, and backslashes, as ``%`` and two hexadecimal digits.

    Args:
        name: A path as the operating system gives it; bytes that are no UTF-8 are surrogates
            (PEP 383).

    Returns:
        A text that can be written in UTF-8, another one for every name; names without such
        characters stay as they are, unless they look as if they were written that way.
    """
    return _UNPORTABLE.sub(lambda match: f"%{ord(match[0]) & 0xFF:02X}", name)


def _portable_path(name: PurePath) -> str:
    return "/".join(_shortened(portable_name(part)) for part in name.parts) or "."


def _shortened(part: str) -> str:
    """Cut a name to which an export's ending could not be added, and tell it apart by a digest."""
    content = part.encode()
    if len(content) + _ROOM_BYTES <= LONGEST_NAME_BYTES:
        return part
    digest = hashlib.sha256(content).hexdigest()[:_DIGEST_CHARACTERS]
    kept = LONGEST_NAME_BYTES - _ROOM_BYTES - len(digest) - 1
    return f"{content[:kept].decode(errors='ignore')}-{digest}"
