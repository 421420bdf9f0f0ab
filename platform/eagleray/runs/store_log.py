"""Log lines of a process into any storage; an object store takes whole files only."""

from __future__ import annotations

import logging
import threading

from eagleray.storage import Store
from eagleray.task import EaglerayError

_EVERY_S = 10.0
_MOST_LINES = 5000
"""Lines that a file holds; older ones are left out, and a line says so."""


class StoreLog(logging.Handler):
    """Writes log lines as one file, again every few seconds while there are new ones.

    Args:
        run: The folder.
        path: The file in it.
    """

    def __init__(self, run: Store, path: str) -> None:
        super().__init__()
        self._run, self._path = run, path
        self._lines: list[str] = []
        self._left_out, self._written = 0, 0
        self._changed = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line for the next write."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        with self._changed:
            self._lines.append(line)
            if len(self._lines) > _MOST_LINES:
                self._left_out += 1
                del self._lines[0]

    def close(self) -> None:
        """Write what is left; later lines are lost."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=60)
        self._write()
        super().close()

    def _keep_writing(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._write()

    def _write(self) -> None:
        with self._changed:
            total = self._left_out + len(self._lines)
            if total == self._written:
                return
            head = [f"... {self._left_out} lines before"] if self._left_out else []
            text = "\n".join([*head, *self._lines]) + "\n"
        try:
            self._run.write(self._path, text.encode("utf-8", "replace"))
        except (OSError, EaglerayError):  # a log must not end what it tells about
            return
        self._written = total
