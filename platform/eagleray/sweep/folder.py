"""One sweep is a folder: ``<storage>/sweeps/<experiment>/<sweep>/``.

    sweep.json                what is compared: benchmark, metric, variants, seeds, space
    experiment.yaml           the resolved base experiment
    trials/<id>.json          one record per trial
    tables/                   the table of a sweep that has ended
    stop                      while it is there no trial begins
    tune/reports/<id>.json    validations so far, for the scheduler of a later call
    tune/ended/<id>           the scheduler has asked this trial's workers to end

A trial is an ordinary run; its record names that run's folder. The files are the truth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from eagleray.experiment.load import explain
from eagleray.storage import Store
from eagleray.task import InputError, SettingsError

SWEEP_FILE = "sweep.json"
EXPERIMENT_FILE = "experiment.yaml"
TRIALS_FOLDER = "trials"
_STOP_FILE = "stop"

BASELINE = "baseline"
"""Name of the variant that is the experiment itself."""

Kind = Literal["ablations", "search"]
TrialState = Literal["pending", "running", "done", "stopped", "failed"]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


R = TypeVar("R", bound=_Stored)


class SweepSummary(_Stored):
    """What a sweep compares.

    Args:
        name: Name of the sweep's folder.
        experiment: Name of the experiment.
        task: Name of its task.
        kind: ``ablations`` (named variants or a grid, with paired seeds) or ``search``.
        benchmark: The benchmark that trials are ranked on.
        metric: Its metric.
        higher_is_better: Whether the greatest value is the best.
        metric_unit: Unit of the metric where it has one.
        baseline: The variant that the others are compared with; None where there is none.
        seeds: Every variant runs with each of them.
        variants: Setting by dotted path, by name of the variant.
        space: What each searched setting is drawn from, in words, by dotted path.
        scheduler: What stops weak trials early, in words; empty for nothing.
        published: Which published model a variant is, by variant; without an entry it is the one
            of the variant's own name.
    """

    name: str
    experiment: str
    task: str
    kind: Kind
    benchmark: str
    metric: str
    higher_is_better: bool = True
    metric_unit: str | None = None
    baseline: str | None = None
    seeds: tuple[int, ...] = ()
    variants: dict[str, dict[str, Any]] = {}
    space: dict[str, str] = {}
    scheduler: str = ""
    published: dict[str, str] = {}

    def is_better(self, value: float, other: float) -> bool:
        """Return whether one value of the metric is better than another one."""
        return value > other if self.higher_is_better else value < other


class TrialRecord(_Stored):
    """One trial of a sweep.

    Args:
        id: Unique within the sweep.
        variant: Its variant; None in a search.
        seed: Its seed.
        overrides: The settings in which it differs from the base experiment, by dotted path.
        run: Its run as ``experiment/run``, below ``<storage>/runs``.
        state: ``stopped`` means that a scheduler ended it early on purpose.
        error: Why it failed.
        steps: Optimizer steps that it was trained for.
        value: The metric of its best checkpoint on the benchmark; of a stopped trial the best
            validation seen.
        best_step: Optimizer step of that checkpoint.
        last_value: The last validation of the metric.
        values: All metrics of the best checkpoint.
        device_seconds: Seconds times workers, over all attempts.
        device: Where it ran.
    """

    id: str
    variant: str | None = None
    seed: int = 0
    overrides: dict[str, Any] = {}
    run: str = ""
    state: TrialState = "pending"
    error: str | None = None
    steps: int = 0
    value: float | None = None
    best_step: int | None = None
    last_value: float | None = None
    values: dict[str, float | None] = {}
    device_seconds: float = 0.0
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def is_over(self) -> bool:
        """Whether it has a result that stays: it is done, or was stopped on purpose."""
        return self.state in ("done", "stopped")


@dataclass(frozen=True)
class SweepFolder:
    """One sweep's files; picklable.

    Args:
        store: The folder ``<storage>/sweeps/<experiment>/<sweep>``.
    """

    store: Store

    @classmethod
    def of(cls, storage: str, experiment: str, sweep: str) -> SweepFolder:
        """Return the folder of a sweep by its names."""
        return cls(sweeps_store(storage).child(f"{experiment}/{sweep}"))

    @property
    def uri(self) -> str:
        """Where it is."""
        return self.store.uri.rstrip("/")

    @property
    def name(self) -> str:
        """The sweep's name as ``experiment/sweep``."""
        return "/".join(self.uri.split("/")[-2:])

    @property
    def storage(self) -> str:
        """The storage that it lies in, beside the runs of its trials."""
        return self.uri.rsplit("/", 3)[0]

    def write(self, summary: SweepSummary, experiment: Mapping[str, Any]) -> None:
        """Write what the sweep compares, and its resolved base experiment as JSON values."""
        text = yaml.safe_dump(dict(experiment), sort_keys=False)
        self.store.write(EXPERIMENT_FILE, text.encode())
        self.store.write(SWEEP_FILE, _json(summary))

    def summary(self) -> SweepSummary:
        """Return what the sweep compares.

        Raises:
            SettingsError: The folder is no sweep.
            InputError: The file is damaged.
        """
        try:
            content = self.store.read(SWEEP_FILE)
        except FileNotFoundError as error:
            raise SettingsError(f"{self.uri} is no sweep: it has no {SWEEP_FILE}") from error
        return self._parsed(SweepSummary, content, SWEEP_FILE)

    def write_trial(self, record: TrialRecord) -> None:
        """Write one trial's record, replacing an older one."""
        self.store.write(f"{TRIALS_FOLDER}/{record.id}.json", _json(record))

    def trial(self, trial: str) -> TrialRecord | None:
        """Return one trial's record; None if there is none that can be read."""
        try:
            path = f"{TRIALS_FOLDER}/{trial}.json"
            return self._parsed(TrialRecord, self.store.read(path), path)
        except (FileNotFoundError, InputError):
            return None

    def trials(self) -> list[TrialRecord]:
        """Return the records of all trials by id.

        Raises:
            InputError: A file is damaged.
        """
        records, problems = self.readable_trials()
        if problems:
            raise InputError(problems[0])
        return records

    def readable_trials(
        self, paths: Sequence[str] | None = None
    ) -> tuple[list[TrialRecord], list[str]]:
        """Return the records that can be read by id, and what is wrong with the other files.

        Args:
            paths: Which files; by default all of them.
        """
        listed = self.store.files(TRIALS_FOLDER) if paths is None else paths
        # A backslash is part of no id, and a store reads no such path.
        chosen = [path for path in listed if path.endswith(".json") and "\\" not in path]
        contents, records, problems = self.store.read_many(chosen), [], []
        for path in chosen:
            try:
                records.append(self._parsed(TrialRecord, contents[path], path))
            except InputError as error:
                problems.append(str(error))
            except KeyError:
                problems.append(f"{self.uri}/{path} cannot be read")
        return sorted(records, key=lambda record: record.id), problems

    def write_validations(self, trial: str, validations: Sequence[tuple[float, int]]) -> None:
        """Write value and step of a trial's validations so far."""
        self.store.write(_validations_path(trial), json.dumps(validations).encode())

    def validations(self, trial: str) -> list[tuple[float, int]]:
        """Return value and step of a trial's validations so far."""
        try:
            listed = json.loads(self.store.read(_validations_path(trial)))
            return [(float(value), int(step)) for value, step in listed]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def ask_to_stop(self) -> None:
        """Let no further trial begin."""
        self.store.write(_STOP_FILE, b"")

    def forget_stop(self) -> None:
        """Let trials begin again."""
        self.store.delete(_STOP_FILE)

    def is_stopping(self) -> bool:
        """Return whether no further trial is to begin."""
        return self.store.exists(_STOP_FILE)

    def end_early(self, trial: str) -> None:
        """Note that a scheduler ends a trial, so that its stop is no interruption."""
        self.store.write(f"tune/ended/{trial}", b"")

    def is_ended_early(self, trial: str) -> bool:
        """Return whether a scheduler has ended a trial."""
        return self.store.exists(f"tune/ended/{trial}")

    def begin_again(self, record: TrialRecord) -> None:
        """Write that a trial is to do; it keeps what it has used."""
        self.store.delete(f"tune/ended/{record.id}")
        self.write_trial(record.model_copy(update={"state": "pending", "error": None}))

    def _parsed(self, model: type[R], content: bytes, path: str) -> R:
        try:
            return model.model_validate_json(content)
        except ValidationError as error:
            told = explain(error, model, f"{self.uri}/{path}")
            raise InputError(f"{told}; the file is damaged") from error


def sweeps_store(storage: str) -> Store:
    """Return the folder that holds the sweeps of all experiments."""
    return Store(storage).child("sweeps")


def list_sweeps(storage: str) -> list[SweepFolder]:
    """Return all sweeps below a storage, sorted by experiment and sweep."""
    store = sweeps_store(storage)
    names = [f"{e}/{s}" for e in store.folders() for s in store.folders(e)]
    return [SweepFolder(store.child(n)) for n in names if store.exists(f"{n}/{SWEEP_FILE}")]


def find_sweep(storage: str, name: str) -> SweepFolder:
    """Return a sweep by ``experiment/sweep``, by its own name, or by experiment if it has one only.

    Raises:
        SettingsError: There is no such sweep, or several.
    """
    sweeps = {sweep.name: sweep for sweep in list_sweeps(storage)}
    fitting = [known for known in sweeps if name in (known, *known.split("/"))]
    if len(fitting) != 1:
        which = "no sweep" if not fitting else f"{len(fitting)} sweeps"
        listed = ", ".join(fitting or sweeps) or "none"
        raise SettingsError(f"{which} called {name!r} in {storage}; sweeps there: {listed}")
    return sweeps[fitting[0]]


def _validations_path(trial: str) -> str:
    return f"tune/reports/{trial}.json"


def _json(record: _Stored) -> bytes:
    return (record.model_dump_json(indent=1) + "\n").encode()
