"""What a sweep found so far, read as it is: what is damaged is named, not hidden.

<storage>/sweeps/<experiment>/<sweep>/    see ``sweep_folder``
<storage>/runs/<experiment>/<run>/        the trials' runs, whose results quote published numbers
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from eagleray.runs.result import checked_result
from eagleray.runs.run_folder import is_run_name, read_summary, runs_store
from eagleray.runs.settings import read_settings
from eagleray.storage import Store
from eagleray.sweep.sweep_folder import (
    TRIALS_FOLDER,
    SweepRecord,
    TrialRecord,
    read_sweep,
    read_trial,
    read_trials,
)
from eagleray.task import EaglerayError, InputError


@dataclass(frozen=True, slots=True)
class PublishedValue:
    """A published number of one model."""

    metric: str
    value: float
    model: str
    source: str
    is_recalled: bool


@dataclass(frozen=True)
class SweepResults:
    """A sweep with its trials.

    Args:
        record: What it compares.
        trials: The trials that could be read, by id.
        problems: What could not be read.
        published: The numbers published for its benchmark.
        base: Settings of the base experiment by dotted path.
        chosen_by: The metric by which best checkpoints are chosen: the one that training was asked
            to validate by, else the benchmark's own; empty before any trial was evaluated.
    """

    record: SweepRecord
    trials: Sequence[TrialRecord]
    problems: Sequence[str] = ()
    published: Sequence[PublishedValue] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    chosen_by: str = ""

    def metrics(self) -> list[str]:
        """Return the metrics that trials have, the sweep's own first."""
        names = (name for trial in self.trials for name in trial.values)
        return list(dict.fromkeys([self.record.metric, *names]))

    def settings(self) -> list[str]:
        """Return the dotted paths of all settings in which trials differ from the base."""
        names = (name for trial in self.trials for name in trial.overrides)
        variants = (name for changes in self.record.variants.values() for name in changes)
        return list(dict.fromkeys([*self.record.space, *variants, *names]))

    def setting(self, trial: TrialRecord, name: str) -> Any:
        """Return a trial's value of a setting: its own or the base's, None where neither has it."""
        return trial.overrides.get(name, self.base.get(name))

    def is_number(self, name: str) -> bool:
        """Return whether a setting is a number in all trials that have it."""
        values = [self.setting(trial, name) for trial in self.trials]
        return all(type(value) in (int, float) for value in values if value is not None)


def storage_of(sweep: Store) -> str:
    """Return the storage that holds a sweep's folder ``sweeps/<experiment>/<sweep>``."""
    return sweep.uri.rstrip("/").rsplit("/", 3)[0]


def read_results(sweep: Store) -> SweepResults:
    """Return a sweep with its trials and the published numbers beside them.

    Raises:
        SettingsError: The folder is no sweep.
        InputError: What it compares cannot be read.
    """
    record = read_sweep(sweep)
    problems: list[str] = []
    trials = _readable_trials(sweep, problems)
    return assemble(sweep, record, trials, problems)


def assemble(
    sweep: Store, record: SweepRecord, trials: Iterable[TrialRecord], problems: Sequence[str]
) -> SweepResults:
    """Return a sweep with what stands beside its records: base settings, published numbers."""
    found = sorted(trials, key=lambda trial: trial.id)
    more = list(problems)
    base: Mapping[str, Any] = {}
    try:
        base = read_settings(sweep)
    except InputError as error:
        more.append(str(error))
    result = _first_result(sweep, record, found)
    published = [
        PublishedValue(p["metric"], p["value"], p["model"], p["source"], p["recalled"])
        for p in result.get("published", ())
    ]
    chosen_by = str(base.get("train.validate_on.metric") or result["metric"]) if result else ""
    return SweepResults(record, found, more, published, base, chosen_by)


def setting_text(value: Any) -> str:
    """Return a setting's value as one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return the shortest ending of each dotted path that no other one has.

    Example:
        >>> short_names(["train.phases.0.lr", "settings.a.size", "settings.b.size"])
        {'train.phases.0.lr': 'lr', 'settings.a.size': 'a.size', 'settings.b.size': 'b.size'}
    """
    found = {}
    for name in names:
        parts = name.split(".")
        endings = [".".join(parts[idx:]) for idx in range(len(parts) - 1, -1, -1)]
        others = [f".{other}" for other in names if other != name]
        found[name] = next(
            (e for e in endings if not any(other.endswith(f".{e}") for other in others)), name
        )
    return found


def _readable_trials(sweep: Store, problems: list[str]) -> list[TrialRecord]:
    try:
        return read_trials(sweep)
    except InputError:
        pass
    found = []
    for path in sweep.files(TRIALS_FOLDER):
        if path.endswith(".json"):
            trial = readable_trial(sweep, path, problems)
            found += [trial] if trial else []
    return found


def readable_trial(sweep: Store, path: str, problems: list[str]) -> TrialRecord | None:
    """Return the trial in a file, or None and the reason added to ``problems``."""
    try:
        return read_trial(sweep, path.rpartition("/")[2].removesuffix(".json"))
    except (EaglerayError, OSError) as error:
        problems.append(str(error))
        return None


def _first_result(
    sweep: Store, record: SweepRecord, trials: Sequence[TrialRecord]
) -> Mapping[str, Any]:
    """Return the first evaluated trial's results on the benchmark, empty where there are none."""
    runs = runs_store(storage_of(sweep))
    for trial in trials:
        if trial.state != "done" or not is_run_name(trial.run):
            continue
        results = read_summary(runs.child(trial.run)).get("results")
        for found in results.values() if isinstance(results, dict) else ():
            with suppress(InputError):
                result = checked_result(found)
                if result["benchmark"] == record.benchmark:
                    return result
    return {}
