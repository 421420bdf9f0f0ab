"""A sign of life in a stage's folder while somebody works on it, so that ``prune`` leaves it alone.

The sign also says whether the stage's code runs in that very process. Where such a process has
died without a word, an item may have killed it, so that whoever comes next works on Ray's workers,
which may die.

Several processes may work on one stage, so this excludes nobody: each writes a file of its own and
renews it. What died without deleting its file is taken for dead after four missed signs, or at once
where it ran on this machine; whoever works there next deletes the file.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from types import TracebackType

from eagleray.storage import Store

_FOLDER = "in_use"
_BEAT_S = 15.0
_STALE_S = 60.0

_log = logging.getLogger(__name__)


class InUse:
    """Says that a folder is worked on while in its ``with`` block.

    Args:
        folder: The stage's folder. One that cannot be written is only read, and nobody can prune
            it either.

    Attributes:
        died_here: An earlier process died in which the stage's code ran.
    """

    def __init__(self, folder: Store) -> None:
        self._folder = folder
        self._path = f"{_FOLDER}/{uuid.uuid4().hex}.json"
        self._is_here = False
        self.died_here = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> InUse:
        with suppress(Exception):
            self.died_here = _forget_dead(self._folder)
        self._beat()
        self._thread.start()
        return self

    def says_here(self, is_here: bool) -> None:
        """Say from now on whether the stage's code runs in this process."""
        self._is_here = is_here
        self._beat()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(Exception):
            self._folder.delete(self._path)

    def _keep_alive(self) -> None:
        while not self._stop.wait(_BEAT_S):
            self._beat()

    def _beat(self) -> None:
        state: dict[str, object] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time_s": time.time(),
            "here": self._is_here,
        }
        try:
            self._folder.write(self._path, json.dumps(state).encode())
        except Exception as error:  # object stores raise what they like; a sign is only a sign
            _log.info("no sign of life in %s: %s", self._folder.uri, error)


def users_of(folder: Store) -> list[str]:
    """Return who works on a stage's folder, as ``process 12 on host``; signs of the dead are
    passed over.
    """
    signs = folder.read_many(folder.files(_FOLDER)).values()
    return [who for sign in signs if (who := _alive(sign))]


def _forget_dead(folder: Store) -> bool:
    """Delete the signs of the dead; return whether one died while the stage's code ran in it."""
    died_here = False
    for path, sign in folder.read_many(folder.files(_FOLDER)).items():
        if not _alive(sign):
            died_here |= b'"here": true' in sign
            folder.delete(path)
    return died_here


def _alive(sign: bytes) -> str:
    try:
        state = json.loads(sign)
        host, pid, age_s = state["host"], int(state["pid"]), time.time() - float(state["time_s"])
    except (ValueError, KeyError, TypeError):
        return ""
    if age_s > _STALE_S:  # a clock that is ahead keeps its folder for longer, which harms nobody
        return ""
    if host == socket.gethostname():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
    return f"process {pid} on {host}"
