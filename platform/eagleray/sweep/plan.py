"""What a sweep would do: its folder, its trials as checked experiments, and how they are packed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eagleray.contract.task import require
from eagleray.evaluate.driver import choose_benchmarks
from eagleray.experiment.schema import ExperimentSettings, ValidateSettings
from eagleray.experiment.sweep import Draw
from eagleray.options import RunOptions
from eagleray.prepare import stage_folders
from eagleray.progress import Silent
from eagleray.runs.run_folder import results_digest, run_of, runs_store
from eagleray.scheduling import (
    Machine,
    WorkerGroup,
    fit_workers,
    local_machine,
    num_places,
    present_machine,
)
from eagleray.storage import Store
from eagleray.sweep.folder import BASELINE, SweepFolder, SweepSummary, sweep_below, sweeps_store
from eagleray.sweep.space import Space, corner_points, point_overrides, space_text
from eagleray.sweep.trial import (
    Point,
    Trial,
    points,
    seeds,
    task_of,
    trial_settings,
    variants,
    with_full_paths,
)
from eagleray.task import Benchmark, EaglerayError, Evaluation, Resources, SettingsError, Training
from eagleray.train import WORKER_SETTINGS, TrainJob, check_job
from eagleray.train.run import missing_requirements


@dataclass(frozen=True)
class SweepPlan:
    """A sweep whose trials were checked; picklable.

    Args:
        folder: The sweep's folder.
        summary: What is compared.
        base: The base experiment: full paths, and the validations that a scheduler needs.
        trials: The trials known beforehand, by id; none for an Optuna search.
        probes: Corners of a space whose trials are not known beforehand, checked in their place.
        trials_at_once: How many trials run at a time.
        options: How trials run; without a progress, which stays in the driver's process.
    """

    folder: SweepFolder
    summary: SweepSummary
    base: ExperimentSettings
    trials: Mapping[str, Trial]
    probes: tuple[Trial, ...]
    trials_at_once: int
    options: RunOptions

    @property
    def space(self) -> Space:
        """What a search draws from."""
        return self.base.sweep.search.space

    @property
    def num_trials(self) -> int:
        """Number of trials."""
        return len(self.trials) or self.base.sweep.search.trials

    @property
    def has_groups(self) -> bool:
        """Whether trials have workers besides their own process."""
        return any(t.group.num_workers > 1 for t in (*self.trials.values(), *self.probes))

    def searched(self, overrides: Mapping[str, Any]) -> Trial:
        """Return a trial that a search came upon; equal settings give the same trial.

        Raises:
            SettingsError: The settings do not fit together.
        """
        seed = seeds(self.base)[0]
        settings = trial_settings(self.base, overrides, seed)
        point = Point(f"t-{results_digest(settings)}", None, seed, dict(overrides))
        return _trial(point, settings, self.probes[0].group)

    def suggested(self, config: Mapping[str, Any]) -> Trial:
        """Return the trial that a configuration of Tune's means: an id, or a point of the space."""
        if self.trials:
            return self.trials[config["trial"]]
        return self.searched(point_overrides(self.space, config))

    def preparations(self, trials: Sequence[Trial]) -> list[ExperimentSettings]:
        """Return one experiment for every different set of prepared stages that trials read."""
        by_settings: dict[str, ExperimentSettings] = {}
        for trial in (*trials, *self.probes):
            values = trial.settings.model_dump(mode="json", include={"task", "settings"})
            by_settings.setdefault(json.dumps(values, sort_keys=True), trial.settings)
        by_stages: dict[tuple[str, ...], ExperimentSettings] = {}
        for settings in by_settings.values():
            folders = stage_folders(task_of(settings), Store(settings.storage))
            by_stages.setdefault(tuple(folder.uri for _, folder in folders), settings)
        return [settings for stages, settings in by_stages.items() if stages]


def plan_sweep(
    settings: ExperimentSettings, options: RunOptions, *, new: bool = False
) -> SweepPlan:
    """Return what a sweep would do; computes nothing.

    Args:
        settings: The base experiment with its ``sweep`` section.
        options: How it runs; inline, trials run in this process, one after the other.
        new: Begin a new sweep with new runs instead of continuing the latest one.

    Raises:
        SettingsError: Anything that would end a trial; all mistakes are listed.
    """
    base = with_full_paths(settings)
    benchmark = _benchmark(base)
    base = _with_validations(base, benchmark.name)
    folder, base = _folder(base, options.limit, new=new)
    summary = _summary(base, benchmark, folder)
    known = points(base)
    corners = [] if known else corner_points(base.sweep.search.space)
    seed = summary.seeds[0]
    probes = [Point(f"corner {i} of the space", None, seed, c) for i, c in enumerate(corners)]
    machine = local_machine() if options.inline else present_machine()
    trials = []
    for point, trial in _checked_trials(base, known, probes, benchmark.name, options):
        group = trial_group(trial, machine)
        group = replace(group, num_workers=1) if options.inline else group
        trials.append(_trial(point, trial, group))
    groups = [trial.group for trial in trials]
    asked = base.sweep.trials_at_once
    return SweepPlan(
        folder=folder,
        summary=summary,
        base=base,
        trials={trial.id: trial for trial in trials[: len(known)]},
        probes=tuple(trials[len(known) :]),
        trials_at_once=1 if options.inline else trials_at_once(machine, groups, asked),
        options=replace(options, progress=Silent()),
    )


def trial_group(settings: ExperimentSettings, machine: Machine) -> WorkerGroup:
    """Return the workers that one trial takes; an elastic group counts with its least number.

    Raises:
        SchedulingError: They can never fit on the machine.
    """
    train = settings.train
    asked = train.num_workers if isinstance(train.num_workers, int) else min(train.num_workers)
    gpus = 0.0 if settings.device == "cpu" else train.gpus_per_worker
    worker = Resources(cpus=train.cpus_per_worker, gpus=gpus)
    return fit_workers(
        machine,
        worker,
        device=settings.device,
        asked=asked,
        what="a trial",
        setting=WORKER_SETTINGS,
    )


def trials_at_once(machine: Machine, groups: Sequence[WorkerGroup], asked: int | None) -> int:
    """Return how many trials run at a time.

    Args:
        machine: What is there.
        groups: The trials' groups, at least one.
        asked: What the user wants; more than fit are not given.

    Example:
        >>> from eagleray.scheduling import Node
        >>> group = WorkerGroup(2, cpus=4, gpus=1, memory_gb=0, device="cuda")
        >>> trials_at_once(Machine((Node(64, 8), Node(64, 8))), [group], None)
        8
    """
    # Whole groups are counted: if trials began worker by worker, two of them could each hold half
    # of their workers and wait for the other for ever. In places for the largest worker of all,
    # any mixture of so many trials fits, wherever Ray puts them.
    largest = replace(
        groups[0],
        num_workers=max(group.num_workers for group in groups),
        cpus=max(group.cpus for group in groups),
        gpus=max(group.gpus for group in groups),
    )
    fitting = max(1, num_places(machine, largest) // largest.num_workers)
    return min(asked or fitting, fitting)


def _trial(point: Point, settings: ExperimentSettings, group: WorkerGroup) -> Trial:
    return Trial(point, settings, run_of(settings, own=True).name, group)


def _benchmark(base: ExperimentSettings) -> Benchmark:
    """Return the benchmark that ranks the trials."""
    asked = base.sweep.benchmark
    names = tuple(n for n in base.evaluate.benchmarks if n != "all")[:1]
    task = require(task_of(base), Evaluation)
    return choose_benchmarks(task, (asked,) if asked else names)[0]


def _summary(base: ExperimentSettings, benchmark: Benchmark, folder: SweepFolder) -> SweepSummary:
    sweep, draws, scheduler = base.sweep, dict(base.sweep.search.space), ""
    if sweep.scheduler.kind != "none":
        # With trials ended early a grid is a search: its variants have no values to average.
        draws |= {path: Draw(choice=values) for path, values in sweep.grid.items()}
        steps, factor = sweep.scheduler.grace_steps, sweep.scheduler.reduction_factor
        scheduler = f"ASHA: from {steps} steps on, one in {factor} goes on"
    named, asked = variants(base), sweep.higher_is_better
    unknown = sorted(set(sweep.published) - set(named))
    if unknown:
        raise SettingsError(
            f"sweep.published names {unknown[0]!r}, which is no variant; variants: "
            f"{', '.join(named)}"
        )
    return SweepSummary(
        name=folder.name.rpartition("/")[2],
        experiment=base.name,
        task=base.task,
        kind="search" if draws else "ablations",
        benchmark=benchmark.name,
        metric=sweep.metric or benchmark.metric,
        higher_is_better=benchmark.higher_is_better if asked is None else asked,
        baseline=BASELINE if sweep.ablations else None,
        seeds=seeds(base),
        variants=named,
        space={path: space_text(draw) for path, draw in draws.items()},
        scheduler=scheduler,
        published=sweep.published,
    )


def _with_validations(base: ExperimentSettings, benchmark: str) -> ExperimentSettings:
    """Return the experiment with the validations that a scheduler judges trials by, whose best
    checkpoints are the best by the sweep's own metric.
    """
    validate_on, sweep = base.train.validate_on, base.sweep
    if sweep.scheduler.kind != "none" and validate_on.benchmark is None:
        every, units = sweep.scheduler.grace_steps, validate_on.units
        validate_on = ValidateSettings(benchmark=benchmark, every=every, units=units)
    elif sweep.scheduler.kind != "none" and validate_on.benchmark != benchmark:
        raise SettingsError(
            f"the scheduler judges trials by validations on train.validate_on.benchmark "
            f"{validate_on.benchmark!r}, but the sweep is ranked on {benchmark!r}: set one of the "
            "two to the other"
        )
    if sweep.metric and validate_on.benchmark == benchmark and validate_on.metric is None:
        ranked = {"metric": sweep.metric, "higher_is_better": sweep.higher_is_better}
        validate_on = validate_on.model_copy(update=ranked)
    train = base.train.model_copy(update={"validate_on": validate_on})
    return base.model_copy(update={"train": train})


def _folder(
    base: ExperimentSettings, limit: int | None, *, new: bool
) -> tuple[SweepFolder, ExperimentSettings]:
    """Return the sweep's folder, and the experiment with the name of its trials' runs."""
    sweep = base.sweep.model_dump(mode="json", exclude={"trials_at_once", "published"})
    sweep["search"].pop("trials")
    text = json.dumps([results_digest(base), sweep, limit], sort_keys=True)
    name = f"{base.run}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    sweeps = sweeps_store(base.storage)
    taken = sweeps.folders(base.name)
    numbers = [int(t.rpartition(".")[2]) for t in taken if t.startswith(f"{name}.")]
    number = max([1, *numbers]) + (1 if new and name in taken else 0)
    if number > 1:
        name, base = f"{name}.{number}", base.model_copy(update={"run": f"{base.run}.{number}"})
    return sweep_below(sweeps, f"{base.name}/{name}"), base


def _checked_trials(
    base: ExperimentSettings,
    known: Sequence[Point],
    probes: Sequence[Point],
    benchmark: str,
    options: RunOptions,
) -> list[tuple[Point, ExperimentSettings]]:
    """Return the trials with their settings; raises with every mistake of all of them."""
    mistakes: dict[str, dict[str, None]] = {}
    built: list[tuple[Point, ExperimentSettings]] = []
    of_variant: dict[str, list[str]] = {}
    of_digest: dict[str, str] = {}
    for position, point in enumerate((*known, *probes)):
        label = point.variant or point.id  # a variant has the same mistakes for every seed
        try:
            settings = trial_settings(base, point.overrides, point.seed)
        except EaglerayError as error:
            mistakes.setdefault(str(error).replace("\n", "; "), {})[label] = None
            continue
        built.append((point, settings))
        if label not in of_variant:
            of_variant[label] = _mistakes_of(settings, benchmark, options)
        for mistake in of_variant[label]:
            mistakes.setdefault(mistake, {})[label] = None
        other = of_digest.setdefault(results_digest(settings), point.id)
        if other != point.id and position < len(known):
            mistake = (
                f"its results are those of {other}, since it differs in nothing that changes "
                "results; leave one of them out"
            )
            mistakes.setdefault(mistake, {})[point.id] = None
    if mistakes:
        listed = [f"{_listing(list(labels))}: {text}" for text, labels in mistakes.items()]
        raise SettingsError("these trials could not be finished:\n  " + "\n  ".join(listed))
    return built


def _mistakes_of(settings: ExperimentSettings, benchmark: str, options: RunOptions) -> list[str]:
    """Return what would end a trial, as far as it can be known before anything starts."""
    mistakes = []
    try:
        task = require(task_of(settings), Training)
        choose_benchmarks(require(task, Evaluation), (benchmark,))
        missing = missing_requirements(settings, task)
        mistakes += [f"does not find {r.name}: {r.hint}" for r in missing]
        job = TrainJob(settings, task, runs_store(settings.storage), {}, options.limit)
        check_job(job, inline=options.inline)
    except EaglerayError as error:
        mistakes.append(str(error))
    return mistakes


def _listing(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:3])
    return shown if len(labels) <= 3 else f"{shown} and {len(labels) - 3} more"
