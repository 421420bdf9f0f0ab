"""One trial from its first step to its result: an ordinary run, and a record of it in the sweep.

A plain function that Ray only schedules. It can be called again at any time: what is over is
returned as it is, everything else goes on from the run's newest checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from eagleray.contract.task import require
from eagleray.evaluate.driver import choose_benchmarks, evaluate_checkpoints
from eagleray.options import RunOptions
from eagleray.prepare import Prepared, prepare_stages
from eagleray.progress import Progress, Silent
from eagleray.runs.lease import RunIsBusyError
from eagleray.runs.records import EvaluationResult
from eagleray.storage import Store
from eagleray.sweep.folder import TrialRecord
from eagleray.sweep.plan import SweepPlan
from eagleray.sweep.trial import Trial, task_of
from eagleray.task import BaseTask, Evaluation, SettingsError, Training
from eagleray.track import tracked
from eagleray.train import TrainResult
from eagleray.train.checkpoint import list_checkpoints, read_best
from eagleray.train.run import check_requirements, describe_run, train_in_run

ReportValue = Callable[[float, int], None]
"""Told about the value of a validation and the optimizer steps before it."""

Evaluate = Callable[[SweepPlan, Trial], EvaluationResult]

_BUSY_PATIENCE_S = 150.0
"""How long a run may be held by a process that has just been killed, beyond its lease's minute."""
_BUSY_POLL_S = 1.0
_BEAT_S = 10.0
_ERROR_LENGTH = 2000


def evaluate_trial(plan: SweepPlan, trial: Trial) -> EvaluationResult:
    """Evaluate a trial's best checkpoint in this process."""
    settings = trial.settings
    task, prepared = _prepared(plan, trial, Silent())
    task = require(task, Evaluation)
    describe_run(trial.run_folder, settings, task, prepared)
    (result,) = evaluate_checkpoints(
        settings,
        task,
        trial.run_folder,
        prepared.rows,
        choose_benchmarks(task, (plan.summary.benchmark,)),
        ("best",),
        RunOptions(inline=True, limit=plan.options.limit),
    )
    return result


def run_trial(
    plan: SweepPlan,
    trial: Trial,
    report: ReportValue = lambda value, step: None,
    evaluate: Evaluate = evaluate_trial,
) -> TrialRecord:
    """Train and evaluate one trial; return its record.

    What fails is written down, not raised. A trial that was interrupted is ``pending`` again.

    Args:
        plan: The sweep.
        trial: The trial.
        report: Told about validations, those of an earlier attempt included.
        evaluate: Evaluates the best checkpoint where the workers are.
    """
    keeper = _Keeper(plan, trial)
    if keeper.record.is_over or plan.folder.is_stopping():
        return keeper.record
    try:
        keeper.write(state="running", error=None)
        trained = _train(plan, trial, keeper, report)
        if trained.finished:
            with tracked(trial.run_folder, trial.settings):
                values = dict(evaluate(plan, trial).values)
            keeper.write(**_outcome(plan, trial, trained, values, keeper.record))
        else:
            is_ended = plan.folder.is_ended_early(trial.id)
            keeper.write(state="stopped" if is_ended else "pending", steps=trained.step)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        keeper.write(state="failed", error=text[-_ERROR_LENGTH:])
    except KeyboardInterrupt:
        # Not SystemExit, by which a scheduler ends a trial's thread: its driver says so itself.
        keeper.write(state="pending")
        raise
    return keeper.record


class _Keeper(Silent):
    """Writes a trial's record while it runs; as a progress it keeps the seconds up to date."""

    def __init__(self, plan: SweepPlan, trial: Trial) -> None:
        self._plan, self._num_workers = plan, trial.group.num_workers
        self.record = plan.folder.trial(trial.id) or trial.first_record()
        self._seconds_before = self.record.device_seconds
        self._begin = self._written = time.monotonic()

    def write(self, **changes: Any) -> None:
        """Write the record with some fields replaced."""
        self._written = time.monotonic()
        seconds = self._seconds_before + (self._written - self._begin) * self._num_workers
        self.record = self.record.model_copy(
            update={**changes, "device_seconds": round(seconds, 3)}
        )
        self._plan.folder.write_trial(self.record)

    def validated(self, value: float, step: int) -> None:
        """Take a validation: the best one so far, and the last one."""
        best, summary = self.record.value, self._plan.summary
        changes: dict[str, Any] = {"last_value": value, "steps": step}
        if best is None or summary.is_better(value, best):
            changes |= {"value": value, "best_step": step, "values": {summary.metric: value}}
        self.write(**changes)

    def advance(self, units: int = 1, **info: object) -> None:
        """Write the record again if it is some seconds old."""
        if time.monotonic() - self._written >= _BEAT_S:
            self.write()


def _prepared(plan: SweepPlan, trial: Trial, progress: Progress) -> tuple[BaseTask, Prepared]:
    """Return the trial's task and its prepared data, which the sweep has made beforehand."""
    settings = trial.settings
    task = task_of(settings)
    check_requirements(settings, task, training=False)
    options = replace(plan.options, inline=True, device=settings.device, progress=progress)
    return task, prepare_stages(task, Store(settings.storage), settings.prepare, options)


def _train(plan: SweepPlan, trial: Trial, keeper: _Keeper, report: ReportValue) -> TrainResult:
    task, prepared = _prepared(plan, trial, keeper)
    task = require(task, Training)
    check_requirements(trial.settings, task)
    validations = plan.folder.validations(trial.id)
    for value, step in validations:
        report(value, step)
    last_step = _planned_steps(plan, trial)

    def take(metrics: Mapping[str, float]) -> None:
        value = metrics.get(plan.summary.metric)
        step = int(metrics.get("validated_step", metrics.get("step", 0)))
        known = validations[-1][1] if validations else 0
        if value is None or not math.isfinite(value) or step <= known:
            return
        validations.append((float(value), step))
        plan.folder.write_validations(trial.id, validations)
        keeper.validated(float(value), step)
        if step != last_step:
            report(float(value), step)

    options = RunOptions(
        inline=trial.group.num_workers == 1,
        limit=plan.options.limit,
        device=trial.settings.device,
        progress=keeper,
    )
    patience = time.monotonic() + _BUSY_PATIENCE_S
    while True:
        try:
            return train_in_run(
                trial.settings, task, trial.run_folder, prepared, options, report=take
            )
        except RunIsBusyError:
            if time.monotonic() > patience:
                raise
            time.sleep(_BUSY_POLL_S)


def _planned_steps(plan: SweepPlan, trial: Trial) -> int | None:
    """Return the optimizer steps of the whole training; None where it depends on the data.

    A trial that got there is evaluated, whatever a scheduler thinks of its last validation.
    """
    steps = [phase.steps for phase in trial.settings.train.phases]
    known = [
        s if plan.options.limit is None else min(s, plan.options.limit)
        for s in steps
        if s is not None
    ]
    return sum(known) if len(known) == len(steps) else None


def _outcome(
    plan: SweepPlan,
    trial: Trial,
    trained: TrainResult,
    values: dict[str, Any],
    before: TrialRecord,
) -> dict[str, Any]:
    """Return the fields of a trial that is done; the last step where nothing was validated."""
    metric = plan.summary.metric
    if metric not in values:
        raise SettingsError(
            f"sweep.metric is {metric!r}, but benchmark {plan.summary.benchmark!r} computes "
            f"{', '.join(sorted(values))}"
        )
    best = read_best(trial.run_folder)
    steps = {marker.name: marker.total_step for marker in list_checkpoints(trial.run_folder)}
    return {
        "state": "done",
        "value": values[metric],
        "values": values,
        "last_value": values[metric] if before.last_value is None else before.last_value,
        "steps": trained.step,
        "best_step": steps.get(best.checkpoint if best else "", trained.step),
    }
