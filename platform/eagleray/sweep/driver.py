"""A whole sweep: planned and checked, prepared once, its trials run, its result read back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from eagleray.experiment.discovery import task_type
from eagleray.experiment.schema import ExperimentSettings
from eagleray.prepare import prepare_stages
from eagleray.progress import Progress, Silent
from eagleray.runs.lease import Lease, RunIsBusyError
from eagleray.scheduling import ray_session
from eagleray.storage import Store
from eagleray.sweep.plan import SweepPlan, TrialJob, distinct_preparations, plan_sweep
from eagleray.sweep.records import begin_records, usable_records
from eagleray.sweep.searcher import STEPS, VALUE, Space, make_searcher
from eagleray.sweep.shown import SweepProgress
from eagleray.sweep.sweep_folder import SweepRecord, TrialRecord, write_sweep
from eagleray.sweep.trial_run import STOP_FILE, run_trial


@dataclass(frozen=True)
class SweepResult:
    """What a sweep gave.

    Args:
        folder: The sweep's folder.
        record: What was compared.
        trials: All trials.
        rejected: Inputs that the prepared stages could not process, beyond those allowed.
        finished: False if it was stopped; the same call goes on.
    """

    folder: Store
    record: SweepRecord
    trials: tuple[TrialRecord, ...]
    rejected: int
    finished: bool

    @property
    def failed(self) -> list[TrialRecord]:
        """The trials that failed; the same call tries them again."""
        return [trial for trial in self.trials if trial.state == "failed"]


def run_sweep(
    experiment: ExperimentSettings,
    *,
    new: bool = False,
    limit: int | None = None,
    inline: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Run the trials of an experiment's ``sweep`` section that are not over yet.

    Args:
        experiment: The base experiment.
        new: Begin a new sweep with new runs instead of continuing the latest one.
        limit: At most so many optimizer steps per phase and units per evaluation.
        inline: Run trials in this process, one after the other, without Ray (and without a
            scheduler).
        progress: Told about trials.

    Raises:
        SettingsError: Anything that would end a trial; all mistakes are listed.
        RunIsBusyError: Another driver works on the sweep.
    """
    plan = plan_sweep(experiment, new=new, limit=limit, inline=inline)
    progress = progress or Silent()
    try:
        with Lease(plan.folder):
            return _run(plan, progress)
    except RunIsBusyError as error:
        raise RunIsBusyError(f"sweep {plan.record.name}: {error}") from error


def _run(plan: SweepPlan, progress: Progress) -> SweepResult:
    write_sweep(plan.folder, plan.record, plan.base.model_dump(mode="json"))
    plan.folder.delete(STOP_FILE)
    todo = begin_records(plan)
    rejected, finished = 0, True
    if todo or (not plan.jobs and SweepProgress(plan, progress).num_over < plan.num_trials):
        with nullcontext() if plan.inline else ray_session(dashboard=plan.has_groups):
            rejected = _prepare(plan, todo, progress)
            finished = _run_trials(plan, todo, progress)
    plan.folder.delete(STOP_FILE)
    trials = usable_records(plan.folder)
    return SweepResult(plan.folder, plan.record, tuple(trials), rejected, finished)


def _run_trials(plan: SweepPlan, todo: Sequence[TrialJob], progress: Progress) -> bool:
    if not plan.inline:
        from eagleray.sweep.tune_driver import run_on_ray

        return run_on_ray(plan, todo, progress)
    if plan.record.scheduler:
        progress.note("inline: trials run one after the other to their ends, without a scheduler")
    shown = SweepProgress(plan, progress)
    shown.start()
    try:
        return _run_known(todo, shown) if plan.jobs else _run_searched(plan, todo, shown)
    finally:
        shown.finish()


def _prepare(plan: SweepPlan, todo: Sequence[TrialJob], progress: Progress) -> int:
    """Run every different prepared stage once; return the rejects beyond those allowed."""
    beyond = 0
    for experiment in distinct_preparations([*todo, *plan.probes]):
        prepared = prepare_stages(
            task_type(experiment.task)(experiment.settings),
            Store(experiment.storage),
            experiment.prepare,
            device=experiment.device,
            limit=plan.limit,
            inline=plan.inline,
            progress=progress,
        )
        beyond += max(0, prepared.rejected - experiment.prepare.allowed_rejects)
    return beyond


def _run_known(todo: Sequence[TrialJob], shown: SweepProgress) -> bool:
    for job in todo:
        shown.update(running=1)
        record = run_trial(job)
        shown.ended(record, running=0)
        if record.state == "pending":
            return False
    return True


def _run_searched(plan: SweepPlan, todo: Sequence[TrialJob], shown: SweepProgress) -> bool:
    """Run an Optuna search in this process."""
    space = Space(plan.base.sweep.search.space)
    known = [job.first_record() for job in todo]
    seed = plan.record.seeds[0]
    searcher = make_searcher(space, plan.record, [*shown.over, *known], seed)
    for number in range(plan.num_trials - shown.num_over):
        job = plan.searched_job(space.overrides(searcher.suggest(str(number))))
        shown.update(running=1)
        record = run_trial(job)
        shown.ended(record, running=0)
        if record.state == "pending":
            return False
        result = None if record.value is None else {VALUE: record.value, STEPS: record.steps}
        searcher.on_trial_complete(str(number), result, error=record.state == "failed")
    return True
