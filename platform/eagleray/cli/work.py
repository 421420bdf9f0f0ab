"""Verbs that work on an experiment: plan, prepare, train, evaluate, run, predict."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from eagleray.analysis.regression import (
    Tolerances,
    check_tolerances,
    compare,
    open_run,
    read_baseline,
    regression_table,
)
from eagleray.analysis.table import benchmark_table, plain_table, results_table
from eagleray.api import Experiment
from eagleray.cli.arguments import Flags, parse
from eagleray.cli.main import VERBS
from eagleray.contract.task import require
from eagleray.evaluate.driver import choose_benchmarks
from eagleray.evaluate.weights import checkpoint_labels
from eagleray.prepare import Prepared
from eagleray.progress import terminal_progress
from eagleray.runs.records import EvaluationResult
from eagleray.runs.rejects import training_rejects
from eagleray.task import Evaluation, SettingsError, Training

REJECTS_STATUS = 3
"""Exit status of a job that finished, but rejected more items than allowed."""

FALLEN_STATUS = 4
"""Exit status of an evaluation that finished, but found a metric worse than in another run."""

F = TypeVar("F", bound=Flags)


@dataclasses.dataclass(frozen=True)
class EvaluateFlags(Flags):
    """Flags of ``evaluate``."""

    checkpoint: tuple[str, ...] = ()
    """One or several of best, last, initial (before training), or paths of a model.safetensors."""
    benchmark: tuple[str, ...] = ()
    """Benchmarks by name, or ``all``."""
    against: str | None = None
    """A run (EXPERIMENT/RUN, RUN, or its folder or URI) whose results must not be better: exit
    status 4 and a table where a metric fell."""
    tolerance: tuple[str, ...] = ()
    """How far metrics may fall, in their own units: 0.5 for all, PQ=0.5 for one."""


@dataclasses.dataclass(frozen=True)
class PredictFlags(Flags):
    """Flags of ``predict``."""

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Files and folders; folders are searched recursively."""
    output: str = "predictions"
    """Folder of the exports."""
    format: tuple[str, ...] = ()
    """Export formats; by default the task's first one."""
    checkpoint: str | None = None
    """best, last, initial (before training), or the path of a model.safetensors."""


def plan(arguments: list[str]) -> int:
    """Show what would run."""
    experiment, _ = _open("plan", Flags, arguments)
    rows = [
        (
            p.label,
            p.fingerprint,
            p.items,
            f"{p.shards_done}/{p.shards}",
            _size(p.bytes_on_disk),
            p.workers,
            f"{p.expected_seconds / 3600:.2f}",
        )
        for p in experiment.plan()
    ]
    columns = ("stage", "fingerprint", "items", "shards done", "on disk", "workers", "hours left")
    _say(plain_table(columns, rows))
    phases = [
        (
            p.name,
            p.steps if p.steps is not None else f"{p.epochs:g} epochs",
            p.batch_size,
            p.optimizer,
            p.lr,
            p.schedule.kind,
            p.precision,
        )
        for p in experiment.settings.train.phases
    ]
    columns = ("phase", "length", "global batch", "optimizer", "lr", "schedule", "precision")
    _say(plain_table(columns, phases))
    _say(f"run folder: {experiment.run_folder.uri}")
    return 0


def prepare(arguments: list[str]) -> int:
    """Run all preprocessing stages."""
    experiment, _ = _open("prepare", Flags, arguments)
    return _report_prepared(experiment, experiment.prepare())


def train(arguments: list[str]) -> int:
    """Train, or go on training."""
    experiment, _ = _open("train", Flags, arguments)
    require(experiment.task, Training)
    experiment.check()
    status = _report_prepared(experiment, experiment.prepare())
    result = experiment.train()
    status = max(status, _report_training(experiment))
    _say(f"run folder: {experiment.run_folder.uri}")
    if not result.finished:
        raise InterruptedError("training was stopped; the same command goes on from there")
    return status


def evaluate(arguments: list[str]) -> int:
    """Evaluate checkpoints."""
    experiment, flags = _open("evaluate", EvaluateFlags, arguments)
    if flags.tolerance and flags.against is None:
        raise SettingsError("--tolerance says how far metrics may fall --against a run: name one")
    tolerances = Tolerances.parse(flags.tolerance)
    baselines = _baselines(experiment, flags)
    status = _report_prepared(experiment, experiment.prepare(), quiet=True)
    results = experiment.evaluate(flags.benchmark, flags.checkpoint)
    status = max(status, _report_results(results))
    if flags.against is None:
        return status
    changes = [
        change
        for result in results
        for change in compare(result, baselines[result.benchmark, result.checkpoint], tolerances)
    ]
    check_tolerances(tolerances, changes)
    _say(regression_table(changes, flags.against))
    return FALLEN_STATUS if any(change.is_regression for change in changes) else status


def run(arguments: list[str]) -> int:
    """Prepare, train and evaluate."""
    experiment, _ = _open("run", Flags, arguments)
    require(experiment.task, Training)
    experiment.check()
    with experiment.session():
        status = _report_prepared(experiment, experiment.prepare())
        result = experiment.train()
        status = max(status, _report_training(experiment))
        if not result.finished:
            raise InterruptedError("training was stopped; the same command goes on from there")
        if experiment.has_benchmarks():
            status = max(status, _report_results(experiment.evaluate()))
    _say(f"run folder: {experiment.run_folder.uri}")
    return status


def predict(arguments: list[str]) -> int:
    """Run the trained task on a user's own files."""
    experiment, flags = _open("predict", PredictFlags, arguments)
    if not flags.files:
        raise SettingsError("eagleray predict needs files or folders: predict EXP PATH [PATH ...]")
    summary = experiment.predict(flags.files, flags.output, flags.format, flags.checkpoint)
    for key, error in summary.rejected:
        sys.stderr.write(f"rejected {key}: {error}\n")
    _say(f"{summary.items} files, {len(summary.files)} exports in {flags.output}")
    return REJECTS_STATUS if summary.rejected else 0


def _open(verb: str, flags: type[F], arguments: list[str]) -> tuple[Experiment, F]:
    _, given, settings = parse(verb, VERBS[verb].summary, flags, arguments)
    experiment = Experiment(
        settings,
        new=given.new,
        limit=given.limit,
        inline=given.inline,
        progress=terminal_progress(),
    )
    return experiment, given


def _baselines(
    experiment: Experiment, flags: EvaluateFlags
) -> dict[tuple[str, str], EvaluationResult]:
    """Return the other run's results by benchmark and checkpoint, read before this run's results,
    which may be the same files, are written.
    """
    if flags.against is None:
        return {}
    settings = experiment.settings
    other = open_run(settings.storage, flags.against)
    names = flags.benchmark or settings.evaluate.benchmarks
    labels = checkpoint_labels(flags.checkpoint or (settings.evaluate.checkpoint,))
    return {
        (benchmark.name, label): read_baseline(other, benchmark.name, label, benchmark.protocol)
        for benchmark in choose_benchmarks(require(experiment.task, Evaluation), names)
        for label in labels.values()
    }


def _report_results(results: Sequence[EvaluationResult]) -> int:
    _say(benchmark_table(results[0]) if len(results) == 1 else results_table(results))
    return REJECTS_STATUS if any(r.rejected for r in results) else 0


def _report_prepared(experiment: Experiment, prepared: Prepared, *, quiet: bool = False) -> int:
    rejected = sum(s.rejected for s in prepared.summaries)
    if not quiet or rejected:
        rows = [
            (s.label, s.fingerprint, s.items, s.done, s.rejected, s.rows, _size(s.bytes))
            for s in prepared.summaries
        ]
        columns = ("stage", "fingerprint", "items", "done", "rejected", "rows", "bytes")
        _say(plain_table(columns, rows))
    for summary in prepared.summaries:
        for key, error in summary.rejects:
            sys.stderr.write(f"rejected by {summary.label}: {key}: {error}\n")
    return REJECTS_STATUS if rejected > experiment.settings.prepare.allowed_rejects else 0


def _report_training(experiment: Experiment) -> int:
    rejects = training_rejects(experiment.run_folder)
    for key, error in rejects:
        sys.stderr.write(f"rejected by training: {key}: {error}\n")
    return REJECTS_STATUS if len(rejects) > experiment.settings.prepare.allowed_rejects else 0


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
