"""The settings of all runs of a store, kept beside the index of runs.

A run's ``experiment.yaml`` is written once. Reading thousands of them takes seconds, so what they
say is kept in a SQLite file; like the index it can be deleted at any moment.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eagleray.runs.run_folder import RunFolder, is_run_name, run_below
from eagleray.runs.settings import read_settings
from eagleray.storage import Store
from eagleray.task import EaglerayError

_VERSION = 1
_WRITTEN_AT_ONCE = 100
_WHERE = ("storage", "name")

RunSettings = Mapping[str, Any]
"""Settings by dotted name."""


class SettingsIndex:
    """What runs were made with; safe to use from several threads.

    Args:
        store: The folder of all runs.
        path: The index file; one that cannot be used is built anew, in memory if need be.
    """

    def __init__(self, store: Store, path: Path) -> None:
        self._store, self._path = store, path
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, RunSettings]] = {}
        self._database = self._open()
        self._names: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """Names of all settings that were read so far."""
        return self._names

    def of(self, runs: Sequence[str]) -> dict[str, RunSettings]:
        """Return the settings of runs by their names; nothing for a run whose file is damaged."""
        with self._lock:
            signatures = {run: self._signature(run) for run in runs}
            missing = [r for r, s in signatures.items() if self._known.get(r, ("",))[0] != s]
            for start in range(0, len(missing), _WRITTEN_AT_ONCE):
                part = missing[start : start + _WRITTEN_AT_ONCE]
                for run in part:
                    self._known[run] = signatures[run], self._read(run)
                self._write(part)
            if missing:
                self._names = self._names.union(*(self._known[run][1] for run in missing))
            return {run: self._known[run][1] for run in runs}

    def _signature(self, run: str) -> str:
        """Return what changes with the file; elsewhere than on a disk it is taken as written."""
        if not is_run_name(run):
            return "none"
        if not self._store.is_local:
            return "stored"
        try:
            state = self._store.local_path(f"{run}/{RunFolder.EXPERIMENT}").lstat()
        except OSError:
            return "none"
        return f"{state.st_mtime_ns} {state.st_size}"

    def _read(self, run: str) -> RunSettings:
        if not is_run_name(run):
            return {}
        try:
            return _shared(read_settings(run_below(self._store, run)))
        except (EaglerayError, OSError):
            return {}

    def _write(self, runs: Iterable[str]) -> None:
        rows = [(r, s, json.dumps(v, default=str)) for r in runs for s, v in [self._known[r]]]
        try:
            with self._database:
                sql = "INSERT OR REPLACE INTO settings VALUES (?, ?, ?)"
                self._database.executemany(sql, rows)
        except sqlite3.Error:
            self._database.close()
            self._database = _create(":memory:")

    def _open(self) -> sqlite3.Connection:
        for path in (str(self._path), ":memory:"):
            try:
                database = _create(path)
                for run, signature, text in database.execute("SELECT * FROM settings"):
                    self._known[str(run)] = str(signature), _shared(json.loads(text))
            except (sqlite3.Error, ValueError, TypeError, AttributeError):
                self._known = {}
                self._path.unlink(missing_ok=True)
                continue
            self._names = frozenset().union(*(values for _, values in self._known.values()))
            return database
        return _create(":memory:")


def _shared(values: Mapping[str, Any]) -> RunSettings:
    """Return settings whose names are kept once for all runs, without where a run lies."""
    return {sys.intern(name): value for name, value in values.items() if name not in _WHERE}


def _create(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, timeout=10)
    if database.execute("PRAGMA user_version").fetchone()[0] not in (0, _VERSION):
        database.execute("DROP TABLE IF EXISTS settings")
    sql = "CREATE TABLE IF NOT EXISTS settings (run TEXT PRIMARY KEY, signature TEXT, content TEXT)"
    database.execute(sql)
    database.execute(f"PRAGMA user_version = {_VERSION}")
    database.commit()
    return database
