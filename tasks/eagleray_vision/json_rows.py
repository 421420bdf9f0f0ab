"""Read a huge JSON array of objects as typed rows, a few megabytes at a time.

Only the fields of the row's type are built; all others are skipped where they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from eagleray.task import InputError, is_transient

T = TypeVar("T")

CHUNK_BYTES = 4 << 20
"""Text decoded at a time; what is held beside the rows that the caller keeps."""
_BORDER = re.compile(rb"\}\s*,\s*(?=\{)")
"""Perhaps the border of two rows; perhaps something inside of a text or of a nested value."""
_TRIED_BORDERS = 64
"""How many borders, from the last one backwards, are tried before more text is read."""
_BORDER_WINDOW = 1 << 16
"""Bytes at the end of a chunk in which borders are looked for first."""
_LARGEST_ROW = 64 << 20
"""A text without a border that is longer than this is no table."""


def read_rows(
    path: Path, row_type: type[T], refusal: type[InputError], *, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[list[T]]:
    """Yield the rows of a JSON file that holds an array of objects, some thousand at a time.

    A piece is cut at a border of rows. Where a border only looks like one, the piece before it is
    no complete JSON, so that the decoder refuses it and an earlier border is tried.

    Args:
        path: The file, UTF-8.
        row_type: A ``msgspec.Struct`` with the fields that are wanted.
        refusal: What to raise.
        chunk_bytes: Text read at a time.

    Yields:
        Lists of rows, in the file's order.

    Raises:
        InputError: A ``refusal``: the file is missing or no array, or a row lacks a field or has
            one of another type.
    """
    decoder = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]
    try:
        with path.open("rb") as file:
            rest, first = b"", True
            while piece := file.read(chunk_bytes):
                text = rest + piece
                if first:
                    text = text.lstrip()
                    if not text:
                        continue
                    text, first = _without_bracket(path, text, refusal), False
                cut = _decoded(decoder, text)
                if cut is None:
                    if len(text) > _LARGEST_ROW + chunk_bytes:
                        raise refusal(f"{path}: no row ends within {len(text)} bytes; no table")
                    rest = text
                    continue
                rows, end = cut
                yield rows
                rest = text[end:]
            yield decoder.decode(rest if first else b"[" + rest)
    except OSError as error:
        if is_transient(error):
            raise
        raise refusal(f"{path}: cannot be read ({error})") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refusal(
            f"{path}: is not a JSON array of rows as expected ({error}); unpack it again"
        ) from error


def _without_bracket(path: Path, text: bytes, refusal: type[InputError]) -> bytes:
    if not text.startswith(b"["):
        raise refusal(f"{path}: begins with {text[:20]!r}; a table is a JSON array of objects")
    return text[1:]


def _decoded(decoder: msgspec.json.Decoder[list[T]], text: bytes) -> tuple[list[T], int] | None:
    """Decode as many whole rows as a piece of text has; also return where the next one begins."""
    start = max(0, len(text) - _BORDER_WINDOW)
    borders = list(_BORDER.finditer(text, start))
    if not borders and start:
        borders = list(_BORDER.finditer(text))
    for border in reversed(borders[-_TRIED_BORDERS:]):
        try:
            rows = decoder.decode(b"[" + text[: border.start() + 1] + b"]")
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:  # it lies within a text or a nested value
            continue
        return rows, border.end()
    return None
