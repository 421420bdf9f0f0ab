"""One execution of an experiment is a folder: ``<storage>/runs/<experiment>/<run>-<hash>/``.

    experiment.yaml     the resolved experiment
    environment.json    versions, code revision, hardware, seed
    stages.json         fingerprints of the prepared data it used
    rejects.json        inputs that the prepared stages could not process
    summary.json        state, latest and best metrics
    metrics/ checkpoints/ evaluation/ pictures/ log/ lease/

The run's id is its name and a hash of the settings that change results, so the same command
continues the same run. The files are the truth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import yaml

from eagleray.experiment.load import make_experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.environment import describe_environment
from eagleray.storage import Store, checked_name
from eagleray.task import SettingsError

_NOT_RESULTS = ("storage", "device", "prepare", "evaluate", "run", "name", "sweep")
_NOT_RESULTS_TRAIN = [
    "strategy",
    "num_workers",
    "zero_stage",
    "offload_optimizer",
    "cpus_per_worker",
    "gpus_per_worker",
    "micro_batch_size",
    "loader_workers",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "max_failures",
    "profile_steps",
    "activation_checkpointing",
    "channels_last",
    "compile",
]


def results_digest(experiment: ExperimentSettings) -> str:
    """Return a hash of the settings that change results: not of where, with how many or how
    fast.
    """
    values = experiment.model_dump(mode="json", exclude=set(_NOT_RESULTS))
    for key in _NOT_RESULTS_TRAIN:
        values["train"].pop(key)
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def runs_store(storage: str) -> Store:
    """Return the folder that holds the runs of all experiments."""
    return Store(storage).child("runs")


def is_run_name(name: str) -> bool:
    """Return whether ``name`` can be ``experiment/run``; what a store may hold beside is not
    opened.
    """
    parts = name.split("/")
    try:
        return len(parts) == 2 and all(checked_name(part, "run") for part in parts)
    except SettingsError:
        return False


def run_store(experiment: ExperimentSettings, *, new: bool = False) -> Store:
    """Return the folder of the experiment's run; with ``new`` one that does not exist yet.

    Without ``new`` the latest run of these settings is continued.
    """
    folder = runs_store(experiment.storage).child(experiment.name)
    base = f"{experiment.run}-{results_digest(experiment)}"
    taken = [r for r in folder.folders() if r == base or r.startswith(base + ".")]
    numbers = [int(r.rpartition(".")[2]) if r != base else 1 for r in taken]
    latest = max(numbers, default=1) + (1 if new and taken else 0)
    return folder.child(base if latest == 1 else f"{base}.{latest}")


def begin_run(run: Store, experiment: ExperimentSettings) -> None:
    """Write what the run is and was made with; a continued run keeps its first description."""
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    run.create("experiment.yaml", text.encode())
    described = {"seed": experiment.seed, **describe_environment()}
    run.create("environment.json", _json(described))


def read_experiment(run: Store) -> ExperimentSettings:
    """Return the resolved experiment stored in a run.

    Raises:
        SettingsError: The folder is no run.
    """
    try:
        raw = yaml.safe_load(run.read("experiment.yaml"))
    except FileNotFoundError as error:
        raise SettingsError(f"{run.uri} is no run: it has no experiment.yaml") from error
    return make_experiment(raw, origin=f"{run.uri}/experiment.yaml")


def update_summary(run: Store, **values: Any) -> dict[str, Any]:
    """Merge values into the run's summary and return it."""
    summary = read_summary(run)
    for key, value in values.items():
        old = summary.get(key)
        summary[key] = (
            {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        )
    run.write("summary.json", _json(summary))
    return summary


def read_summary(run: Store) -> dict[str, Any]:
    """Return the run's summary; empty where there is none or it is damaged."""
    try:
        found = json.loads(run.read("summary.json"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def list_runs(storage: str) -> list[Store]:
    """Return the folders of all runs below a storage, sorted by experiment and run."""
    store = runs_store(storage)
    return [store.child(f"{e}/{r}") for e in store.folders() for r in store.folders(e)]


def find_run(storage: str, name: str) -> Store:
    """Return a run by ``experiment/run``, by run id, or by experiment if it has one run only.

    Raises:
        SettingsError: There is no such run, or several.
    """
    runs = {"/".join(r.uri.rstrip("/").split("/")[-2:]): r for r in list_runs(storage)}
    found = [k for k in runs if name in (k, k.split("/")[0], k.split("/")[1])]
    if len(found) != 1:
        which = "no run" if not found else f"{len(found)} runs"
        known = ", ".join(found or runs) or "none"
        raise SettingsError(f"{which} called {name!r} in {storage}; runs there: {known}")
    return runs[found[0]]


def record_stages(run: Store, stages: Mapping[str, str]) -> None:
    """Write the fingerprints of the prepared data it used (by label), so that ``prune`` keeps
    them.
    """
    run.write("stages.json", _json(dict(stages)))


def read_stages(run: Store) -> set[tuple[str, str, str]]:
    """Return (task, stage, fingerprint) of the prepared data that a run used."""
    try:
        labels = json.loads(run.read("stages.json"))
    except (FileNotFoundError, ValueError):
        return set()
    task = str(read_summary(run).get("task", ""))
    return {(task, label.partition(":")[0], fingerprint) for label, fingerprint in labels.items()}


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
