"""A lease with a fencing number keeps two drivers off one run.

Correctness never rests on it: metrics and checkpoints carry the attempt's number, and readers take
the highest.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from types import TracebackType
from typing import Any

from eagleray.storage import Store
from eagleray.task import EaglerayError

_BEAT_S = 15.0
_STALE_S = 60.0


class RunIsBusyError(EaglerayError):
    """Another driver holds the run."""


class Lease:
    """Holds a run while in its ``with`` block; ``attempt`` is its fencing number, from 1.

    Raises:
        RunIsBusyError: Another live driver holds the run.
    """

    def __init__(self, run: Store) -> None:
        self._run = run
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)
        self.attempt = 0

    def __enter__(self) -> Lease:
        latest = _latest(self._run)
        if latest and _is_alive(latest):
            raise RunIsBusyError(
                f"run {self._run.uri} is held by process {latest['pid']} on {latest['host']}; "
                "wait for it, stop it, or give --new for a run of its own"
            )
        attempt = int(latest["attempt"]) + 1 if latest else 1
        while not self._run.create(_path(attempt), self._beat(attempt)):
            attempt += 1
        self.attempt = attempt
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._run.write(_path(self.attempt), self._beat(self.attempt, released=True))

    def _keep_alive(self) -> None:
        while not self._stop.wait(_BEAT_S):
            self._run.write(_path(self.attempt), self._beat(self.attempt))

    def _beat(self, attempt: int, *, released: bool = False) -> bytes:
        state = {
            "attempt": attempt,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "time_s": time.time(),
            "released": released,
        }
        return json.dumps(state).encode()


def is_held(run: Store) -> bool:
    """Return whether a live driver holds the run; a damaged lease is held by nobody."""
    try:
        latest = _latest(run)
        return latest is not None and _is_alive(latest, own=True)
    except (ValueError, KeyError, TypeError, OSError):
        return False


def _path(attempt: int) -> str:
    return f"lease/{attempt:06d}.json"


def _latest(run: Store) -> dict[str, Any] | None:
    files = run.files("lease")
    if not files:
        return None
    state: dict[str, Any] = json.loads(run.read(files[-1]))
    return state


def _is_alive(state: dict[str, Any], *, own: bool = False) -> bool:
    if state["released"] or time.time() - state["time_s"] > _STALE_S:
        return False
    if state["host"] != socket.gethostname():
        return True
    try:
        os.kill(state["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return own or bool(state["pid"] != os.getpid())
