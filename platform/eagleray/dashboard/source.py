"""What pages read: the indices over runs and sweeps, and a run's files when they are shown."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from eagleray.browse.figures import NamedHistory
from eagleray.browse.index import RunEntry, RunIndex
from eagleray.browse.settings_index import SettingsIndex
from eagleray.browse.sweep_index import SweepIndex
from eagleray.runs.metrics import LIVE, History, parse_segments, segment_names
from eagleray.runs.run_folder import RunFolder, is_run_name, run_below
from eagleray.storage import Store

_HISTORIES_KEPT = 64


class Source:
    """Reads a store for the pages; safe to use from several threads.

    Args:
        storage: Folder or URI that holds ``runs/``, ``sweeps/`` and ``prepared/``.
        cache: Folder for the index and for thumbnails; by default in the user's cache.
    """

    def __init__(self, storage: str, cache: Path | None = None) -> None:
        self.storage = storage
        self.index = RunIndex(storage, cache / "runs.sqlite" if cache else None)
        self.cache = self.index.path.parent
        self.sweeps = SweepIndex(storage)
        self.settings = SettingsIndex(self.index.store, self.cache / "settings.sqlite")
        self._reading: threading.Thread | None = None
        self._lock = threading.Lock()
        self._histories: OrderedDict[str, tuple[str, History]] = OrderedDict()

    @property
    def uri(self) -> str:
        """Where the store is."""
        return Store(self.storage).uri

    def runs(self) -> list[RunEntry]:
        """Return all runs by name."""
        return self.index.runs()

    def read_settings_behind(self) -> None:
        """Begin to read the settings of all runs, so that a filter finds them read."""
        if self._reading is None:
            names = [entry.name for entry in self.runs()]
            self._reading = threading.Thread(target=self.settings.of, args=(names,), daemon=True)
            self._reading.start()

    def run(self, name: str) -> RunEntry | None:
        """Return a run by ``experiment/run``, None where there is none (any more)."""
        return self.index.find(name)

    def folder(self, name: str) -> RunFolder:
        """Return the folder of a run whose name ``is_run_name``."""
        return run_below(self.index.store, name)

    def is_inside(self, name: str, path: str) -> bool:
        """Return whether a run's file lies in its folder, also after following links."""
        if not self.index.store.is_local:
            return True
        root = self.index.store.local_path("x").parent.resolve()
        return self.folder(name).local_path(path).resolve().is_relative_to(root / name)

    def history(self, name: str) -> History:
        """Return what a run has logged; a segment is written once, so only changes are read."""
        if not is_run_name(name):
            return parse_segments({})
        run = self.folder(name)
        newest = run.read_many([LIVE]).get(LIVE, b"")
        segments = segment_names(run)
        version = self._version(run, segments, newest)
        with self._lock:
            known = self._histories.get(name)
            if known and known[0] == version:
                self._histories.move_to_end(name)
                return known[1]
        history = parse_segments(run.read_many(segments), newest)
        with self._lock:
            self._histories[name] = (version, history)
            while len(self._histories) > _HISTORIES_KEPT:
                self._histories.popitem(last=False)
        return history

    def history_version(self, name: str) -> str:
        """Return a text that changes when a run has logged something."""
        run = self.folder(name)
        newest = run.read_many([LIVE]).get(LIVE, b"")
        return self._version(run, segment_names(run), newest)

    def named_histories(self, names: list[str]) -> list[NamedHistory]:
        """Return what several runs have logged, under names as short as they stay distinct."""
        experiments = {name.partition("/")[0] for name in names}
        shorten = len(experiments) == 1 and len(names) > 1
        return [
            NamedHistory(name.partition("/")[2] if shorten else name, self.history(name))
            for name in names
        ]

    def _version(self, run: Store, segments: list[str], newest: bytes) -> str:
        sizes = []
        if run.is_local:
            for path in segments:
                try:
                    found = run.local_path(path).stat()
                    sizes.append((path, found.st_size, found.st_mtime_ns))
                except OSError:
                    sizes.append((path, -1, 0))
        return f"{sizes or segments}{newest!r}"
