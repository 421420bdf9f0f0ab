"""A lease with a fencing number keeps two drivers off one run.

Exclusive creation of ``lease/<attempt>.json`` decides: of drivers that begin at the same instant
one creates the file, and the others look again and find it. Correctness never rests on the lease:
metrics and checkpoints carry the attempt's number, and readers take the highest. A driver that was
cut off and comes back therefore harms nothing.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
from types import TracebackType
from typing import Any

from eagleray.contract.errors import EaglerayError
from eagleray.runs.strange_files import warn_once
from eagleray.storage import Store

_BEAT_S = 15.0
"""Between two signs of life of a holder."""
_STALE_S = 60.0
"""A holder without a sign of life for this long has died: three beats may be lost."""
_FILE = re.compile(r"lease/(\d{6,})\.json")

_logger = logging.getLogger(__name__)


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
        while not self.attempt:
            latest = _latest(self._run)
            if latest and _is_alive(latest) and self._beats_on(latest):
                raise RunIsBusyError(
                    f"run {self._run.uri} is held by process {latest['pid']} on {latest['host']}; "
                    "wait for it, stop it, or give --new for a run of its own"
                )
            attempt = int(latest["attempt"]) + 1 if latest else 1
            # Whoever loses here has met a driver that began at the same instant: it looks again.
            if self._run.create(_path(attempt), self._beat(attempt)):
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

    def _beats_on(self, latest: dict[str, Any]) -> bool:
        """Return whether a holder lives whose clock may disagree with ours.

        A time in the future says nothing about now, so its file is watched for a change.
        """
        if latest["time_s"] - time.time() <= _STALE_S:
            return True
        _logger.warning(
            "the clock of %s is ahead by %.0f s: waiting up to %.0f s for a sign of life of the "
            "process %s that holds %s",
            *(latest["host"], latest["time_s"] - time.time(), _STALE_S, latest["pid"]),
            self._run.uri,
        )
        until = time.monotonic() + _STALE_S
        while time.monotonic() < until:
            time.sleep(min(1.0, _BEAT_S))
            if _latest(self._run) != latest:
                return True
        return False

    def _keep_alive(self) -> None:
        while not self._stop.wait(_BEAT_S):
            try:
                self._run.write(_path(self.attempt), self._beat(self.attempt))
            except Exception as error:  # object stores raise what they like
                _logger.warning("a sign of life for %s was lost: %s", self._run.uri, error)

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
    except OSError:
        return False


def _path(attempt: int) -> str:
    return f"lease/{attempt:06d}.json"


def _latest(run: Store) -> dict[str, Any] | None:
    """Return the newest lease; files that are none (somebody's copies) are passed over."""
    attempts = {}
    for path in run.files("lease"):
        if match := _FILE.fullmatch(path):
            attempts[int(match[1])] = path
        else:
            warn_once(_logger, f"{run.uri}/{path} is no lease and is passed over")
    if not attempts:
        return None
    newest = max(attempts)
    try:
        state = json.loads(run.read(attempts[newest]))
        return {key: state[key] for key in ("attempt", "pid", "host", "time_s", "released")}
    except (ValueError, KeyError, TypeError):
        _logger.warning("%s/%s is damaged: nobody holds the run", run.uri, attempts[newest])
        return {"attempt": newest, "pid": 0, "host": "", "time_s": 0.0, "released": True}


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
