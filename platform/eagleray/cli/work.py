"""Verbs that work on an experiment: plan, prepare, train, evaluate, run, predict, sweep."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from typing import TypeVar

from eagleray.analysis.ablation import sweep_table, write_tables
from eagleray.analysis.regression import (
    Tolerances,
    check_tolerances,
    compare,
    regression_table,
)
from eagleray.analysis.table import benchmark_table, plain_table, results_table
from eagleray.api import STOPPED, Experiment, Listener
from eagleray.cli.arguments import parse, parse_command_line
from eagleray.cli.flags import (
    CodeFlags,
    EvaluateFlags,
    ExportFlags,
    Flags,
    PredictFlags,
    PrepareFlags,
    SweepFlags,
)
from eagleray.cli.main import FAILED_STATUS, FALLEN_STATUS, REJECTS_STATUS, say
from eagleray.cli.verbs import VERBS
from eagleray.contract.task import require
from eagleray.experiment.schema import ExperimentSettings
from eagleray.prepare import Prepared
from eagleray.progress import terminal_progress
from eagleray.runs.records import EvaluationResult
from eagleray.runs.rejects import training_rejects
from eagleray.scheduling.session import VERBOSE
from eagleray.sweep.driver import SweepResult
from eagleray.sweep.plan import SweepPlan
from eagleray.task import SettingsError, Training
from eagleray.train import TrainResult

_ERROR_LINES = 3

F = TypeVar("F", bound=Flags)


_UNKNOWN = "?"
"""What cannot be known before the stages upstream are done."""


def plan(arguments: list[str]) -> int:
    """Show what would run."""
    experiment, _ = _open("plan", Flags, arguments)
    planned = experiment.plan()
    rows = [
        (
            p.label,
            p.fingerprint,
            _UNKNOWN if p.items is None else p.items,
            f"{p.shards_done}/{_UNKNOWN if p.shards is None else p.shards}",
            _size(p.bytes_on_disk),
            p.workers,
            f"{p.expected_seconds / 3600:.2f}" if math.isfinite(p.expected_seconds) else _UNKNOWN,
            p.mode,
            _size(p.expected_bytes) if math.isfinite(p.expected_bytes) else _UNKNOWN,
        )
        for p in planned
    ]
    headings = (
        *("stage", "fingerprint", "items", "shards done", "on disk", "workers", "hours left"),
        *("rows are", "size in the end"),
    )
    say(plain_table(headings, rows))
    if any(p.items is None for p in planned):
        say(f"{_UNKNOWN}: known when the stages before are done")
    for table in experiment.costs(planned):
        say(table.title)
        say(plain_table(table.columns, table.rows))
        if table.note:
            say(table.note)
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
    say(plain_table(columns, phases))
    say(f"run folder: {experiment.run_folder.uri}")
    return 0


def prepare(arguments: list[str]) -> int:
    """Run all preprocessing stages."""
    experiment, _ = _open("prepare", PrepareFlags, arguments)
    printer = _Printer(experiment)
    printer.prepared(experiment.prepare())
    return printer.status


def train(arguments: list[str]) -> int:
    """Train, or go on training."""
    experiment, _ = _open("train", CodeFlags, arguments)
    require(experiment.task, Training)
    experiment.check()
    printer = _Printer(experiment)
    with experiment.session():
        printer.prepared(experiment.prepare())
        result = experiment.train()
    printer.trained(result)
    say(f"run folder: {experiment.run_folder.uri}")
    if not result.finished:
        raise InterruptedError(STOPPED)
    return printer.status


def evaluate(arguments: list[str]) -> int:
    """Evaluate checkpoints."""
    experiment, flags = _open("evaluate", EvaluateFlags, arguments)
    if flags.tolerance and flags.against is None:
        raise SettingsError("--tolerance says how far metrics may fall --against a run: name one")
    tolerances = Tolerances.parse(flags.tolerance)
    asked = (flags.benchmark, flags.checkpoint)
    baselines = experiment.baselines(flags.against, *asked) if flags.against else {}
    printer = _Printer(experiment, is_quiet=True)
    with experiment.session():
        printer.prepared(experiment.prepare_for(flags.benchmark))
        results = experiment.evaluate(*asked)
    printer.evaluated(results)
    if flags.against is None:
        return printer.status
    changes = [
        change
        for result in results
        for change in compare(result, baselines[result.benchmark, result.checkpoint], tolerances)
    ]
    check_tolerances(tolerances, changes)
    say(regression_table(changes, flags.against))
    return FALLEN_STATUS if any(change.is_regression for change in changes) else printer.status


def run(arguments: list[str]) -> int:
    """Prepare, train and evaluate."""
    experiment, _ = _open("run", CodeFlags, arguments)
    printer = _Printer(experiment)
    experiment.run(printer)
    say(f"run folder: {experiment.run_folder.uri}")
    return printer.status


def predict(arguments: list[str]) -> int:
    """Run the trained task on a user's own files."""
    line = parse_command_line("predict", VERBS["predict"].summary, PredictFlags, arguments)
    experiment, flags = _experiment(line.experiment, line.flags), line.flags
    if not flags.files:
        raise SettingsError("eagleray predict needs files or folders: predict EXP PATH [PATH ...]")
    summary = experiment.predict(
        flags.files,
        flags.output,
        flags.format,
        flags.checkpoint,
        line.task_flags.model_dump(exclude_defaults=True),
    )
    for key, error in summary.rejected:
        sys.stderr.write(f"rejected {key}: {error}\n")
    exports = _many(len(summary.files), "export")
    say(f"{_many(summary.items, 'file')}, {exports} in {flags.output}")
    if not summary.rejected:
        return 0
    sys.stderr.write(
        f"{_many(len(summary.rejected), 'file')} could not be predicted: exit status "
        f"{REJECTS_STATUS}. Mend them; --retry-rejects goes over them again\n"
    )
    return REJECTS_STATUS


def export(arguments: list[str]) -> int:
    """Write a checkpoint's weights as one file that holds all of them."""
    experiment, flags = _open("export", ExportFlags, arguments)
    num_bytes = experiment.export(flags.output, flags.checkpoint)
    say(f"{flags.output}: {_size(num_bytes)}")
    return 0


def sweep(arguments: list[str]) -> int:
    """Run ablations, a grid or a search."""
    experiment, flags = _open("sweep", SweepFlags, arguments)
    if flags.dry_run:
        say(_trials_text(experiment.plan_sweep()))
        return 0
    return _report_sweep(experiment.sweep())


def _open(verb: str, flags: type[F], arguments: list[str]) -> tuple[Experiment, F]:
    _, given, settings = parse(verb, VERBS[verb].summary, flags, arguments)
    return _experiment(settings, given), given


def _experiment(settings: ExperimentSettings, given: Flags) -> Experiment:
    if given.verbose:
        os.environ[VERBOSE] = "1"
    return Experiment(
        settings,
        new=given.new,
        limit=given.limit,
        inline=given.inline,
        progress=terminal_progress(),
        retry_rejects=isinstance(given, PrepareFlags) and given.retry_rejects,
        other_code=given.other_code if isinstance(given, CodeFlags) else "tell",
    )


class _Printer(Listener):
    """Says what each part of the work gave, and keeps the exit status that follows from it.

    Args:
        experiment: The experiment.
        is_quiet: Whether prepared stages are worth a word only where they rejected items.
    """

    def __init__(self, experiment: Experiment, *, is_quiet: bool = False) -> None:
        self._experiment, self._is_quiet, self.status = experiment, is_quiet, 0

    def prepared(self, prepared: Prepared) -> None:
        """Show the stages as a table, and name rejected items."""
        rejected = sum(s.rejected for s in prepared.summaries)
        if not self._is_quiet or rejected:
            rows = [
                (s.label, s.fingerprint, s.items, s.done, s.rejected, s.rows, _size(s.bytes))
                for s in prepared.summaries
            ]
            columns = ("stage", "fingerprint", "items", "done", "rejected", "rows", "bytes")
            say(plain_table(columns, rows))
        for summary in prepared.summaries:
            for key, error in summary.rejects:
                sys.stderr.write(f"rejected by {summary.label}: {key}: {error}\n")
        self._count(rejected)

    def trained(self, result: TrainResult) -> None:
        """Name the items that training could not use."""
        rejects = training_rejects(self._experiment.run_folder)
        for key, error in rejects:
            sys.stderr.write(f"rejected by training: {key}: {error}\n")
        self._count(len(rejects))

    def evaluated(self, results: Sequence[EvaluationResult]) -> None:
        """Show the results beside the published ones."""
        say(benchmark_table(results[0]) if len(results) == 1 else results_table(results))
        rejected = sum(result.rejected for result in results)
        if rejected:
            self.status = REJECTS_STATUS
            sys.stderr.write(
                f"{_many(rejected, 'unit')} of the evaluation could not be scored: exit status "
                f"{REJECTS_STATUS}; results leave them out. --retry-rejects goes over them again\n"
            )

    def _count(self, rejected: int) -> None:
        allowed = self._experiment.settings.prepare.allowed_rejects
        if rejected > allowed:
            self.status = REJECTS_STATUS
            sys.stderr.write(
                f"{rejected} rejected, prepare.allowed_rejects is {allowed}: exit status "
                f"{REJECTS_STATUS}; results leave them out. Mend them, or allow as many\n"
            )


def _trials_text(plan: SweepPlan) -> str:
    """Return the trials of a sweep and what has become of them so far, as a table."""
    summary, records = plan.summary, plan.folder.readable_trials()[0]
    states = {record.id: record.state for record in records}
    points = [trial.point for trial in plan.trials.values()]
    paths = list(dict.fromkeys(path for point in points for path in point.overrides))
    if plan.trials:
        rows = [
            (
                trial.id,
                *(trial.point.overrides.get(path, "") for path in paths),
                trial.point.seed,
                trial.run,
                states.get(trial.id, "-"),
            )
            for trial in plan.trials.values()
        ]
        lines = [plain_table(("trial", *paths, "seed", "run", "state"), rows)]
    else:
        lines = [plain_table(("setting", "drawn from"), list(summary.space.items()))]
        lines.append(f"Optuna draws each trial from those before it (seed {summary.seeds[0]})")
    direction = "greatest" if summary.higher_is_better else "least"
    lines.append(
        f"{plan.num_trials} trials, {plan.trials_at_once} at a time; ranked by the {direction} "
        f"{summary.metric} on {summary.benchmark}"
    )
    lines += [summary.scheduler] if summary.scheduler else []
    return "\n".join([*lines, f"sweep folder: {plan.folder.uri}"])


def _report_sweep(result: SweepResult) -> int:
    say(sweep_table(result.folder).formatted("text").rstrip("\n"))
    say(f"sweep folder: {result.folder.uri}")
    if not result.finished:
        raise InterruptedError("the sweep was stopped; the same command goes on from there")
    write_tables(result.folder)
    for trial in result.failed:
        lines = (trial.error or "").strip().splitlines()
        shown = "\n  ".join([*lines[:1], *lines[1:][-_ERROR_LINES:]])
        sys.stderr.write(f"failed: {trial.id} (run {trial.run}): {shown}\n")
    if result.failed:
        sys.stderr.write(
            f"{len(result.failed)} of {len(result.trials)} trials of "
            f"{result.folder.name} failed; the same command tries them again\n"
        )
        return FAILED_STATUS
    if not result.rejected:
        return 0
    sys.stderr.write(
        f"items were rejected in trials of {result.folder.name}: exit status {REJECTS_STATUS}; "
        "each run's report names them\n"
    )
    return REJECTS_STATUS


def _many(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
