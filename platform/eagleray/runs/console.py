"""What a process of a run writes, kept in the run's folder while it still goes to the terminal.

    log/console-<name>.txt    lines of standard output and standard error

On a local disk lines are there at once; an object store gets them when the process ends its work.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

from eagleray.storage import Store

MOST_BYTES = 20_000_000
_CUT = b"[what follows is too much and is not kept]\n"


@contextmanager
def console_kept(run: Store, name: str) -> Iterator[None]:
    """Keep what this process prints inside of the ``with`` statement.

    Args:
        run: The run's folder.
        name: Which process: its rank.
    """
    path = f"log/console-{name}.txt"
    target: IO[bytes]
    if run.is_local:
        local = run.local_path(path)
        local.parent.mkdir(parents=True, exist_ok=True)
        target = local.open("ab", buffering=0)
    else:
        target = io.BytesIO()
    kept = sys.stdout, sys.stderr
    limit = [MOST_BYTES]
    sys.stdout = cast("TextIO", _Tee(kept[0], target, limit))
    sys.stderr = cast("TextIO", _Tee(kept[1], target, limit))
    try:
        yield
    except Exception:
        target.write(traceback.format_exc().encode("utf-8", "replace"))
        raise
    finally:
        sys.stdout, sys.stderr = kept
        if isinstance(target, io.BytesIO) and target.getvalue():
            run.write(path, target.getvalue())
        target.close()


class _Tee:
    """A text stream whose lines go to a file too.

    Args:
        stream: Where the text goes anyway; it answers for all else (``isatty``, ``encoding``).
        target: The file.
        limit: Bytes that the file still takes, shared by both streams.
    """

    def __init__(self, stream: TextIO, target: IO[bytes], limit: list[int]) -> None:
        self._stream, self._target, self._limit = stream, target, limit
        self._is_skipping = False

    def write(self, text: str) -> int:
        """Write to both; a live bar's redrawing stays out of the file."""
        self._is_skipping = "\x1b" in text or (self._is_skipping and text == "\n")
        if not self._is_skipping and self._limit[0] > 0 and not self._target.closed:
            content = text.encode("utf-8", "replace")
            self._limit[0] -= len(content)
            self._target.write(content if self._limit[0] > 0 else _CUT)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
