"""What a sweep found so far, read as it is: what is damaged is named, not hidden."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eagleray.runs.records import EvaluationResult
from eagleray.runs.run_folder import is_run_name, run_below, runs_store
from eagleray.runs.settings import read_settings
from eagleray.sweep.folder import SweepFolder, SweepSummary, TrialRecord
from eagleray.task import InputError, PublishedResult

STATES = ("done", "stopped", "failed", "running", "pending")


@dataclass(frozen=True)
class SweepResults:
    """A sweep with its trials, looked at by one of its metrics.

    Args:
        summary: What it compares.
        trials: The trials that could be read, by id.
        problems: What could not be read.
        published: The numbers published for its benchmark.
        base: Settings of the base experiment by dotted path.
        chosen_by: The metric by which best checkpoints are chosen: the one that training was asked
            to validate by, else the benchmark's own; empty before any trial was evaluated.
        other_metric: The metric that is looked at; empty for the sweep's own.
    """

    summary: SweepSummary
    trials: Sequence[TrialRecord]
    problems: Sequence[str] = ()
    published: Sequence[PublishedResult] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    chosen_by: str = ""
    other_metric: str = ""

    def by(self, metric: str) -> SweepResults:
        """Return the same sweep looked at by one of ``metrics()``; by its own where empty."""
        return replace(self, other_metric="" if metric == self.summary.metric else metric)

    @property
    def metric(self) -> str:
        """The metric that is looked at."""
        return self.other_metric or self.summary.metric

    @property
    def higher_is_better(self) -> bool | None:
        """Which way the metric is better; known of the sweep's own metric only."""
        return None if self.other_metric else self.summary.higher_is_better

    def value(self, trial: TrialRecord) -> float | None:
        """Return a trial's best value, None where it is missing or not finite."""
        value = trial.values.get(self.metric) if self.other_metric else trial.value
        return value if value is not None and math.isfinite(value) else None

    def last(self, trial: TrialRecord) -> float | None:
        """Return a trial's last value; only the sweep's own metric has one."""
        value = None if self.other_metric else trial.last_value
        return value if value is not None and math.isfinite(value) else None

    def ranked(self) -> list[TrialRecord]:
        """Return all trials, the best value first; those without a value come last, by state.

        Where it is not known which way is better, greater values come first.
        """
        sign = 1.0 if self.higher_is_better is False else -1.0

        def rank(trial: TrialRecord) -> tuple[bool, float, int, str]:
            value = self.value(trial)
            return value is None, sign * (value or 0.0), STATES.index(trial.state), trial.id

        return sorted(self.trials, key=rank)

    def metrics(self) -> list[str]:
        """Return the metrics that trials have, the sweep's own first."""
        names = (name for trial in self.trials for name in trial.values)
        return list(dict.fromkeys([self.summary.metric, *names]))

    def settings(self) -> list[str]:
        """Return the dotted paths of all settings in which trials differ from the base."""
        names = (name for trial in self.trials for name in trial.overrides)
        variants = (name for changes in self.summary.variants.values() for name in changes)
        return list(dict.fromkeys([*self.summary.space, *variants, *names]))

    def setting(self, trial: TrialRecord, name: str) -> Any:
        """Return a trial's value of a setting: its own or the base's, None where neither has it."""
        return trial.overrides.get(name, self.base.get(name))

    def is_number(self, name: str) -> bool:
        """Return whether a setting is a number in all trials that have it."""
        values = [self.setting(trial, name) for trial in self.trials]
        return all(type(value) in (int, float) for value in values if value is not None)


def read_results(sweep: SweepFolder, paths: Sequence[str] | None = None) -> SweepResults:
    """Return a sweep with its trials, and what stands beside: base settings, published numbers.

    Args:
        sweep: The sweep's folder.
        paths: The files of the trials that are read; by default all.

    Raises:
        SettingsError: The folder is no sweep.
        InputError: What it compares cannot be read.
    """
    summary = sweep.summary()
    trials, problems = sweep.readable_trials(paths)
    base: Mapping[str, Any] = {}
    try:
        base = read_settings(sweep)
    except InputError as error:
        problems.append(str(error))
    result = _first_result(sweep, summary, trials)
    published = result.published if result else ()
    chosen_by = str(base.get("train.validate_on.metric") or result.metric) if result else ""
    return SweepResults(summary, trials, problems, published, base, chosen_by)


def setting_text(value: Any) -> str:
    """Return a setting's value as one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _first_result(
    sweep: SweepFolder, summary: SweepSummary, trials: Sequence[TrialRecord]
) -> EvaluationResult | None:
    """Return the first evaluated trial's result on the benchmark, None where there is none."""
    runs = runs_store(sweep.storage)
    for trial in trials:
        if trial.state != "done" or not is_run_name(trial.run):
            continue
        for result in run_below(runs, trial.run).summary().results:
            if result.benchmark == summary.benchmark:
                return result
    return None
