"""One execution of an experiment is a folder: ``<storage>/runs/<experiment>/<run>-<hash>/``.

    experiment.yaml     the resolved experiment
    environment.json    versions, code revision, hardware, seed
    stages.json         fingerprints of the prepared data it used
    rejects.json        inputs that the prepared stages could not process
    summary.json        state, latest and best metrics
    metrics/            training metrics in segments
    checkpoints/        weights, moments, positions; markers
    evaluation/         results and rows by benchmark, with pictures
    rejects/            samples that training could not read
    log/ lease/         logs and the newest metrics; who holds the run
    track/              how much of the run MLflow and Weights & Biases have been told

The run's id is its name and a hash of the settings that change results, so the same command
continues the same run. The files are the truth.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic_core import PydanticSerializationError

from eagleray.experiment.load import make_experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.environment import Environment, describe_environment
from eagleray.runs.records import RunSummary, encode_json
from eagleray.runs.settings import EXPERIMENT_FILE
from eagleray.storage import Store, checked_name
from eagleray.task import InputError, Settings, SettingsError, without_use

_log = logging.getLogger(__name__)
_NOT_RESULTS = ("storage", "device", "prepare", "evaluate", "run", "name", "sweep", "track")
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
    "checkpoint_every_epochs",
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
    return _digest(result_settings(experiment))


def result_settings(experiment: ExperimentSettings) -> dict[str, Any]:
    """Return the settings that change results as plain values; those that came later than the
    first release only where they are not at their default (``LATER``).
    """
    try:
        values = experiment.model_dump(mode="json", exclude=set(_NOT_RESULTS))
    except PydanticSerializationError as error:
        raise SettingsError(
            f"a setting of task {experiment.task!r} cannot be written down ({error}); allowed are "
            "text, numbers, paths, lists, mappings and Settings"
        ) from error
    for key in _NOT_RESULTS_TRAIN:
        values["train"].pop(key, None)
    return values


def training_digest(experiment: ExperimentSettings) -> str:
    """Return the same hash with the settings of use (``OF_USE``) at their defaults: of what is
    trained, however it is used.
    """
    values = result_settings(experiment)
    if isinstance(experiment.settings, Settings):
        values["settings"] = without_use(experiment.settings)
    return _digest(values)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


class RunFolder(Store):
    """One run's folder: a store that knows where the parts of a run lie.

    Args:
        uri: Folder or URI of the run.
    """

    EXPERIMENT = EXPERIMENT_FILE
    ENVIRONMENT = "environment.json"
    STAGES = "stages.json"
    SUMMARY = "summary.json"
    EVALUATION = "evaluation"
    CHECKPOINTS = "checkpoints"
    LOG = "log"

    def __reduce__(self) -> tuple[type[RunFolder], tuple[str]]:
        return (RunFolder, (self.uri,))

    @property
    def name(self) -> str:
        """``experiment/run``."""
        return "/".join(self.uri.rstrip("/").split("/")[-2:])

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return self.exists(self.EXPERIMENT)

    def begin(self, experiment: ExperimentSettings) -> None:
        """Write what the run is and was made with; a continued run keeps its first description."""
        text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
        self.create(self.EXPERIMENT, text.encode())
        if not self.exists(self.ENVIRONMENT):
            plugin = type(experiment.settings).__module__.partition(".")[0]
            self.create(self.ENVIRONMENT, describe_environment(experiment.seed, plugin).encode())

    def experiment(self) -> ExperimentSettings:
        """Return the resolved experiment stored in the run.

        Raises:
            SettingsError: The folder is no run.
        """
        try:
            raw = yaml.safe_load(self.read(self.EXPERIMENT))
        except FileNotFoundError as error:
            raise SettingsError(f"{self.uri} is no run: it has no {self.EXPERIMENT}") from error
        return make_experiment(raw, origin=f"{self.uri}/{self.EXPERIMENT}")

    def environment(self) -> Environment:
        """Return what the run was made with.

        Raises:
            InputError: The file is missing or damaged.
        """
        try:
            return Environment.parse(json.loads(self.read(self.ENVIRONMENT)))
        except (OSError, ValueError, InputError) as error:
            raise InputError(f"{self.ENVIRONMENT} is missing or damaged: {error}") from error

    def summary(self) -> RunSummary:
        """Return the run's summary; empty where there is none or it is damaged."""
        return RunSummary.parse(self._stored_summary())

    def update_summary(self, **values: Any) -> RunSummary:
        """Merge values into the run's summary and return it; what else it says is kept.

        Args:
            values: Fields of ``RunSummary`` as JSON values; mappings are merged key by key.
        """
        stored = self._stored_summary()
        for key, value in values.items():
            old = stored.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                stored[key] = {**old, **value}
            else:
                stored[key] = value
        self.write(self.SUMMARY, encode_json(stored))
        return RunSummary.parse(stored)

    def record_stages(self, stages: Mapping[str, str]) -> None:
        """Add the fingerprints of the prepared data it used (by label), so that ``prune`` keeps
        them; an evaluation uses fewer than the training did.
        """
        self.write(self.STAGES, encode_json({**self.fingerprints(), **stages}))

    def stages(self) -> set[tuple[str, str, str]]:
        """Return (task, stage, fingerprint) of the prepared data that the run used; the task is
        ``ANY_TASK`` where a damaged summary does not say it.

        Raises:
            InputError: The file is damaged, so that nobody knows.
        """
        from eagleray.prepare import ANY_TASK

        try:
            labels = json.loads(self.read(self.STAGES))
            names = {(label.partition(":")[0], str(name)) for label, name in labels.items()}
        except FileNotFoundError:
            return set()
        except (ValueError, AttributeError) as error:
            raise InputError(
                f"{self.uri}/{self.STAGES} is damaged ({error}), so nobody knows which prepared "
                "data the run uses: give its `eagleray train` again, which writes the file, or "
                "delete the run's folder"
            ) from error
        task = self.summary().task or ANY_TASK
        return {(task, *name) for name in names}

    def result_path(self, benchmark: str, checkpoint: str) -> str:
        """Return where the results of a checkpoint on a benchmark are."""
        return f"{self.EVALUATION}/{benchmark}/{checkpoint}.json"

    def unit_metrics_path(self, benchmark: str, checkpoint: str) -> str:
        """Return where the metrics of single units are."""
        return f"{self.EVALUATION}/{benchmark}/units/{checkpoint}.json"

    def rows_path(self, benchmark: str, fingerprint: str) -> str:
        """Return the folder of the rows and pictures of an evaluation."""
        return f"{self.EVALUATION}/{benchmark}/{fingerprint}"

    def checkpoint_path(self, checkpoint: str, file: str) -> str:
        """Return where a file of a checkpoint is."""
        return f"{self.CHECKPOINTS}/{checkpoint}/{file}"

    def log_files(self) -> list[str]:
        """Return the paths of the logs for people, the shortest names first."""
        texts = [path for path in self.files(self.LOG) if path.endswith((".log", ".txt"))]
        return sorted(texts, key=lambda path: (len(path), path))

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprints of the prepared data that the run used, by label; nothing where
        the file is missing or damaged.
        """
        try:
            stored = json.loads(self.read(self.STAGES))
        except (FileNotFoundError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}

    def _stored_summary(self) -> dict[str, Any]:
        try:
            stored = json.loads(self.read(self.SUMMARY))
        except (FileNotFoundError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}


def runs_store(storage: str) -> Store:
    """Return the folder that holds the runs of all experiments."""
    return Store(storage).child("runs")


def run_below(runs: Store, name: str) -> RunFolder:
    """Return the folder of the run ``experiment/run`` below the folder of all runs."""
    return RunFolder(runs.child(name).uri)


def is_run_name(name: str) -> bool:
    """Return whether ``name`` can be ``experiment/run``; what a store may hold beside is not
    opened.
    """
    parts = name.split("/")
    try:
        return len(parts) == 2 and all(checked_name(part, "run") for part in parts)
    except SettingsError:
        return False


def run_of(experiment: ExperimentSettings, *, new: bool = False, own: bool = False) -> RunFolder:
    """Return the folder of the experiment's run; without ``new`` the latest one is continued.

    Experiments that differ in settings of use alone have the same run. A run that goes by all of
    its settings (it is older than their marks, or a trial of a sweep) is found by them first.

    Args:
        experiment: The experiment.
        new: Return a folder that does not exist yet.
        own: Return the one that goes by all settings: trials that differ in settings of use alone
            have results of their own.
    """
    folder = runs_store(experiment.storage).child(experiment.name)
    exact = f"{experiment.run}-{results_digest(experiment)}"
    there = folder.folders()
    base = exact
    if not own and not _runs_called(exact, there):
        base = f"{experiment.run}-{training_digest(experiment)}"
    taken = _runs_called(base, there)
    numbers = [int(r.rpartition(".")[2]) if r != base else 1 for r in taken]
    latest = max(numbers, default=1) + (1 if new and taken else 0)
    return run_below(folder, base if latest == 1 else f"{base}.{latest}")


def _runs_called(base: str, folders: Sequence[str]) -> list[str]:
    """Return the runs of a name, and their followers ``<base>.2``; what else begins so is
    somebody's copy.
    """
    called = [name for name in folders if name == base or name.startswith(base + ".")]
    runs = [name for name in called if name == base or name[len(base) + 1 :].isdecimal()]
    for name in set(called) - set(runs):
        _log.warning("%s is no run of this experiment and is passed over", name)
    return runs


def list_runs(storage: str) -> list[RunFolder]:
    """Return the folders of all runs below a storage, sorted by experiment and run."""
    runs = runs_store(storage)
    return [run_below(runs, f"{e}/{r}") for e in runs.folders() for r in runs.folders(e)]


def find_run(storage: str, name: str) -> RunFolder:
    """Return a run by ``experiment/run``, by run id, or by experiment if it has one run only.

    Raises:
        SettingsError: There is no such run, or several.
    """
    runs = {run.name: run for run in list_runs(storage)}
    fitting = [known for known in runs if name in (known, *known.split("/"))]
    if len(fitting) != 1:
        which = "no run" if not fitting else f"{len(fitting)} runs"
        known = ", ".join(fitting or runs) or "none"
        raise SettingsError(f"{which} called {name!r} in {storage}; runs there: {known}")
    return runs[fitting[0]]
