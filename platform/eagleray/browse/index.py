"""An index over all runs of a store, so that a list of thousands opens at once.

It is a SQLite file with one row per run: what the run's summary says and by which size and time of
the file it was read. The files are the truth: the index can be deleted at any moment and is built
again; only runs whose files changed are read again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import tempfile
import threading
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from eagleray.runs.lease import is_held
from eagleray.runs.marks import MARKS_FILE, RunMarks
from eagleray.runs.metrics import LIVE, parse_segments
from eagleray.runs.records import INITIAL, RunSummary
from eagleray.runs.run_folder import RunFolder, is_run_name, runs_store
from eagleray.storage import Store
from eagleray.task import InputError

_log = logging.getLogger(__name__)

_VERSION = 2
_SUMMARY = RunFolder.SUMMARY
_SETTINGS = RunFolder.EXPERIMENT
_FILES = (_SUMMARY, MARKS_FILE)
_REFRESH_LOCAL_S, _REFRESH_REMOTE_S = 1.0, 15.0
_WORKING = ("training", "preparing", "evaluating")

Signature = tuple[int, int, int]
"""Locally: time in ns and size of the summary, and time of the folder; elsewhere: 0, size and
checksum of the summary."""


@dataclass(frozen=True)
class RunEntry:
    """One run as its summary tells it.

    Args:
        name: ``experiment/run``.
        summary: What ``summary.json`` says; empty where there is none or it is damaged.
        problem: What is wrong with the run's files, empty where nothing is.
        changed_s: Time of the summary's last change, seconds since 1970.
        is_live: A live driver holds the run.
        marks: What people say about it.
    """

    name: str
    summary: RunSummary = field(default_factory=RunSummary, repr=False)
    problem: str = ""
    changed_s: float = 0.0
    is_live: bool = False
    marks: RunMarks = field(default_factory=RunMarks)

    @property
    def state(self) -> str:
        """What became of the run: the summary's state, ``interrupted`` where nobody goes on with
        it, ``evaluated`` where what it trained was, ``damaged`` where its files cannot be read.
        """
        if self.problem:
            return "damaged"
        state = self.summary.state or "prepared"
        if state == "trained" and any(r.checkpoint != INITIAL for r in self.summary.results):
            return "evaluated"
        return "interrupted" if state in _WORKING and not self.is_live else state


def default_index_path(storage: str) -> Path:
    """Return where the index of a store is kept: in the user's cache, never in the store."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(Store(storage).uri.encode()).hexdigest()[:16]
    return base / "eagleray" / digest / "runs.sqlite"


class _Read(NamedTuple):
    """A run as it was read, with the text of its summary that the index keeps."""

    entry: RunEntry
    summary: str
    marks: str
    signature: Signature


class RunIndex:
    """The runs of a store; safe to use from several threads.

    Args:
        storage: Folder or URI that holds ``runs/``.
        path: The index file; one that cannot be used is built anew, in a temporary folder if need
            be.
    """

    def __init__(self, storage: str, path: Path | None = None) -> None:
        self.storage = storage
        self.store = runs_store(storage)
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._refreshed = -float("inf")
        self._entries: dict[str, RunEntry] = {}
        self._signatures: dict[str, Signature] = {}
        self.path = path or default_index_path(storage)
        self._database = self._open()

    def runs(self) -> list[RunEntry]:
        """Return all runs by name, as they are now.

        An object store is looked at less often, and in the background once its runs are known.
        """
        every = _REFRESH_LOCAL_S if self.store.is_local else _REFRESH_REMOTE_S
        if time.monotonic() - self._refreshed > every:
            if self.store.is_local or not self._entries:
                with self._refreshing:
                    self._refresh()
            elif self._refreshing.acquire(blocking=False):
                threading.Thread(target=self._refresh_and_release, daemon=True).start()
        with self._lock:
            entries = [self._entries[name] for name in sorted(self._entries)]
        return [_with_live_state(self.store, entry) for entry in entries]

    def find(self, name: str) -> RunEntry | None:
        """Return a run by ``experiment/run``, None where there is none (any more)."""
        if not is_run_name(name) or not self.store.exists(name):
            return None
        known = next((entry for entry in self.runs() if entry.name == name), None)
        if known is None and not self.store.is_local:
            return self._read(name, self.store.read_many(_paths(name))).entry
        return known

    def look_again(self) -> None:
        """Read anew at the next question, because something was changed."""
        self._refreshed = -float("inf")

    def close(self) -> None:
        """Close the index file."""
        with self._lock:
            self._database.close()

    def _refresh_and_release(self) -> None:
        try:
            self._refresh()
        finally:
            self._refreshing.release()

    def _refresh(self) -> None:
        if self.store.is_local:
            signatures = _local_signatures(self.store)
            names = list(signatures)
            looked_at = [n for n in names if self._signatures.get(n) != signatures[n]]
        else:
            signatures = {}
            names = [f"{e}/{r}" for e in self.store.folders() for r in self.store.folders(e)]
            looked_at = names
        usable = [path for name in looked_at if is_run_name(name) for path in _paths(name)]
        try:
            contents = self.store.read_many(usable)
        except OSError as error:
            if not self._entries:
                raise
            _log.warning(
                "%s does not answer (%s): runs are shown as they were", self.store.uri, error
            )
            self._refreshed = time.monotonic()
            return
        changed: list[_Read] = []
        for name in looked_at:
            known = signatures.get(name) or _content_signature(name, contents)
            if self._signatures.get(name) != known:
                changed.append(self._read(name, contents, known))
        with self._lock:
            self._keep(changed, self._entries.keys() - set(names))
        self._refreshed = time.monotonic()

    def _read(
        self, name: str, contents: Mapping[str, bytes], signature: Signature | None = None
    ) -> _Read:
        content = contents.get(f"{name}/{_SUMMARY}")
        is_named = is_run_name(name)
        is_run = content is not None or (is_named and self.store.exists(f"{name}/{_SETTINGS}"))
        signature = signature or _content_signature(name, contents)
        marks = contents.get(f"{name}/{MARKS_FILE}", b"{}")
        changed_s = signature[0] / 1e9
        if content is not None and not changed_s:
            changed_s = self.store.changed_s(f"{name}/{_SUMMARY}")
        values, problem = _summary_values(name, content, is_run=is_run)
        told = RunMarks.parse(marks)
        entry = RunEntry(name, RunSummary.parse(values), problem, changed_s, marks=told)
        return _Read(entry, json.dumps(values), told.encode().decode(), signature)

    def _keep(self, changed: Iterable[_Read], gone: Iterable[str]) -> None:
        statements: list[tuple[str, tuple[Any, ...]]] = []
        for entry, text, marks, signature in changed:
            self._entries[entry.name], self._signatures[entry.name] = entry, signature
            row = (entry.name, *signature, text, entry.problem, entry.changed_s, marks)
            statements.append(("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row))
        for name in gone:
            del self._entries[name]
            self._signatures.pop(name, None)
            statements.append(("DELETE FROM runs WHERE name = ?", (name,)))
        if statements:
            self._execute(statements)

    def _execute(self, statements: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            with self._database:
                for sql, values in statements:
                    self._database.execute(sql, values)
        except sqlite3.Error:
            self._database.close()
            self._database = _create(":memory:")

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            self.path = Path(tempfile.mkdtemp(prefix="eagleray-")) / "runs.sqlite"
        try:
            return self._load(str(self.path))
        except (sqlite3.Error, ValueError, TypeError, InputError):
            self._entries, self._signatures = {}, {}
        try:
            self.path.unlink(missing_ok=True)
            return _create(str(self.path))
        except (OSError, sqlite3.Error):
            return _create(":memory:")

    def _load(self, path: str) -> sqlite3.Connection:
        database = _create(path)
        rows = database.execute("SELECT * FROM runs").fetchall()
        for name, time_ns, size, folder_ns, summary, problem, changed_s, marks in rows:
            values = RunSummary.parse(json.loads(summary))
            told = RunMarks.parse(str(marks).encode())
            entry = RunEntry(str(name), values, str(problem), float(changed_s), marks=told)
            self._entries[entry.name] = entry
            self._signatures[entry.name] = (time_ns, size, folder_ns)
        return database


def _create(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, timeout=10)
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, _VERSION):
        database.execute("DROP TABLE IF EXISTS runs")
    database.execute(
        "CREATE TABLE IF NOT EXISTS runs (name TEXT PRIMARY KEY, time_ns INTEGER, size INTEGER, "
        "folder_ns INTEGER, summary TEXT, problem TEXT, changed_s REAL, marks TEXT)"
    )
    database.execute(f"PRAGMA user_version = {_VERSION}")
    database.commit()
    return database


def _local_signatures(store: Store) -> dict[str, Signature]:
    """Return time and size of every run's summary, with as few looks at the disk as possible."""
    found: dict[str, Signature] = {}
    root = Path(store.path("x")).parent
    for experiment in _folders(root):
        for run in _folders(Path(experiment.path)):
            try:
                folder = run.stat(follow_symlinks=False).st_mtime_ns
                try:
                    state = Path(run.path, _SUMMARY).stat(follow_symlinks=False)
                    signature = (state.st_mtime_ns, state.st_size, folder)
                except FileNotFoundError:
                    signature = (0, 0, folder)
            except OSError:
                continue
            found[f"{experiment.name}/{run.name}"] = signature
    return found


def _paths(name: str) -> list[str]:
    return [f"{name}/{file}" for file in _FILES]


def _content_signature(name: str, contents: Mapping[str, bytes]) -> Signature:
    content = contents.get(f"{name}/{_SUMMARY}")
    marks = contents.get(f"{name}/{MARKS_FILE}", b"")
    return (
        0,
        -1 if content is None else len(content),
        zlib.crc32(marks, zlib.crc32(content or b"")),
    )


def _folders(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _summary_values(
    name: str, content: bytes | None, *, is_run: bool
) -> tuple[dict[str, Any], str]:
    """Return what a run's summary holds, and what is wrong with the run."""
    if not is_run_name(name):
        return {}, "its name is not one that eagleray gives"
    if not is_run:
        return {}, f"it is no run: there is no {_SETTINGS}"
    if content is None:
        return {}, ""
    try:
        values = json.loads(content)
    except ValueError as error:
        return {}, f"{_SUMMARY} is damaged: {error}"
    if not isinstance(values, dict):
        return {}, f"{_SUMMARY} is damaged: it is no mapping"
    return values, ""


def _with_live_state(store: Store, entry: RunEntry) -> RunEntry:
    """Return a working run with what it has reached, which its summary says only at the end."""
    if entry.summary.state not in _WORKING:
        return entry
    run = store.child(entry.name)
    if not is_held(run):
        return entry
    summary = entry.summary
    try:
        history = parse_segments({}, run.read_many([LIVE]).get(LIVE, b""))
    except OSError:  # the storage does not answer: what is known stays
        return entry
    if len(history):
        newest = {name.partition("/")[2]: value for name, value in history.last().items()}
        train = {**summary.train, **newest}
        summary = replace(summary, step=int(history.steps[-1]), train=train)
    return replace(entry, summary=summary, is_live=True)
