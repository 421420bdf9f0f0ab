"""All sweeps of a store, kept in memory so that pages open at once.

Only files that changed since they were read are read again: a file's size and time tell on a local
disk; an object store is listed and read anew, but less often. The files are the truth.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eagleray.runs.run_folder import is_run_name
from eagleray.storage import Store
from eagleray.sweep.sweep_folder import (
    EXPERIMENT_FILE,
    SWEEP_FILE,
    TRIALS_FOLDER,
    SweepRecord,
    TrialRecord,
    read_sweep,
    sweeps_store,
)
from eagleray.sweep.sweep_results import SweepResults, assemble, read_results, readable_trial
from eagleray.task import EaglerayError

_REFRESH_LOCAL_S, _REFRESH_REMOTE_S = 1.0, 15.0

Signature = tuple[int, int]
"""Time in ns and size of a file."""


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


@dataclass
class _Known:
    """What was read of a sweep's files, by path."""

    signatures: Mapping[str, Signature]
    trials: dict[str, TrialRecord | str]
    entry: SweepEntry


class SweepIndex:
    """The sweeps of a store; safe to use from several threads.

    Args:
        storage: Folder or URI that holds ``sweeps/``.
    """

    def __init__(self, storage: str) -> None:
        self.store = sweeps_store(storage)
        self._lock = threading.Lock()
        self._refreshed = -float("inf")
        self._known: dict[str, _Known] = {}

    def sweeps(self) -> list[SweepEntry]:
        """Return all sweeps by name, as they are now."""
        every = _REFRESH_LOCAL_S if self.store.is_local else _REFRESH_REMOTE_S
        with self._lock:
            if time.monotonic() - self._refreshed > every:
                self._known = self._read_local() if self.store.is_local else self._read_remote()
                self._refreshed = time.monotonic()
            return [self._known[name].entry for name in sorted(self._known)]

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

    def _read_local(self) -> dict[str, _Known]:
        root = Path(self.store.path("x")).parent
        found = {}
        for experiment in _folders(root):
            for sweep in _folders(experiment):
                name = f"{experiment.name}/{sweep.name}"
                signatures = _signatures(sweep)
                before = self._known.get(name)
                if before is None or before.signatures != signatures:
                    before = self._read(name, signatures, before)
                found[name] = before
        return found

    def _read(self, name: str, signatures: dict[str, Signature], before: _Known | None) -> _Known:
        changed_s = max((at for at, _ in signatures.values()), default=0) / 1e9
        version = str(hash(tuple(sorted(signatures.items()))))
        entry = SweepEntry(name, None, "its name is not one that eagleray gives", changed_s)
        trials: dict[str, TrialRecord | str] = {}
        if is_run_name(name) and SWEEP_FILE not in signatures:
            entry = SweepEntry(name, None, f"it is no sweep: there is no {SWEEP_FILE}", changed_s)
        elif is_run_name(name):
            sweep = self.store.child(name)
            for path, signature in signatures.items():
                if path.startswith(TRIALS_FOLDER):
                    is_same = before is not None and before.signatures.get(path) == signature
                    trials[path] = (
                        before.trials[path] if before and is_same else _trial(sweep, path)
                    )
            entry = _entry(name, sweep, trials, changed_s, version)
        return _Known(signatures, trials, entry)

    def _read_remote(self) -> dict[str, _Known]:
        found = {}
        for experiment in self.store.folders():
            for sweep in self.store.folders(experiment):
                name = f"{experiment}/{sweep}"
                entry = SweepEntry(name, None, "its name is not one that eagleray gives")
                if is_run_name(name):
                    entry = self._remote_entry(name)
                found[name] = _Known({}, {}, entry)
        return found

    def _remote_entry(self, name: str) -> SweepEntry:
        try:
            results = read_results(self.store.child(name))
        except (EaglerayError, OSError) as error:
            return SweepEntry(name, None, str(error), version=str(error))
        version = f"{results.record!r}{results.trials!r}{results.problems!r}"
        return SweepEntry(name, results, version=str(hash(version)))


def _trial(sweep: Store, path: str) -> TrialRecord | str:
    problems: list[str] = []
    return readable_trial(sweep, path, problems) or "".join(problems)


def _entry(
    name: str,
    sweep: Store,
    trials: Mapping[str, TrialRecord | str],
    changed_s: float,
    version: str,
) -> SweepEntry:
    problems = [trial for trial in trials.values() if isinstance(trial, str) and trial]
    readable = [trial for trial in trials.values() if isinstance(trial, TrialRecord)]
    try:
        record: SweepRecord = read_sweep(sweep)
        results = assemble(sweep, record, readable, problems)
    except (EaglerayError, OSError) as error:
        return SweepEntry(name, None, str(error), changed_s, version)
    return SweepEntry(name, results, "", changed_s, version)


def _folders(path: Path) -> list[Path]:
    """Return the folders in one, without following links."""
    try:
        with os.scandir(path) as entries:
            return [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _signatures(sweep: Path) -> dict[str, Signature]:
    """Return time and size of a sweep's files by their path in it; links are left out."""
    found = {}
    names = [(sweep / name, name) for name in (SWEEP_FILE, EXPERIMENT_FILE)]
    try:
        with os.scandir(sweep / TRIALS_FOLDER) as entries:
            names += [(Path(e.path), f"{TRIALS_FOLDER}/{e.name}") for e in entries]
    except OSError:
        pass
    for path, name in names:
        if name.endswith(".json") or name == EXPERIMENT_FILE:
            try:
                state = path.lstat()
            except OSError:
                continue
            if not path.is_symlink():
                found[name] = (state.st_mtime_ns, state.st_size)
    return found
