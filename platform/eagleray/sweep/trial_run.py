"""One trial from its first step to its result: an ordinary run, and a record of it in the sweep.

A plain function that Ray only schedules. It can be called again at any time: what is over is
returned as it is, everything else goes on from the run's newest checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from eagleray.api import Experiment
from eagleray.progress import Silent
from eagleray.runs.lease import RunIsBusyError
from eagleray.storage import Store
from eagleray.sweep.plan import TrialJob
from eagleray.sweep.sweep_folder import TUNE_FOLDER, TrialRecord, read_trial, write_trial
from eagleray.task import InputError, SettingsError
from eagleray.train import TrainResult
from eagleray.train.checkpoint import list_checkpoints, read_best

STOP_FILE = "stop"
"""While it lies in the sweep's folder no trial begins."""

ReportValue = Callable[[float, int], None]
"""Told about the value of a validation and the optimizer steps before it."""

Evaluate = Callable[[TrialJob], Mapping[str, Any]]

_BUSY_PATIENCE_S = 150.0
"""How long a run may be held by a process that has just been killed, beyond its lease's minute."""
_BUSY_POLL_S = 1.0
_BEAT_S = 10.0
_ERROR_LENGTH = 2000


def run_trial(
    job: TrialJob, report: ReportValue | None = None, evaluate: Evaluate | None = None
) -> TrialRecord:
    """Train and evaluate one trial; return its record.

    What fails is written down, not raised. A trial that was interrupted is ``pending`` again.

    Args:
        job: The trial.
        report: Told about validations, those of an earlier attempt included.
        evaluate: Evaluates the best checkpoint where the workers are; by default here.
    """
    keeper = RecordKeeper(job)
    if keeper.record.is_over or job.sweep.exists(STOP_FILE):
        return keeper.record
    try:
        keeper.write(state="running", error=None)
        result = _train(job, keeper, report)
        if not result.finished:
            is_ended = job.sweep.exists(ended_path(job.trial.id))
            keeper.write(state="stopped" if is_ended else "pending", steps=result.step)
            return keeper.record
        found = (evaluate or evaluate_trial)(job)
        keeper.write(state="done", **_outcome(job, result, found, keeper.record))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        keeper.write(state="failed", error=text[-_ERROR_LENGTH:])
    except KeyboardInterrupt:
        # Not SystemExit, by which a scheduler ends a trial's thread: its driver says so itself.
        keeper.write(state="pending")
        raise
    return keeper.record


def evaluate_trial(job: TrialJob) -> Mapping[str, Any]:
    """Evaluate the trial's best checkpoint in this process; return the results mapping."""
    experiment = Experiment(job.experiment, limit=job.limit, inline=True)
    return experiment.evaluate([job.record.benchmark], "best")[0]


def read_reports(sweep: Store, trial: str) -> list[tuple[float, int]]:
    """Return value and step of a trial's validations so far."""
    try:
        found = json.loads(sweep.read(_reports_path(trial)))
        return [(float(value), int(step)) for value, step in found]
    except (FileNotFoundError, ValueError, TypeError):
        return []


class RecordKeeper(Silent):
    """Writes a trial's record while it runs; as a progress it keeps the seconds up to date.

    Args:
        job: The trial.
    """

    def __init__(self, job: TrialJob) -> None:
        self._job = job
        first = job.first_record()
        try:
            before = read_trial(job.sweep, job.trial.id)
        except InputError:
            before = None
        self.record = before or first
        self._seconds_before = self.record.device_seconds
        self._begin = self._written = time.monotonic()

    def write(self, **changes: Any) -> None:
        """Write the record with some fields replaced."""
        self._written = time.monotonic()
        seconds = (self._written - self._begin) * self._job.group.num_workers
        changes["device_seconds"] = round(self._seconds_before + seconds, 3)
        self.record = self.record.model_copy(update=changes)
        write_trial(self._job.sweep, self.record)

    def validated(self, value: float, step: int) -> None:
        """Take a validation: the best one so far, and the last one."""
        best, sign = self.record.value, 1.0 if self._job.record.higher_is_better else -1.0
        changes: dict[str, Any] = {"last_value": value, "steps": step}
        if best is None or sign * value > sign * best:
            metric = self._job.record.metric
            changes |= {"value": value, "best_step": step, "values": {metric: value}}
        self.write(**changes)

    def advance(self, units: int = 1, **info: object) -> None:
        """Write the record again if it is some seconds old."""
        if time.monotonic() - self._written >= _BEAT_S:
            self.write()


def _train(job: TrialJob, keeper: RecordKeeper, report: ReportValue | None) -> TrainResult:
    experiment = Experiment(job.experiment, limit=job.limit, inline=True, progress=keeper)
    experiment.check()
    experiment.prepare()
    experiment.inline = job.group.num_workers == 1
    reports = read_reports(job.sweep, job.trial.id)
    if report is not None:
        for value, step in reports:
            report(value, step)
    last_step = _planned_steps(job)

    def hear(metrics: Mapping[str, float]) -> None:
        value = metrics.get(job.record.metric)
        step = int(metrics.get("validated_step", metrics.get("step", 0)))
        known = reports[-1][1] if reports else 0
        if value is None or not math.isfinite(value) or step <= known:
            return
        reports.append((float(value), step))
        job.sweep.write(_reports_path(job.trial.id), json.dumps(reports).encode())
        keeper.validated(float(value), step)
        if report is not None and step != last_step:
            report(float(value), step)

    patience = time.monotonic() + _BUSY_PATIENCE_S
    while True:
        try:
            return experiment.train(hear)
        except RunIsBusyError:
            if time.monotonic() > patience:
                raise
            time.sleep(_BUSY_POLL_S)


def _planned_steps(job: TrialJob) -> int | None:
    """Return the optimizer steps of the whole training; None where it depends on the data.

    A trial that got there is evaluated, whatever a scheduler thinks of its last validation.
    """
    total = 0
    for phase in job.experiment.train.phases:
        if phase.steps is None:
            return None
        total += phase.steps if job.limit is None else min(phase.steps, job.limit)
    return total


def _outcome(
    job: TrialJob, result: TrainResult, found: Mapping[str, Any], before: TrialRecord
) -> dict[str, Any]:
    """Return the fields of a trial that is done."""
    metric, values = job.record.metric, dict(found["values"])
    if metric not in values:
        raise SettingsError(
            f"sweep.metric is {metric!r}, but benchmark {job.record.benchmark!r} computes "
            f"{', '.join(sorted(values))}"
        )
    last = before.last_value if before.last_value is not None else values[metric]
    return {
        "value": values[metric],
        "values": values,
        "last_value": last,
        "steps": result.step,
        "best_step": _best_step(job, result),
    }


def _best_step(job: TrialJob, result: TrainResult) -> int:
    """Return the optimizer step of the best checkpoint; the last one where nothing was
    validated.
    """
    run = Experiment(job.experiment).run_folder
    best = read_best(run)
    steps = {marker.name: marker.total_step for marker in list_checkpoints(run)}
    return result.step if best is None else steps.get(best.checkpoint, result.step)


def ended_path(trial: str) -> str:
    """Return the file that says that a scheduler has asked a trial's workers to end."""
    return f"{TUNE_FOLDER}/ended/{trial}"


def _reports_path(trial: str) -> str:
    return f"{TUNE_FOLDER}/reports/{trial}.json"
