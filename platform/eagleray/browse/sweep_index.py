"""All sweeps of a store, kept in memory so that pages open at once.

On a local disk only sweeps whose files changed are read again: a file's size and time tell. An
object store is listed and read anew, but less often. The files are the truth.
"""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from eagleray.runs.run_folder import is_run_name
from eagleray.sweep.folder import SweepFolder, sweep_below, sweeps_store
from eagleray.sweep.results import SweepResults, read_results
from eagleray.task import EaglerayError

_REFRESH_LOCAL_S, _REFRESH_REMOTE_S = 1.0, 15.0


@dataclass(frozen=True)
class SweepEntry:
    """One sweep as its files tell it.

    Args:
        name: ``experiment/sweep``.
        results: What it found; None where it cannot be read.
        problem: Why it cannot be read, empty where it can.
        changed_s: Time of the last change of any of its files, seconds since 1970; 0 where that
            is not known.
        version: Changes when any of its files does.
    """

    name: str
    results: SweepResults | None
    problem: str = ""
    changed_s: float = 0.0
    version: str = ""


class SweepIndex:
    """The sweeps of a store; safe to use from several threads.

    Args:
        storage: Folder or URI that holds ``sweeps/``.
    """

    def __init__(self, storage: str) -> None:
        self.store = sweeps_store(storage)
        self._lock = threading.Lock()
        self._refreshed = -float("inf")
        self._entries: dict[str, SweepEntry] = {}

    def sweeps(self) -> list[SweepEntry]:
        """Return all sweeps by name, as they are now."""
        every = _REFRESH_LOCAL_S if self.store.is_local else _REFRESH_REMOTE_S
        with self._lock:
            if time.monotonic() - self._refreshed > every:
                self._entries = {name: self._entry(name) for name in self._names()}
                self._refreshed = time.monotonic()
            return [self._entries[name] for name in sorted(self._entries)]

    def find(self, name: str) -> SweepEntry | None:
        """Return a sweep by ``experiment/sweep``, None where there is none (any more)."""
        return next((entry for entry in self.sweeps() if entry.name == name), None)

    def sweeps_of(self, run: str) -> list[str]:
        """Return the names of the sweeps that a run (``experiment/run``) is a trial of."""
        return [
            entry.name
            for entry in self.sweeps()
            if entry.results and any(trial.run == run for trial in entry.results.trials)
        ]

    def _names(self) -> list[str]:
        names = []
        for experiment in self.store.folders():
            with suppress(EaglerayError):  # a name that no store reads
                names += [f"{experiment}/{sweep}" for sweep in self.store.folders(experiment)]
        return names

    def _entry(self, name: str) -> SweepEntry:
        if not is_run_name(name):
            return SweepEntry(name, None, "its name is not one that eagleray gives")
        sweep = sweep_below(self.store, name)
        signatures = _signatures(sweep) if self.store.is_local else {}
        version = str(hash(tuple(sorted(signatures.items())))) if signatures else ""
        known = self._entries.get(name)
        if version and known is not None and known.version == version:
            return known
        changed_s = max((time_ns for time_ns, _ in signatures.values()), default=0) / 1e9
        paths = [path for path in signatures if path.startswith(sweep.TRIALS)]
        try:
            results = read_results(sweep, paths if self.store.is_local else None)
        except (EaglerayError, OSError) as error:
            return SweepEntry(name, None, str(error), changed_s, version or str(error))
        if not self.store.is_local:
            version = str(hash(f"{results.summary!r}{results.trials!r}{results.problems!r}"))
        return SweepEntry(name, results, "", changed_s, version)


def _signatures(sweep: SweepFolder) -> Mapping[str, tuple[int, int]]:
    """Return time in ns and size of a sweep's files by their path in it; links are left out."""
    root = sweep.local_path(sweep.SUMMARY).parent
    trials = (root / sweep.TRIALS).glob("*.json")
    signatures = {}
    for path in (root / sweep.SUMMARY, root / sweep.EXPERIMENT, *trials):
        with suppress(OSError):
            state = path.lstat()
            if not stat.S_ISLNK(state.st_mode):
                signatures[str(path.relative_to(root))] = (state.st_mtime_ns, state.st_size)
    return signatures
