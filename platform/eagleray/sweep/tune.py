"""Trials on Ray Tune: packed onto the resources at hand, ended early by ASHA, stopped with
checkpoints.

Tune only schedules. What is done, and with which result, is said by the trials' own records.
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

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from eagleray.experiment.sweep import SchedulerSettings
from eagleray.runs.records import EvaluationResult
from eagleray.scheduling import WorkerGroup
from eagleray.sweep.plan import SweepPlan
from eagleray.sweep.progress import TrialProgress
from eagleray.sweep.run_trial import evaluate_trial, run_trial
from eagleray.sweep.space import STEPS, VALUE, make_searcher
from eagleray.sweep.trial import Trial
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


def run_on_tune(plan: SweepPlan, todo: Sequence[Trial], progress: TrialProgress) -> bool:
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
    watch = _Watch(plan, progress)
    folder = tempfile.mkdtemp(prefix="eagleray-tune-")
    try:
        return _fit(_tuner(plan, todo, watch, folder), watch)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tuner(plan: SweepPlan, todo: Sequence[Trial], watch: _Watch, folder: str) -> Any:
    """Return a new Tuner over the trials that are left.

    ``Tuner.restore`` is not used: its snapshot is older than the trials' records by seconds, so
    that it would suggest again what has begun, and skip or repeat trials. The records cannot
    disagree with the runs; a new searcher and a new scheduler are told them instead.
    """
    groups = {trial.id: trial.group for trial in (*todo, *plan.probes[:1])}
    of_a_search = next(reversed(groups.values()))
    trainable = tune.with_resources(
        tune.with_parameters(_train_trial, plan=plan),
        lambda config: _resources(groups.get(config.get("trial"), of_a_search)),
    )
    search: dict[str, Any] = {"num_samples": 1}
    if not plan.trials:
        searcher = make_searcher(plan.space, plan.summary, watch.progress.known)
        search = {"num_samples": watch.progress.num_left, "search_alg": searcher}
    return tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search([t.id for t in todo])} if plan.trials else None,
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
            stop=watch,
            callbacks=[watch],
            failure_config=tune.FailureConfig(max_failures=plan.base.train.max_failures),
        ),
    )


def _resources(group: WorkerGroup) -> Any:
    if group.num_workers > 1:
        return tune.PlacementGroupFactory([{"memory": _TOKEN_BYTES}])
    bundle = {"CPU": group.cpus} | ({"GPU": group.gpus} if group.gpus else {})
    return tune.PlacementGroupFactory([bundle])


def _train_trial(config: Mapping[str, Any], plan: SweepPlan) -> None:
    """Run one trial; runs in the trial's process."""

    def report(value: float, step: int) -> None:
        tune.report({VALUE: value, STEPS: step})

    trial = plan.suggested(config)
    has_group = trial.group.num_workers > 1
    torch.set_num_threads(max(1, int(trial.group.cpus)))
    try:
        evaluate = _evaluate_on_worker if has_group else evaluate_trial
        record = run_trial(plan, trial, report, evaluate)
    finally:
        # The process stays for the next trial, and others may share its GPU.
        torch.cuda.empty_cache()
    if record.state == "done" and record.value is not None:
        report(record.value, record.steps)


def _evaluate_on_worker(plan: SweepPlan, trial: Trial) -> EvaluationResult:
    """Evaluate with the resources of one of the trial's workers, which have ended."""
    remote = ray.remote(evaluate_trial).options(
        num_cpus=trial.group.cpus, num_gpus=trial.group.gpus, scheduling_strategy="DEFAULT"
    )
    result: EvaluationResult = ray.get(remote.remote(plan, trial))
    return result


def _scheduler(plan: SweepPlan, watch: _Watch) -> Any:
    """Return what ends trials early, told what trials of an earlier call were like."""
    settings = plan.base.sweep.scheduler
    if settings.kind == "none":
        return None
    better = plan.summary.higher_is_better
    scheduler = Asha(settings, higher_is_better=better, end=watch.end_early)
    for record in watch.progress.known:
        if record.is_over:
            scheduler.feed(record.id, plan.folder.validations(record.id))
    return scheduler


class Asha(ASHAScheduler):  # type: ignore[misc]
    """Tune's ASHA over optimizer steps, which lets groups of workers end by themselves.

    Args:
        settings: When it judges, and how many go on.
        higher_is_better: Whether the greatest value is the best.
        end: Told the trial of Tune's that is to end; returns whether it ends by itself.
    """

    def __init__(
        self,
        settings: SchedulerSettings,
        *,
        higher_is_better: bool,
        end: Callable[[Any], bool] = lambda trial: False,
    ) -> None:
        super().__init__(
            time_attr=STEPS,
            metric=VALUE,
            mode="max" if higher_is_better else "min",
            max_t=_MOST_STEPS,
            grace_period=settings.grace_steps,
            reduction_factor=settings.reduction_factor,
        )
        self._end = end

    def feed(self, trial: str, validations: Sequence[tuple[float, int]]) -> None:
        """Take the validations (value and step) of a trial that is over.

        ASHA keeps one trial in ``reduction_factor`` of all that have reached a rung. One that
        forgot the trials of an earlier call would let the first weak ones pass every rung.
        """
        stand_in = SimpleNamespace(trial_id=trial)
        self.on_trial_add(None, stand_in)
        for value, step in validations:
            super().on_trial_result(None, stand_in, {VALUE: value, STEPS: step})

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether a trial goes on, as ASHA decides; a group that ends by itself does."""
        # To stop a trial Tune kills its process. A group's workers are no children of it: they
        # would go on and keep their CPUs and GPUs, so that the next trial waits for ever. So
        # the group is asked to end at its next step, and Tune is told to let the trial go on.
        action: str = super().on_trial_result(controller, trial, result)
        if action == TrialScheduler.STOP and self._end(trial):
            return str(TrialScheduler.CONTINUE)
        return action


class _Watch(tune.Callback, tune.Stopper):  # type: ignore[misc]
    """What the driver knows of the trials that Tune runs; used by Tune's thread and the main
    one. It ends Tune once the running trials have written their checkpoints.
    """

    def __init__(self, plan: SweepPlan, progress: TrialProgress) -> None:
        self._plan, self.progress = plan, progress
        self.stopping = self._is_over = False
        self._quiet_polls = 0
        self._running: dict[str, Trial] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Leave nothing in Tune's snapshots, which hold its callbacks and are never read."""
        return (object, ())

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Return that no single trial is stopped by a result."""
        return False

    def stop_all(self) -> bool:
        """Return whether Tune is to end."""
        return self._is_over

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Take that a trial's process begins."""
        begun = self._plan.suggested(trial.config)
        with self._lock:
            self._running[trial.trial_id] = begun
            self.progress.update(len(self._running))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Take that a trial's process has ended."""
        self._ended(trial, None)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Take that a trial's process died."""
        self._ended(trial, _death(trial))

    def _ended(self, tuned: Any, error: str | None) -> None:
        """Write down what a trial's process could not."""
        with self._lock:
            trial = self._running.pop(tuned.trial_id, None) or self._plan.suggested(tuned.config)
        folder = self._plan.folder
        record = folder.trial(trial.id) or trial.first_record()
        if error is not None and not record.is_over:
            record = record.model_copy(update={"state": "failed", "error": error})
            folder.write_trial(record)
        elif record.state == "running":
            state = "pending" if self.stopping else "stopped"
            record = record.model_copy(update={"state": state})
            folder.write_trial(record)
            trial.run_folder.update_summary(state="stopped", step=record.steps)
        with self._lock:
            self.progress.ended(record, len(self._running))

    def end_early(self, tuned: Any) -> bool:
        """Ask a trial's group of workers to end, since a scheduler says so; False for a trial that
        is its own worker.
        """
        trial = self._running.get(getattr(tuned, "trial_id", ""))
        if trial is None or trial.group.num_workers == 1:
            return False
        self._plan.folder.end_early(trial.id)
        request_stop(trial.run_folder)
        return True

    def ask_to_stop(self) -> None:
        """Ask all running trials for a checkpoint, and end Tune once there is none.

        Called again and again: one may just be beginning. Those that begin later find the stop file
        and end by themselves.
        """
        self._plan.folder.ask_to_stop()
        with self._lock:
            begun = list(self._running.values())
        records = [(trial, self._plan.folder.trial(trial.id)) for trial in begun]
        busy = [trial for trial, record in records if record and record.state == "running"]
        for trial in busy:
            request_stop(trial.run_folder)
        self._quiet_polls = 0 if busy else self._quiet_polls + 1
        self._is_over = self._quiet_polls >= _QUIET_POLLS


def _death(trial: Any) -> str:
    """Return why a trial's process ended without saying so itself."""
    try:
        reason = str(trial.get_error() or "").strip().splitlines()[-1:]
    except (OSError, AttributeError, ValueError):
        reason = []
    return f"its process died (killed, or out of memory): {' '.join(reason)}".rstrip(": ")


def _fit(tuner: Any, watch: _Watch) -> bool:
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
    watch.progress.start()
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
                watch.progress.note(
                    "stopping the running trials at their next step with checkpoints; once more to "
                    "leave at once"
                )
    watch.progress.finish()
    if errors:
        raise SweepError(f"Ray Tune failed: {errors[0]}") from errors[0]
    return not watch.stopping
