"""Tells trackers what a run has written, from a thread of the command that works on it.

A tracker follows the run's folder, not the training: it is told what the folder holds and it has
not been told yet, and ``track/<tracker>.json`` says how far that is. So it sees the same whatever
trains, a run that goes on appends to the same run there, and what could not be told (no network) is
told by the next command. A tracker that fails is named once and tried again; it never ends a run.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec

import numpy as np
from pydantic import TypeAdapter, ValidationError

from eagleray.experiment.schema import ExperimentSettings, TrackSettings
from eagleray.runs.metrics import TIME, History, parse_segments, segment_names
from eagleray.runs.provenance import PACKAGES
from eagleray.runs.records import encode_json
from eagleray.runs.run_folder import RunFolder
from eagleray.runs.settings import flat_settings
from eagleray.storage import Store, sha256
from eagleray.task import SettingsError
from eagleray.track.protocol import DONE, Logged, RunFacts, Tracker

_log = logging.getLogger(__name__)

FOLDER = "track"
_LOOK_EVERY_S = 15.0
_LONGEST_PAUSE_S = 600.0
_LAST_WORDS_S = 60.0
"""How long a command waits at its end for a tracker that does not answer."""


@dataclass
class Told:
    """What a tracker knows of a run.

    Args:
        id: The run's id there; empty before the first time.
        steps: Highest optimizer step told, by the kind of its line (``train``, ``validate``).
        contents: Digests of results and files told, by name.
    """

    id: str = ""
    steps: dict[str, int] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Store, tracker: str) -> Told:
        """Return what is known; nothing where the file is missing or damaged."""
        with suppress(FileNotFoundError, ValueError, ValidationError):
            return _TOLD.validate_python(json.loads(run.read(f"{FOLDER}/{tracker}.json")))
        return cls()

    def write(self, run: Store, tracker: str) -> None:
        """Keep what is known."""
        run.write(f"{FOLDER}/{tracker}.json", encode_json(asdict(self)))


_TOLD = TypeAdapter(Told)


def check_trackers(settings: TrackSettings) -> None:
    """Refuse trackers whose package is not installed.

    Raises:
        SettingsError: One is not.
    """
    for name in _makers(settings):
        if find_spec(name) is None:
            raise SettingsError(
                f"track.{name} is set, but the package {name!r} is not installed here: "
                f"pip install {name}, or leave the section out"
            )


def _makers(settings: TrackSettings) -> dict[str, Callable[[], Tracker]]:
    """Return what makes the trackers that are asked for; their packages are imported by then."""
    makers: dict[str, Callable[[], Tracker]] = {}
    mlflow, wandb = settings.mlflow, settings.wandb
    if mlflow is not None:
        from eagleray.track.mlflow import MlflowTracker

        makers["mlflow"] = lambda: MlflowTracker(mlflow)
    if wandb is not None:
        from eagleray.track.wandb import WandbTracker

        makers["wandb"] = lambda: WandbTracker(wandb)
    return makers


@contextmanager
def tracked(run: RunFolder, settings: ExperimentSettings) -> Iterator[None]:
    """Tell the experiment's trackers what this process does with a run, until it is done.

    Args:
        run: The run's folder, which has been begun.
        settings: The experiment.
    """
    facts = RunFacts(
        name=run.name,
        experiment=settings.name,
        task=settings.task,
        folder=run.uri,
        settings=flat_settings(settings.model_dump(mode="json", exclude={"track"})),
    )
    tellers = [Teller(n, make, run, facts) for n, make in _makers(settings.track).items()]
    for teller in tellers:
        teller.start()
    outcome = DONE
    try:
        yield
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        for teller in tellers:
            teller.finish(outcome)


class Teller(threading.Thread):
    """Tells one tracker of one run.

    Args:
        name: Name of the tracker.
        make: Makes it.
        run: The run's folder.
        facts: What the run is.
        every_s: How often the folder is looked at.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Tracker],
        run: RunFolder,
        facts: RunFacts,
        every_s: float = _LOOK_EVERY_S,
    ) -> None:
        super().__init__(name=f"track-{name}", daemon=True)
        self._tracker_name, self._make, self._run, self._facts = name, make, run, facts
        self._every_s, self._ended, self._outcome = every_s, threading.Event(), DONE
        self._tracker: Tracker | None = None
        self._told = Told()
        self._seen: set[str] = set()
        self._is_warned, self._is_complete = False, False

    def run(self) -> None:
        """Look, until the work has ended and everything is told, or cannot be."""
        pause = self._every_s
        while not self._ended.wait(pause if self._tracker or self._is_warned else 0.0):
            pause = self._every_s if self._look() else min(2 * pause, _LONGEST_PAUSE_S)
        if self._look():
            self._is_complete = self._guarded(self._close)

    def finish(self, outcome: str) -> None:
        """Have the tracker told the rest, and wait for that, but not for ever.

        Args:
            outcome: How the work ended.
        """
        self._outcome = outcome
        self._ended.set()
        self.join(_LAST_WORDS_S)
        if not self._is_complete:
            _log.warning(
                "%s was not told everything of %s: the next command on this run tells the rest",
                self._tracker_name,
                self._facts.name,
            )

    def _look(self) -> bool:
        return self._guarded(self._tell)

    def _guarded(self, act: Callable[[], None]) -> bool:
        """Return whether ``act`` went well; the first thing that does not is said."""
        try:
            act()
        except (Exception, SystemExit) as error:  # whatever a tracker's package makes of it
            if not self._is_warned:
                self._is_warned = True
                reason = str(error).strip().split("\n", 1)[0]
                _log.warning(
                    "%s does not take what %s logs (%s: %s); the run goes on without it",
                    self._tracker_name,
                    self._facts.name,
                    type(error).__name__,
                    reason,
                )
            return False
        return True

    def _tell(self) -> None:
        tracker = self._tracker or self._opened()
        names = [name for name in segment_names(self._run) if name not in self._seen]
        segments = self._run.read_many(names)
        entries = new_entries(parse_segments(segments), self._told.steps)
        if entries:
            tracker.log(entries)
            for entry in entries:
                for name in entry.values:
                    kind = name.partition("/")[0]
                    self._told.steps[kind] = max(self._told.steps.get(kind, -1), entry.step)
            self._told.write(self._run, self._tracker_name)
        self._seen.update(segments)
        self._tell_contents(tracker)

    def _opened(self) -> Tracker:
        tracker = self._make()
        told = Told.read(self._run, self._tracker_name)
        known = tracker.open(self._facts, told.id)
        self._told = told if known == told.id else Told(known)
        self._told.write(self._run, self._tracker_name)
        self._tracker, self._seen = tracker, set()
        return tracker

    def _tell_contents(self, tracker: Tracker) -> None:
        """Tell results and files that are new or have changed."""
        results = {
            f"{r.benchmark}/{r.checkpoint}": (r, r.encode()) for r in self._run.summary().results
        }
        files = self._run.read_many([n for n in _FILES if self._run.exists(n)])
        changed = self._changed({name: content for name, (_, content) in results.items()})
        changed_files = self._changed(files)
        if changed:
            tracker.results([results[name][0] for name in changed])
        if changed_files:
            tracker.files({name: files[name] for name in changed_files})
        if changed or changed_files:
            self._told.contents |= {**changed, **changed_files}
            self._told.write(self._run, self._tracker_name)

    def _changed(self, contents: Mapping[str, bytes]) -> dict[str, str]:
        digests = {name: sha256(content) for name, content in contents.items()}
        return {n: d for n, d in digests.items() if self._told.contents.get(n) != d}

    def _close(self) -> None:
        if self._tracker is not None:
            self._tracker.close(self._outcome)


_FILES = (RunFolder.EXPERIMENT, RunFolder.ENVIRONMENT, PACKAGES)
"""Files that say how a run was made. The patch of its code stays at home."""


def new_entries(history: History, steps: Mapping[str, int]) -> list[Logged]:
    """Return what lies behind the steps that were told, by ascending steps.

    A run that was killed repeats the steps since its last checkpoint; what was told of them stays.

    Args:
        history: What was logged.
        steps: Highest step told, by kind.
    """
    times = history.columns.get(TIME, np.zeros(len(history)))
    entries = []
    for position, step in enumerate(history.steps.tolist()):
        values = {
            name: float(column[position])
            for name, column in history.columns.items()
            if name != TIME
            and np.isfinite(column[position])
            and step > steps.get(name.partition("/")[0], -1)
        }
        if values:
            entries.append(Logged(step, float(np.nan_to_num(times[position])), values))
    return entries
