"""Trials as full experiments, all checked before the first one starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eagleray.contract.task import require
from eagleray.evaluate.driver import choose_benchmarks
from eagleray.experiment.discovery import task_type
from eagleray.experiment.load import make_experiment
from eagleray.experiment.paths import with_value
from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.run_folder import results_digest
from eagleray.storage import Store
from eagleray.sweep.trials import Trial
from eagleray.task import (
    BaseTask,
    Benchmark,
    EaglerayError,
    Evaluation,
    Phase,
    SettingsError,
    Training,
)
from eagleray.train import TrainJob, check_job

_PHASE = "train.phases."
_LENGTHS = ("steps", "epochs")


def build_experiment(
    base: ExperimentSettings, overrides: Mapping[str, Any], seed: int
) -> ExperimentSettings:
    """Return the experiment of a trial.

    What a task derives its phases from may be among the overrides: fields of phases that the base
    experiment has left at the task's own values then follow, all others stay.

    Args:
        base: The resolved base experiment.
        overrides: Values by full path.
        seed: The trial's seed.

    Raises:
        SettingsError: A value is not allowed.
    """
    values = base.model_dump(mode="json", exclude={"sweep"})
    values |= {"seed": seed, "storage": Store(base.storage).uri}
    for path, value in overrides.items():
        if not path.startswith(_PHASE):
            values = with_value(values, path, value)
    draft = _checked({**values, "train": {**values["train"], "phases": []}})
    own = require(_task(base), Training).phases()
    phases = [_moved(phase, base.train.phases, own) for phase in draft.train.phases]
    values["train"]["phases"] = phases
    for path, value in overrides.items():
        if path.startswith(_PHASE):
            values = with_value(values, path, value)
            _set_one_length(values["train"]["phases"], path)
    return _checked(values)


def _checked(values: Mapping[str, Any]) -> ExperimentSettings:
    """Return the experiment; the caller says in messages which trial it is."""
    origin = "trial"
    try:
        return make_experiment(values, origin)
    except SettingsError as error:
        raise SettingsError(str(error).replace(f"{origin}: ", "")) from error


def check_trials(
    experiments: Sequence[tuple[Trial, ExperimentSettings]],
    benchmark: str,
    *,
    inline: bool,
    limit: int | None,
) -> list[str]:
    """Return every mistake that would end a trial, before anything starts.

    Args:
        experiments: The trials.
        benchmark: The benchmark that they are evaluated on.
        inline: They would be trained in this process.
        limit: Limit of every verb.
    """
    mistakes: dict[str, list[str]] = {}
    checked: dict[str, list[str]] = {}
    for trial, experiment in experiments:
        key = json.dumps(experiment.model_dump(mode="json", exclude={"seed"}), sort_keys=True)
        if key not in checked:
            checked[key] = _mistakes_of(experiment, benchmark, inline=inline, limit=limit)
        for mistake in checked[key]:
            mistakes.setdefault(mistake, []).append(trial.label)
    return [f"{_listing(labels)}: {mistake}" for mistake, labels in mistakes.items()]


def check_distinct(experiments: Sequence[tuple[Trial, ExperimentSettings]]) -> list[str]:
    """Return which trials would be one and the same run, since they differ in nothing that changes
    results.
    """
    first: dict[str, Trial] = {}
    mistakes = []
    for trial, experiment in experiments:
        digest = results_digest(experiment)
        other = first.setdefault(digest, trial)
        if other is not trial:
            mistakes.append(
                f"{trial.id}: its results are those of {other.id}, since it differs in nothing "
                "that changes results; leave one of them out"
            )
    return mistakes


def _mistakes_of(
    experiment: ExperimentSettings, benchmark: str, *, inline: bool, limit: int | None
) -> list[str]:
    found = []
    try:
        task = require(_task(experiment), Training)
        choose_benchmarks(require(task, Evaluation), (benchmark,))
        begun = experiment.train.init_from is not None
        found += [
            f"does not find {r.name}: {r.hint}"
            for r in task.requirements()
            if not (r.found or r.optional or (begun and r.replaced_by_init))
        ]
        run = Store(experiment.storage).child("runs")
        check_job(TrainJob(experiment, task, run, {}, limit), inline=inline)
    except EaglerayError as error:
        found.append(str(error))
    return found


def find_benchmark(experiment: ExperimentSettings) -> Benchmark:
    """Return the benchmark that ranks the trials of a sweep.

    Raises:
        SettingsError: The task has none of that name, or none at all.
    """
    asked = experiment.sweep.benchmark
    names = tuple(n for n in experiment.evaluate.benchmarks if n != "all")[:1]
    return choose_benchmarks(require(_task(experiment), Evaluation), (asked,) if asked else names)[
        0
    ]


def _task(experiment: ExperimentSettings) -> BaseTask:
    return task_type(experiment.task)(experiment.settings)


def _moved(phase: Phase, base: Sequence[Phase], own: Sequence[Phase]) -> dict[str, Any]:
    """Return a phase of the trial's task with what the base experiment has set differently from
    the task's own.
    """
    values: dict[str, Any] = phase.model_dump(mode="json")
    before = {p.name: p.model_dump(mode="json") for p in own}.get(phase.name)
    set_there = {p.name: p.model_dump(mode="json") for p in base}.get(phase.name)
    if before is None or set_there is None:
        return values
    changed = {name for name, value in set_there.items() if value != before[name]}
    if changed & set(_LENGTHS):
        changed |= set(_LENGTHS)
    return {name: set_there[name] if name in changed else values[name] for name in values}


def _set_one_length(phases: Sequence[dict[str, Any]], path: str) -> None:
    """Let a phase's new length in steps replace one in epochs, and the other way round."""
    _, _, position, name, *_ = [*path.split("."), ""]
    if name in _LENGTHS:
        other = _LENGTHS[1 - _LENGTHS.index(name)]
        phases[int(position)][other] = None


def _listing(labels: Sequence[str]) -> str:
    names = list(dict.fromkeys(labels))
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
