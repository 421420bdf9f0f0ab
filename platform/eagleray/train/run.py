"""A training as a run: what it needs, the lease on its folder, and what its summary says of it."""

from __future__ import annotations

from dataclasses import asdict

from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import RunOptions
from eagleray.prepare import Prepared
from eagleray.runs.lease import Lease
from eagleray.runs.provenance import recorded
from eagleray.runs.rejects import record_rejects
from eagleray.runs.run_folder import RunFolder
from eagleray.task import BaseTask, Requirement, SettingsError, Training
from eagleray.track import tracked
from eagleray.train.driver import TrainResult, train_run
from eagleray.train.job import Report


def missing_requirements(settings: ExperimentSettings, task: BaseTask) -> list[Requirement]:
    """Return what the task needs and does not find."""
    begun = settings.train.init_from is not None
    return [
        r
        for r in task.requirements()
        if not (r.found or r.optional or (begun and r.replaced_by_init))
    ]


def check_requirements(
    settings: ExperimentSettings, task: BaseTask, *, training: bool = True
) -> None:
    """Refuse before anything starts what could not be finished.

    Args:
        settings: The experiment.
        task: Its task.
        training: Also ask for what only training needs (pretrained weights).

    Raises:
        SettingsError: Something the task needs is not there.
    """
    missing = [r for r in missing_requirements(settings, task) if training or not r.training_only]
    if missing:
        listing = "\n".join(f"  {r.name}: {r.hint}" for r in missing)
        raise SettingsError(f"task {task.name!r} does not find what it needs:\n{listing}")


def describe_run(
    run: RunFolder, settings: ExperimentSettings, task: BaseTask, prepared: Prepared
) -> None:
    """Write what a run is, which prepared data it uses, and what they could not process."""
    run.begin(settings)
    run.record_stages({s.label: s.fingerprint for s in prepared.summaries})
    record_rejects(run, {s.label: s.rejects for s in prepared.summaries})
    run.update_summary(task=task.name, experiment=settings.name)


def train_in_run(
    settings: ExperimentSettings,
    task: Training,
    run: RunFolder,
    prepared: Prepared,
    options: RunOptions,
    *,
    report: Report | None = None,
) -> TrainResult:
    """Train as ``train_run`` does, while nobody else does; the run's summary says how it went.

    Raises:
        RunIsBusyError: Another process works on the run.
    """
    # The lease keeps a second driver off the run. Nothing rests on it: each start of the workers
    # counts up the attempt in the names of its metrics, and a checkpoint counts by its marker.
    with Lease(run) as lease:
        describe_run(run, settings, task, prepared)
        run.update_summary(state="training", attempt=lease.attempt)
        try:
            plugin = type(task).__module__.partition(".")[0]
            with recorded(run, "train", plugin), tracked(run, settings):
                result = train_run(settings, task, run, prepared.rows, options, report=report)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            state = "stopped" if stopped else "failed"
            run.update_summary(state=state, error=str(error)[:2000])
            raise
        run.update_summary(
            state="trained" if result.finished else "stopped",
            error=None,
            step=result.step,
            train=dict(result.metrics),
            best=asdict(result.best) if result.best else None,
            train_seconds=result.seconds,
        )
        record_rejects(run, {s.label: s.rejects for s in prepared.summaries})
    return result
