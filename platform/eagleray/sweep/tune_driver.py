"""Trials on Ray Tune: packed onto the resources at hand, ended early by ASHA, stopped with
checkpoints.

Tune only schedules. What is done, and with which result, is said by the trials' own records, so
that a new Tuner over the trials that are left goes on where a killed one was.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from eagleray.experiment.sweep import SchedulerSettings
from eagleray.progress import Progress
from eagleray.runs.run_folder import runs_store, update_summary
from eagleray.scheduling import WorkerGroup
from eagleray.storage import Store
from eagleray.sweep.plan import SweepPlan, TrialJob
from eagleray.sweep.searcher import STEPS, VALUE, Space, make_searcher
from eagleray.sweep.shown import SweepProgress
from eagleray.sweep.sweep_folder import TUNE_FOLDER, TrialRecord, read_trial, write_trial
from eagleray.sweep.trial_run import (
    STOP_FILE,
    ended_path,
    evaluate_trial,
    read_reports,
    run_trial,
)
from eagleray.task import EaglerayError
from eagleray.train.stop import request_stop, sigterm_as_interrupt

_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}
_POLL_S = 0.5
_QUIET_POLLS = 3
"""Looks in a row that found no trial at work, before Tune is ended."""
_MOST_STEPS = 2**40
"""No trial is that long: ASHA leaves the end of a training to the training itself."""
_TOKEN_BYTES = 1_000_000
"""What a trial takes that only waits for its workers: Tune refuses a request for nothing."""


class SweepError(EaglerayError):
    """Ray Tune itself failed."""


def run_on_ray(plan: SweepPlan, todo: Sequence[TrialJob], progress: Progress) -> bool:
    """Run trials on Ray; return whether they ran to their ends (False: stopped).

    Args:
        plan: The sweep.
        todo: Trials known beforehand that are not over; for an Optuna search those begun before.
        progress: Told about trials.

    Raises:
        SweepError: Ray Tune failed; trials that fail are recorded instead.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    watch = _Watch(plan, todo, progress)
    folder = tempfile.mkdtemp(prefix="eagleray-tune-")
    try:
        tuner = _tuner(plan, todo, watch, folder)
        return _fit(tuner, plan, watch)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tuner(plan: SweepPlan, todo: Sequence[TrialJob], watch: _Watch, folder: str) -> Any:
    from ray import tune

    searched = not plan.jobs
    groups = {job.trial.id: job.group for job in todo}
    default = None if plan.jobs else plan.probes[0].group
    trainable = tune.with_resources(
        tune.with_parameters(_train_trial, plan=plan),
        lambda config: _resources(default or groups[config["trial"]]),
    )
    search: dict[str, Any] = {"num_samples": 1}
    if searched:
        earlier = watch.records()
        seed = plan.base.sweep.seeds[0] if plan.base.sweep.seeds else plan.base.seed
        search = {
            "search_alg": make_searcher(watch.space, plan.record, earlier, seed),
            "num_samples": watch.num_left,
        }
    return tune.Tuner(
        trainable,
        param_space=None if searched else {"trial": tune.grid_search(list(groups))},
        tune_config=tune.TuneConfig(
            scheduler=_scheduler(plan, watch),
            max_concurrent_trials=plan.trials_at_once,
            reuse_actors=not plan.has_groups,
            **search,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{uuid.uuid4().hex[:8]}",
            storage_path=folder,
            verbose=0,
            stop=_stopper(watch),
            callbacks=[_callback(watch)],
            failure_config=tune.FailureConfig(max_failures=plan.base.train.max_failures),
        ),
    )


def _train_trial(config: Mapping[str, Any], plan: SweepPlan) -> None:
    """Run one trial; runs in the trial's process."""
    import torch
    from ray import tune

    job = _job(config, plan)
    torch.set_num_threads(max(1, int(job.group.cpus)))
    try:
        run_trial(
            job,
            report=lambda value, step: tune.report({VALUE: value, STEPS: step}),
            evaluate=_evaluate_on_worker if job.group.num_workers > 1 else None,
        )
    finally:
        # The process stays for the next trial, and others may share its GPU.
        torch.cuda.empty_cache()
    record = read_trial(job.sweep, job.trial.id)
    if record is not None and record.state == "done" and record.value is not None:
        tune.report({VALUE: record.value, STEPS: record.steps})


def _evaluate_on_worker(job: TrialJob) -> Mapping[str, Any]:
    """Evaluate with the resources of one of the trial's workers, which have ended."""
    import ray

    remote = ray.remote(evaluate_trial).options(
        num_cpus=job.group.cpus, num_gpus=job.group.gpus, scheduling_strategy="DEFAULT"
    )
    found: Mapping[str, Any] = ray.get(remote.remote(job))
    return found


def _job(config: Mapping[str, Any], plan: SweepPlan) -> TrialJob:
    """Return the trial that Tune's configuration means: an id, or a point of a space."""
    if plan.jobs:
        return plan.jobs[config["trial"]]
    space = Space(plan.base.sweep.search.space)
    return plan.searched_job(space.overrides(config))


def _resources(group: WorkerGroup) -> Any:
    from ray import tune

    if group.num_workers > 1:
        return tune.PlacementGroupFactory([{"memory": _TOKEN_BYTES}])
    bundle = {"CPU": group.cpus} | ({"GPU": group.gpus} if group.gpus else {})
    return tune.PlacementGroupFactory([bundle])


def _scheduler(plan: SweepPlan, watch: _Watch) -> Any:
    """Return what ends trials early, told what trials of an earlier call were like."""
    settings = plan.base.sweep.scheduler
    if settings.kind == "none":
        return None
    better = plan.record.higher_is_better
    scheduler = make_asha(settings, higher_is_better=better, end=watch.end_early)
    for path in plan.folder.files(f"{TUNE_FOLDER}/reports"):
        trial = path.rpartition("/")[2].removesuffix(".json")
        record = read_trial(plan.folder, trial)
        if record is not None and record.is_over:
            feed_asha(scheduler, trial, read_reports(plan.folder, trial))
    return scheduler


def make_asha(
    settings: SchedulerSettings,
    *,
    higher_is_better: bool,
    end: Callable[[Mapping[str, Any]], bool] = lambda config: False,
) -> Any:
    """Return Tune's ASHA over optimizer steps.

    Args:
        settings: When it judges, and how many go on.
        higher_is_better: Whether the greatest value is the best.
        end: Told the configuration of a trial that is to end; returns whether it ends by itself.
            (Tune kills a trial's process, after which its workers would keep their resources.)
    """
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler

    class Asha(ASHAScheduler):  # type: ignore[misc]
        """Lets groups of workers end by themselves."""

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            action: str = super().on_trial_result(controller, trial, result)
            if action == TrialScheduler.STOP and end(getattr(trial, "config", {})):
                return str(TrialScheduler.CONTINUE)
            return action

    return Asha(
        time_attr=STEPS,
        metric=VALUE,
        mode="max" if higher_is_better else "min",
        max_t=_MOST_STEPS,
        grace_period=settings.grace_steps,
        reduction_factor=settings.reduction_factor,
    )


def feed_asha(scheduler: Any, trial: str, reports: Sequence[tuple[float, int]]) -> None:
    """Tell ASHA the validations of a trial that is over.

    Args:
        scheduler: Of ``make_asha``.
        trial: Its id.
        reports: Value and step of each validation.
    """
    stand_in = SimpleNamespace(trial_id=trial)
    scheduler.on_trial_add(None, stand_in)
    for value, step in reports:
        scheduler.on_trial_result(None, stand_in, {VALUE: value, STEPS: step})


class _Watch:
    """What the driver knows of the trials that Tune runs; used by Tune's thread and the main
    one.
    """

    def __init__(self, plan: SweepPlan, todo: Sequence[TrialJob], progress: Progress) -> None:
        self._plan = plan
        self.space = Space(plan.base.sweep.search.space)
        self._known = [r for r in (read_trial(plan.folder, job.trial.id) for job in todo) if r]
        self.shown = SweepProgress(plan, progress)
        self.num_left = plan.num_trials - self.shown.num_over
        self.stop_all = False
        self.stopping = False
        self._quiet_polls = 0
        self._running: dict[str, TrialJob] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Leave nothing in Tune's snapshots, which hold its callbacks and are never read."""
        return (object, ())

    def records(self) -> list[TrialRecord]:
        """Return the records of trials of an earlier call, over or not."""
        return [*self.shown.over, *self._known]

    def started(self, config: Mapping[str, Any]) -> None:
        """Take that a trial's process begins."""
        job = _job(config, self._plan)
        with self._lock:
            self._running[job.trial.id] = job
            self.shown.update(len(self._running))

    def ended(self, config: Mapping[str, Any], error: str | None) -> None:
        """Take that Tune is done with a trial, and write down what its process could not."""
        job = _job(config, self._plan)
        record = read_trial(self._plan.folder, job.trial.id) or job.first_record()
        if error is not None and not record.is_over:
            record = record.model_copy(update={"state": "failed", "error": error})
            write_trial(self._plan.folder, record)
        elif record.state == "running":
            state = "pending" if self.stopping else "stopped"
            record = record.model_copy(update={"state": state})
            write_trial(self._plan.folder, record)
            update_summary(run_folder(job), state="stopped", step=record.steps)
        with self._lock:
            self._running.pop(job.trial.id, None)
            self.shown.ended(record, len(self._running))

    def end_early(self, config: Mapping[str, Any]) -> bool:
        """Ask a trial's group of workers to end, since a scheduler says so; False for a trial that
        is its own worker.
        """
        job = _job(config, self._plan) if config else None
        if job is None or job.group.num_workers == 1:
            return False
        job.sweep.write(ended_path(job.trial.id), b"")
        request_stop(run_folder(job))
        return True

    def ask_to_stop(self) -> None:
        """Ask all running trials for a checkpoint, and end Tune once there is none.

        Called again and again: one may just be beginning. Those that begin later find the stop file
        and end by themselves.
        """
        self._plan.folder.write(STOP_FILE, b"")
        with self._lock:
            begun = list(self._running.values())
        records = [(job, read_trial(self._plan.folder, job.trial.id)) for job in begun]
        busy = [job for job, record in records if record is not None and record.state == "running"]
        for job in busy:
            request_stop(run_folder(job))
        self._quiet_polls = 0 if busy else self._quiet_polls + 1
        self.stop_all = self._quiet_polls >= _QUIET_POLLS


def run_folder(job: TrialJob) -> Store:
    """Return the folder of a trial's run."""
    return runs_store(job.experiment.storage).child(job.first_record().run)


def _stopper(watch: _Watch) -> Any:
    from ray.tune import Stopper

    class StopAll(Stopper):  # type: ignore[misc]
        """Ends Tune once the running trials have written their checkpoints."""

        def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return watch.stop_all

    return StopAll()


def _callback(watch: _Watch) -> Any:
    from ray.tune import Callback

    class Told(Callback):  # type: ignore[misc]
        """Hands Tune's events on."""

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            watch.started(trial.config)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            watch.ended(trial.config, None)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            watch.ended(trial.config, _death(trial))

    return Told()


def _death(trial: Any) -> str:
    """Return why a trial's process ended without saying so itself."""
    try:
        reason = str(trial.get_error() or "").strip().splitlines()[-1:]
    except (OSError, AttributeError, ValueError):
        reason = []
    return f"its process died (killed, or out of memory): {' '.join(reason)}".rstrip(": ")


def _fit(tuner: Any, plan: SweepPlan, watch: _Watch) -> bool:
    """Run the tuner in a thread, so that Ctrl-C and SIGTERM become checkpoints."""
    errors: list[BaseException] = []
    ended = threading.Event()

    def fit() -> None:
        try:
            tuner.fit()
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=fit, name="eagleray-tune", daemon=True)
    watch.shown.start()
    thread.start()
    with sigterm_as_interrupt():
        while not ended.is_set():
            try:
                ended.wait(_POLL_S)
                if watch.stopping:
                    watch.ask_to_stop()
            except KeyboardInterrupt:
                if watch.stopping:
                    raise
                watch.stopping = True
                watch.shown.note(
                    "stopping the running trials at their next step with checkpoints; once more to "
                    "leave at once"
                )
    watch.shown.finish()
    if errors:
        raise SweepError(f"Ray Tune failed: {errors[0]}") from errors[0]
    return not watch.stopping
