"""One sweep is a folder: ``<storage>/sweeps/<experiment>/<sweep>/``.

    sweep.json        what is compared: benchmark, metric, variants, seeds, space
    experiment.yaml   the resolved base experiment
    trials/<id>.json  one record per trial
    tune/             Ray Tune's own state; never needed to read results

A trial is an ordinary run; its record names that run's folder. The files are the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from eagleray.experiment.load import explain
from eagleray.storage import Store
from eagleray.task import InputError, SettingsError

SWEEP_FILE = "sweep.json"
EXPERIMENT_FILE = "experiment.yaml"
TRIALS_FOLDER = "trials"
TUNE_FOLDER = "tune"

BASELINE = "baseline"
"""Name of the variant that is the experiment itself."""

Kind = Literal["ablations", "search"]
TrialState = Literal["pending", "running", "done", "stopped", "failed"]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class SweepRecord(_Stored):
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


R = TypeVar("R", bound=_Stored)


def sweeps_store(storage: str) -> Store:
    """Return the folder that holds the sweeps of all experiments."""
    return Store(storage).child("sweeps")


def sweep_store(storage: str, experiment: str, sweep: str) -> Store:
    """Return the folder of one sweep."""
    return sweeps_store(storage).child(f"{experiment}/{sweep}")


def list_sweeps(storage: str) -> list[Store]:
    """Return the folders of all sweeps below a storage, sorted by experiment and sweep."""
    store = sweeps_store(storage)
    found = [store.child(f"{e}/{s}") for e in store.folders() for s in store.folders(e)]
    return [sweep for sweep in found if sweep.exists(SWEEP_FILE)]


def sweep_name(sweep: Store) -> str:
    """Return a sweep's name as ``experiment/sweep``."""
    return "/".join(sweep.uri.rstrip("/").split("/")[-2:])


def find_sweep(storage: str, name: str) -> Store:
    """Return a sweep by ``experiment/sweep``, by its own name, or by experiment if it has one only.

    Raises:
        SettingsError: There is no such sweep, or several.
    """
    sweeps = {sweep_name(s): s for s in list_sweeps(storage)}
    found = [k for k in sweeps if name in (k, *k.split("/"))]
    if len(found) != 1:
        which = "no sweep" if not found else f"{len(found)} sweeps"
        known = ", ".join(found or sweeps) or "none"
        raise SettingsError(f"{which} called {name!r} in {storage}; sweeps there: {known}")
    return sweeps[found[0]]


def write_sweep(sweep: Store, record: SweepRecord, experiment: Mapping[str, Any]) -> None:
    """Write what a sweep compares, and its base experiment as plain values.

    Args:
        sweep: The sweep's folder.
        record: What it compares.
        experiment: The resolved experiment, JSON values.
    """
    text = yaml.safe_dump(dict(experiment), sort_keys=False)
    sweep.write(EXPERIMENT_FILE, text.encode())
    sweep.write(SWEEP_FILE, _json(record))


def read_sweep(sweep: Store) -> SweepRecord:
    """Return what a sweep compares.

    Raises:
        SettingsError: The folder is no sweep.
        InputError: The file is damaged.
    """
    try:
        content = sweep.read(SWEEP_FILE)
    except FileNotFoundError as error:
        raise SettingsError(f"{sweep.uri} is no sweep: it has no {SWEEP_FILE}") from error
    return _parsed(SweepRecord, content, f"{sweep.uri}/{SWEEP_FILE}")


def trial_path(trial: str) -> str:
    """Return the path of a trial's record below the sweep's folder."""
    return f"{TRIALS_FOLDER}/{trial}.json"


def write_trial(sweep: Store, record: TrialRecord) -> None:
    """Write one trial's record, replacing an older one."""
    sweep.write(trial_path(record.id), _json(record))


def read_trial(sweep: Store, trial: str) -> TrialRecord | None:
    """Return one trial's record, None if there is none.

    Raises:
        InputError: The file is damaged.
    """
    path = trial_path(trial)
    try:
        content = sweep.read(path)
    except FileNotFoundError:
        return None
    return _parsed(TrialRecord, content, f"{sweep.uri}/{path}")


def read_trials(sweep: Store) -> list[TrialRecord]:
    """Return the records of all trials by id.

    Raises:
        InputError: A file is damaged.
    """
    paths = [p for p in sweep.files(TRIALS_FOLDER) if p.endswith(".json")]
    found = sweep.read_many(paths)
    return [_parsed(TrialRecord, found[p], f"{sweep.uri}/{p}") for p in paths if p in found]


def _parsed(model: type[R], content: bytes, where: str) -> R:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"{explain(error, model, where)}; the file is damaged") from error


def _json(record: _Stored) -> bytes:
    return (record.model_dump_json(indent=1) + "\n").encode()
