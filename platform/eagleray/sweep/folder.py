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
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from eagleray.experiment.load import explain
from eagleray.storage import Store
from eagleray.task import InputError, SettingsError

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


class SweepFolder(Store):
    """One sweep's folder: a store that knows where the parts of a sweep lie.

    Args:
        uri: Folder or URI of the sweep.
    """

    EXPERIMENT = "experiment.yaml"
    SUMMARY = "sweep.json"
    TRIALS = "trials"
    _STOP = "stop"

    def __reduce__(self) -> tuple[type[SweepFolder], tuple[str]]:
        return (SweepFolder, (self.uri,))

    @property
    def name(self) -> str:
        """``experiment/sweep``."""
        return "/".join(self.uri.rstrip("/").split("/")[-2:])

    @property
    def storage(self) -> str:
        """The storage that it lies in, beside the runs of its trials."""
        return self.uri.rstrip("/").rsplit("/", 3)[0]

    def begin(self, summary: SweepSummary, experiment: Mapping[str, Any]) -> None:
        """Write what the sweep compares, and its resolved base experiment as JSON values."""
        self.write(self.EXPERIMENT, yaml.safe_dump(dict(experiment), sort_keys=False).encode())
        self.write(self.SUMMARY, _json(summary))

    def summary(self) -> SweepSummary:
        """Return what the sweep compares.

        Raises:
            SettingsError: The folder is no sweep.
            InputError: The file is damaged.
        """
        try:
            content = self.read(self.SUMMARY)
        except FileNotFoundError as error:
            raise SettingsError(f"{self.uri} is no sweep: it has no {self.SUMMARY}") from error
        return self._parsed(SweepSummary, content, self.SUMMARY)

    def write_trial(self, record: TrialRecord) -> None:
        """Write one trial's record, replacing an older one."""
        self.write(f"{self.TRIALS}/{record.id}.json", _json(record))

    def trial(self, trial: str) -> TrialRecord | None:
        """Return one trial's record; None if there is none that can be read."""
        records, _ = self.readable_trials([f"{self.TRIALS}/{trial}.json"])
        return records[0] if records else None

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
        listed = self.files(self.TRIALS) if paths is None else paths
        # A backslash is part of no id, and a store reads no such path.
        chosen = [path for path in listed if path.endswith(".json") and "\\" not in path]
        contents, records, problems = self.read_many(chosen), [], []
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
        self.write(f"tune/reports/{trial}.json", json.dumps(validations).encode())

    def validations(self, trial: str) -> list[tuple[float, int]]:
        """Return value and step of a trial's validations so far."""
        try:
            listed = json.loads(self.read(f"tune/reports/{trial}.json"))
            return [(float(value), int(step)) for value, step in listed]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def ask_to_stop(self) -> None:
        """Let no further trial begin."""
        self.write(self._STOP, b"")

    def forget_stop(self) -> None:
        """Let trials begin again."""
        self.delete(self._STOP)

    def is_stopping(self) -> bool:
        """Return whether no further trial is to begin."""
        return self.exists(self._STOP)

    def end_early(self, trial: str) -> None:
        """Note that a scheduler ends a trial, so that its stop is no interruption."""
        self.write(f"tune/ended/{trial}", b"")

    def is_ended_early(self, trial: str) -> bool:
        """Return whether a scheduler has ended a trial."""
        return self.exists(f"tune/ended/{trial}")

    def begin_again(self, record: TrialRecord) -> None:
        """Write that a trial is to do; it keeps what it has used."""
        self.delete(f"tune/ended/{record.id}")
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


def sweep_below(sweeps: Store, name: str) -> SweepFolder:
    """Return the folder of the sweep ``experiment/sweep`` below the folder of all sweeps."""
    return SweepFolder(sweeps.child(name).uri)


def list_sweeps(storage: str) -> list[SweepFolder]:
    """Return all sweeps below a storage, sorted by experiment and sweep."""
    store = sweeps_store(storage)
    names = [f"{e}/{s}" for e in store.folders() for s in store.folders(e)]
    sweeps = [sweep_below(store, name) for name in names]
    return [sweep for sweep in sweeps if sweep.exists(sweep.SUMMARY)]


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


def _json(record: _Stored) -> bytes:
    return (record.model_dump_json(indent=1) + "\n").encode()
