"""Running a suite: its entries in their order, each recorded, so that the same command goes on.

    <storage>/suites/<name>/<entry>.json    an ``EntryRecord``

An entry is an ordinary run or an ordinary command; the record says only what became of it. One that
fails is named and the next one begins. One that took the process with it twice (its record says
that it runs, but nobody does) goes last, so that the others have their turn.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from eagleray.api import Experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.progress import Progress, Silent
from eagleray.runs.environment import code_revision
from eagleray.runs.records import encode_json
from eagleray.runs.run_folder import results_digest
from eagleray.storage import Store
from eagleray.suite.schema import SuiteEntry, SuiteSettings, experiment_of
from eagleray.task import EaglerayError

DEFAULT_STORAGE = "storage"
RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"
_MOST_DEATHS = 2
_ERROR_LINES = 6


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """What became of an entry.

    Args:
        name: The entry's.
        state: ``running``, ``done``, ``failed`` or ``stopped``.
        identity: Changes when the entry asks for something else.
        task: Name of the experiment's task; empty for a command.
        storage: Where its run lies.
        run: The run as ``experiment/run``; empty where there is none.
        seconds: Wall-clock time of the calls that ended by themselves.
        starts: Calls that began it.
        error: Why it failed.
        revision: Commit of the code that ended it.
    """

    name: str
    state: str
    identity: str = ""
    task: str = ""
    storage: str = ""
    run: str = ""
    seconds: float = 0.0
    starts: int = 0
    error: str = ""
    revision: str | None = None


_RECORD = TypeAdapter(EntryRecord)


@dataclass(frozen=True, slots=True)
class SuiteOptions:
    """How a suite runs; the fields of ``eagleray.Experiment`` of the same names."""

    inline: bool = False
    limit: int | None = None
    progress: Progress = Silent()  # noqa: RUF009 - it keeps nothing
    again: bool = False


Told = Callable[[EntryRecord], None]


def suite_folder(suite: SuiteSettings) -> Store:
    """Return where the records and the page of a suite lie."""
    return Store(suite.storage or DEFAULT_STORAGE).child(f"suites/{suite.name}")


def read_records(suite: SuiteSettings) -> dict[str, EntryRecord]:
    """Return what is recorded, by entry; what cannot be read counts as not begun."""
    folder, records = suite_folder(suite), {}
    for entry in suite.entries:
        try:
            stored = json.loads(folder.read(_path(entry)))
            records[entry.label] = _RECORD.validate_python(stored)
        except (FileNotFoundError, ValueError, ValidationError):
            continue
    return records


def run_suite(
    suite: SuiteSettings, options: SuiteOptions = SuiteOptions(), told: Told = lambda record: None
) -> list[EntryRecord]:
    """Run what is not done yet, and return what became of every entry in the suite's order.

    Args:
        suite: The suite.
        options: How it runs; ``again`` runs also what is done.
        told: Told of every entry when it begins and ends.

    Raises:
        InterruptedError: It was stopped; the same call goes on.
    """
    before = read_records(suite)
    records: dict[str, EntryRecord] = {}
    for entry in sorted(suite.entries, key=lambda entry: _has_killed(before.get(entry.label))):
        old = before.get(entry.label, EntryRecord(entry.label, ""))
        records[entry.label] = _run_entry(suite, entry, old, options, told)
    return [records[entry.label] for entry in suite.entries]


def _has_killed(record: EntryRecord | None) -> bool:
    return record is not None and record.state == RUNNING and record.starts >= _MOST_DEATHS


def _run_entry(
    suite: SuiteSettings, entry: SuiteEntry, old: EntryRecord, options: SuiteOptions, told: Told
) -> EntryRecord:
    folder, experiment = suite_folder(suite), None
    record = replace(old, starts=old.starts + 1, error="", revision=code_revision())
    begin = time.monotonic()

    def ended(state: str, error: str = "") -> EntryRecord:
        seconds = old.seconds + time.monotonic() - begin
        done = replace(record, state=state, error=error, seconds=seconds)
        folder.write(_path(entry), encode_json(asdict(done)))
        told(done)
        return done

    try:
        experiment = experiment_of(suite, entry) if entry.experiment is not None else None
        identity = _identity(entry, experiment, options)
        if old.state == DONE and old.identity == identity and not options.again:
            told(old)
            return old
        record = replace(record, identity=identity, **_described(experiment, options))
        if old.identity != identity:
            old = replace(old, seconds=0.0)
        folder.write(_path(entry), encode_json(asdict(replace(record, state=RUNNING))))
        told(replace(record, state=RUNNING))
        if experiment is None:
            _run_command(entry)
        else:
            _run_experiment(entry, experiment, options)
    except (KeyboardInterrupt, InterruptedError):
        ended(STOPPED)
        raise
    except Exception as error:  # a plugin's own error, whatever it is: the next entry begins
        return ended(FAILED, _reason(error))
    return ended(DONE)


def _run_experiment(entry: SuiteEntry, settings: ExperimentSettings, options: SuiteOptions) -> None:
    experiment = _experiment(settings, options)
    if entry.verb == "prepare":
        experiment.prepare()
    else:
        experiment.run()


def _run_command(entry: SuiteEntry) -> None:
    command = [sys.executable if word == "python" else word for word in entry.command]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise EaglerayError(f"{' '.join(entry.command)} ended with status {done.returncode}")


def _experiment(settings: ExperimentSettings, options: SuiteOptions) -> Experiment:
    return Experiment(
        settings, inline=options.inline, limit=options.limit, progress=options.progress
    )


def _described(experiment: ExperimentSettings | None, options: SuiteOptions) -> dict[str, Any]:
    if experiment is None:
        return {"task": "", "storage": "", "run": ""}
    run = _experiment(experiment, options).run_folder.name
    return {"task": experiment.task, "storage": experiment.storage, "run": run}


def _identity(
    entry: SuiteEntry, experiment: ExperimentSettings | None, options: SuiteOptions
) -> str:
    """Return a name of all that decides what the entry gives."""
    asked: list[Any] = [entry.verb, list(entry.command), options.limit]
    if experiment is not None:
        evaluated = experiment.evaluate.model_dump(
            mode="json", include={"benchmarks", "checkpoint"}
        )
        asked += [results_digest(experiment), experiment.name, experiment.run, evaluated]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _reason(error: Exception) -> str:
    if isinstance(error, EaglerayError):
        return str(error)
    lines = traceback.format_exception(error)
    return "".join(lines[-_ERROR_LINES:]).strip()


def _path(entry: SuiteEntry) -> str:
    return f"{entry.label}.json"
