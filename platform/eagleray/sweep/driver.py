"""A whole sweep: planned and checked, prepared once, its trials run, its result read back.

Its trials run one after the other in this process, or on Ray Tune (``tune``).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.progress import Progress
from eagleray.runs.lease import Lease, RunIsBusyError
from eagleray.scheduling import ray_session
from eagleray.storage import Store
from eagleray.sweep.folder import SweepFolder, SweepSummary, TrialRecord
from eagleray.sweep.plan import SweepPlan, plan_sweep
from eagleray.sweep.progress import TrialProgress
from eagleray.sweep.run_trial import run_trial
from eagleray.sweep.space import STEPS, VALUE, make_searcher
from eagleray.sweep.trial import Trial, task_of


@dataclass(frozen=True)
class SweepResult:
    """What a sweep gave.

    Args:
        folder: The sweep's folder.
        summary: What was compared.
        trials: All trials.
        rejected: Inputs that the prepared stages could not process, beyond those allowed.
        finished: False if it was stopped; the same call goes on.
    """

    folder: SweepFolder
    summary: SweepSummary
    trials: tuple[TrialRecord, ...]
    rejected: int
    finished: bool

    @property
    def failed(self) -> list[TrialRecord]:
        """The trials that failed; the same call tries them again."""
        return [trial for trial in self.trials if trial.state == "failed"]


def run_sweep(
    settings: ExperimentSettings, options: RunOptions, *, new: bool = False
) -> SweepResult:
    """Run the trials of an experiment's ``sweep`` section that are not over yet.

    Args:
        settings: The base experiment.
        options: How it runs; inline, trials run in this process, one after the other, without Ray
            (and without a scheduler).
        new: Begin a new sweep with new runs instead of continuing the latest one.

    Raises:
        SettingsError: Anything that would end a trial; all mistakes are listed.
        RunIsBusyError: Another driver works on the sweep.
    """
    plan = plan_sweep(settings, options, new=new)
    try:
        with Lease(plan.folder):
            return _run(plan, options.progress)
    except RunIsBusyError as error:
        raise RunIsBusyError(f"sweep {plan.summary.name}: {error}") from error


def _run(plan: SweepPlan, progress: Progress) -> SweepResult:
    folder, rejected, finished = plan.folder, 0, True
    folder.begin(plan.summary, plan.base.model_dump(mode="json"))
    folder.forget_stop()
    todo = _begin(plan)
    trials = TrialProgress(plan, progress)
    if todo or (not plan.trials and trials.num_left > 0):
        with nullcontext() if plan.options.inline else ray_session(dashboard=plan.has_groups):
            rejected = _prepare(plan, todo, progress)
            run = _run_here if plan.options.inline else _run_on_tune
            finished = run(plan, todo, trials)
    folder.forget_stop()
    records, _ = folder.readable_trials()
    return SweepResult(folder, plan.summary, tuple(records), rejected, finished)


def _begin(plan: SweepPlan) -> list[Trial]:
    """Return the trials that are to do, each with a record that says ``pending``.

    Those that failed, or whose process was killed, are tried again and keep what they have used; a
    damaged record is that of a trial not begun.
    """
    records = {record.id: record for record in plan.folder.readable_trials()[0]}
    searched = [] if plan.trials else [plan.searched(r.overrides) for r in records.values()]
    todo = []
    for trial in (*plan.trials.values(), *searched):
        record = records.get(trial.id) or trial.first_record()
        if not record.is_over:
            plan.folder.begin_again(record)
            todo.append(trial)
    return todo


def _prepare(plan: SweepPlan, todo: Sequence[Trial], progress: Progress) -> int:
    """Run every different prepared stage once; return the rejects beyond those allowed."""
    beyond = 0
    for settings in plan.preparations(todo):
        prepared = prepare_stages(
            task_of(settings),
            Store(settings.storage),
            settings.prepare,
            replace(plan.options, device=settings.device, progress=progress),
        )
        beyond += max(0, prepared.rejected - settings.prepare.allowed_rejects)
    return beyond


def _run_on_tune(plan: SweepPlan, todo: Sequence[Trial], progress: TrialProgress) -> bool:
    from eagleray.sweep.tune import run_on_tune  # takes a second, which trials here do not need

    return run_on_tune(plan, todo, progress)


def _run_here(plan: SweepPlan, todo: Sequence[Trial], progress: TrialProgress) -> bool:
    """Run trials in this process, one after the other; return whether they ran to their ends."""
    if plan.summary.scheduler:
        progress.note("inline: trials run one after the other to their ends, without a scheduler")
    searcher = None
    if not plan.trials:
        searcher = make_searcher(plan.space, plan.summary, progress.known)
    progress.start()
    try:
        for number in range(len(todo) if searcher is None else progress.num_left):
            name = str(number)
            trial = plan.suggested(searcher.suggest(name)) if searcher else todo[number]
            progress.update(running=1)
            record = run_trial(plan, trial)
            progress.ended(record, running=0)
            if record.state == "pending":
                return False
            if searcher is not None:
                value = None if record.value is None else {VALUE: record.value, STEPS: record.steps}
                searcher.on_trial_complete(name, value, error=record.state == "failed")
        return True
    finally:
        progress.finish()
