"""What a sweep would do: its folder, its trials as checked experiments, and how they are packed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eagleray.experiment.discovery import task_type
from eagleray.experiment.schema import ExperimentSettings, ValidateSettings
from eagleray.experiment.sweep import Draw
from eagleray.prepare.driver import stage_folders
from eagleray.runs.run_folder import results_digest, run_store
from eagleray.scheduling import Machine, WorkerGroup, local_machine, present_machine
from eagleray.storage import Store
from eagleray.sweep.build import build_experiment, check_distinct, check_trials, find_benchmark
from eagleray.sweep.packing import trial_group, trials_at_once
from eagleray.sweep.space import corner_points, space_text
from eagleray.sweep.sweep_folder import (
    BASELINE,
    SweepRecord,
    TrialRecord,
    sweep_store,
    sweeps_store,
)
from eagleray.sweep.trials import Trial, checked_paths, expand, seeds, variants
from eagleray.task import EaglerayError, SettingsError


@dataclass(frozen=True)
class TrialJob:
    """What one trial is told; picklable.

    Args:
        sweep: The sweep's folder.
        trial: The trial.
        experiment: Its whole experiment.
        record: What is compared.
        group: The workers that it takes.
        limit: At most so many optimizer steps per phase and units per evaluation.
    """

    sweep: Store
    trial: Trial
    experiment: ExperimentSettings
    record: SweepRecord
    group: WorkerGroup
    limit: int | None = None

    def first_record(self) -> TrialRecord:
        """Return the trial's record before anything was done."""
        run = run_store(self.experiment).uri.rstrip("/").split("/")
        return TrialRecord(
            id=self.trial.id,
            variant=self.trial.variant,
            seed=self.trial.seed,
            overrides=dict(self.trial.overrides),
            run="/".join(run[-2:]),
            device="cuda" if self.group.device == "cuda" else "cpu",
        )


@dataclass(frozen=True)
class SweepPlan:
    """A sweep whose trials were checked.

    Args:
        folder: The sweep's folder.
        record: What is compared.
        base: The base experiment: full paths, and the validations that a scheduler needs.
        jobs: The trials known beforehand, by id; none for an Optuna search.
        probes: Points of a space whose trials are not known beforehand, checked in their place.
        trials_at_once: How many trials run at a time.
        limit: At most so many optimizer steps per phase and units per evaluation.
        inline: Trials run in this process, one after the other.
    """

    folder: Store
    record: SweepRecord
    base: ExperimentSettings
    jobs: Mapping[str, TrialJob]
    probes: tuple[TrialJob, ...]
    trials_at_once: int
    limit: int | None
    inline: bool

    @property
    def num_trials(self) -> int:
        """Number of trials."""
        return len(self.jobs) or self.base.sweep.search.trials

    @property
    def has_groups(self) -> bool:
        """Whether trials have workers besides their own process."""
        return any(job.group.num_workers > 1 for job in (*self.jobs.values(), *self.probes))

    def searched_job(self, overrides: Mapping[str, Any]) -> TrialJob:
        """Return a trial that a search came upon; equal settings give the same trial.

        Raises:
            SettingsError: The settings do not fit together.
        """
        seed = seeds(self.base)[0]
        experiment = build_experiment(self.base, overrides, seed)
        trial = Trial(f"t-{results_digest(experiment)}", None, seed, dict(overrides))
        group = (self.probes or tuple(self.jobs.values()))[0].group
        return TrialJob(self.folder, trial, experiment, self.record, group, self.limit)


def plan_sweep(
    experiment: ExperimentSettings,
    *,
    new: bool = False,
    limit: int | None = None,
    inline: bool = False,
) -> SweepPlan:
    """Return what a sweep would do; computes nothing.

    Args:
        experiment: The base experiment with its ``sweep`` section.
        new: Begin a new sweep with new runs instead of continuing the latest one.
        limit: At most so many optimizer steps per phase and units per evaluation.
        inline: Trials run in this process, one after the other.

    Raises:
        SettingsError: Anything that would end a trial; all mistakes are listed.
    """
    base = checked_paths(experiment)
    benchmark = find_benchmark(base)
    base = with_ranking(with_validations(base, benchmark.name), benchmark.name)
    folder, base = _folder(base, new=new, limit=limit)
    asked = base.sweep.higher_is_better
    record = SweepRecord(
        name=folder.uri.rstrip("/").rsplit("/", 1)[-1],
        experiment=base.name,
        task=base.task,
        kind="search" if base.sweep.search.space or scheduler_text(base) else "ablations",
        benchmark=benchmark.name,
        metric=base.sweep.metric or benchmark.metric,
        higher_is_better=benchmark.higher_is_better if asked is None else asked,
        baseline=BASELINE if base.sweep.ablations else None,
        seeds=seeds(base),
        variants=variants(base),
        space=_space_texts(base),
        scheduler=scheduler_text(base),
        published=base.sweep.published,
    )
    _check_published(record)
    jobs, probes = _jobs(base, record, folder, limit=limit, inline=inline)
    machine = local_machine() if inline else present_machine()
    grouped = [_with_group(job, machine, inline=inline) for job in (*jobs, *probes)]
    at_once = (
        1
        if inline
        else trials_at_once(machine, [job.group for job in grouped], base.sweep.trials_at_once)
    )
    return SweepPlan(
        folder=folder,
        record=record,
        base=base,
        jobs={job.trial.id: job for job in grouped[: len(jobs)]},
        probes=tuple(grouped[len(jobs) :]),
        trials_at_once=at_once,
        limit=limit,
        inline=inline,
    )


def with_validations(base: ExperimentSettings, benchmark: str) -> ExperimentSettings:
    """Return the experiment with the validations that a scheduler judges trials by.

    Raises:
        SettingsError: Training validates on another benchmark than the sweep's.
    """
    if base.sweep.scheduler.kind == "none":
        return base
    validate_on = base.train.validate_on
    if validate_on.benchmark is None:
        validate_on = ValidateSettings(
            benchmark=benchmark, every=base.sweep.scheduler.grace_steps, units=validate_on.units
        )
    elif validate_on.benchmark != benchmark:
        raise SettingsError(
            f"the scheduler judges trials by validations on train.validate_on.benchmark "
            f"{validate_on.benchmark!r}, but the sweep is ranked on {benchmark!r}: set one of the "
            "two to the other"
        )
    train = base.train.model_copy(update={"validate_on": validate_on})
    return base.model_copy(update={"train": train})


def with_ranking(base: ExperimentSettings, benchmark: str) -> ExperimentSettings:
    """Return the experiment whose best checkpoints are the best by the sweep's own metric."""
    validate_on, sweep = base.train.validate_on, base.sweep
    if sweep.metric is None or validate_on.benchmark != benchmark or validate_on.metric is not None:
        return base
    ranked = {"metric": sweep.metric, "higher_is_better": sweep.higher_is_better}
    train = base.train.model_copy(update={"validate_on": validate_on.model_copy(update=ranked)})
    return base.model_copy(update={"train": train})


def scheduler_text(base: ExperimentSettings) -> str:
    """Return in words what ends trials early; empty for nothing."""
    scheduler = base.sweep.scheduler
    if scheduler.kind == "none":
        return ""
    return (
        f"ASHA: from {scheduler.grace_steps} steps on, one in {scheduler.reduction_factor} goes on"
    )


def _space_texts(base: ExperimentSettings) -> dict[str, str]:
    draws = dict(base.sweep.search.space)
    if scheduler_text(base):
        draws |= {path: Draw(choice=values) for path, values in base.sweep.grid.items()}
    return {path: space_text(draw) for path, draw in draws.items()}


def distinct_preparations(jobs: Sequence[TrialJob]) -> list[ExperimentSettings]:
    """Return one experiment for every different set of prepared stages that trials read."""
    found: dict[tuple[str, ...], ExperimentSettings] = {}
    seen: set[str] = set()
    for job in jobs:
        experiment = job.experiment
        settings = experiment.model_dump(mode="json", include={"task", "settings"})
        key = json.dumps(settings, sort_keys=True)
        if key in seen:
            continue
        seen.add(key)
        task = task_type(experiment.task)(experiment.settings)
        folders = stage_folders(task, Store(experiment.storage))
        found.setdefault(tuple(folder.uri for _, folder in folders), experiment)
    return [experiment for folders, experiment in found.items() if folders]


def _jobs(
    base: ExperimentSettings, record: SweepRecord, folder: Store, *, limit: int | None, inline: bool
) -> tuple[list[TrialJob], list[TrialJob]]:
    """Return the trials known beforehand, and the probes; raises with every mistake."""
    trials = expand(base)
    points = corner_points(base.sweep.search.space) if not trials else []
    seed = seeds(base)[0]
    probes = [Trial(f"corner {i} of the space", None, seed, p) for i, p in enumerate(points)]
    built: dict[str, ExperimentSettings] = {}
    by_trial: dict[str, Trial] = {trial.id: trial for trial in (*trials, *probes)}
    mistakes: dict[str, list[str]] = {}
    for trial in by_trial.values():
        try:
            built[trial.id] = build_experiment(base, trial.overrides, trial.seed)
        except EaglerayError as error:
            mistakes.setdefault(str(error).replace("\n", "; "), []).append(trial.label)
    listed = [f"{', '.join(dict.fromkeys(who))}: {what}" for what, who in mistakes.items()]
    experiments = [(by_trial[name], experiment) for name, experiment in built.items()]
    listed += check_trials(experiments, record.benchmark, inline=inline, limit=limit)
    listed += check_distinct([pair for pair in experiments if pair[0] not in probes])
    if listed:
        raise SettingsError("these trials could not be finished:\n  " + "\n  ".join(listed))
    nobody = WorkerGroup(1, 1.0, 0.0, 0.0, "cpu")
    jobs = [
        TrialJob(folder, trial, experiment, record, nobody, limit)
        for trial, experiment in experiments
    ]
    return jobs[: len(trials)], jobs[len(trials) :]


def _with_group(job: TrialJob, machine: Machine, *, inline: bool) -> TrialJob:
    group = trial_group(job.experiment, machine)
    return replace(job, group=replace(group, num_workers=1) if inline else group)


def _folder(
    base: ExperimentSettings, *, new: bool, limit: int | None
) -> tuple[Store, ExperimentSettings]:
    """Return the sweep's folder, and the experiment with the name of its trials' runs."""
    sweep = base.sweep.model_dump(mode="json", exclude={"trials_at_once", "published"})
    sweep["search"].pop("trials")
    text = json.dumps([results_digest(base), sweep, limit], sort_keys=True)
    name = f"{base.run}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    taken = sweeps_store(base.storage).folders(base.name)
    numbers = [int(t.rpartition(".")[2]) for t in taken if t.startswith(f"{name}.")]
    number = max([1, *numbers]) + (1 if new and name in taken else 0)
    if number == 1:
        return sweep_store(base.storage, base.name, name), base
    runs = base.model_copy(update={"run": f"{base.run}.{number}"})
    return sweep_store(base.storage, base.name, f"{name}.{number}"), runs


def _check_published(record: SweepRecord) -> None:
    unknown = sorted(set(record.published) - set(record.variants))
    if unknown:
        raise SettingsError(
            f"sweep.published names {unknown[0]!r}, which is no variant; variants: "
            f"{', '.join(record.variants)}"
        )
