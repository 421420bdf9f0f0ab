"""The trials' records at the beginning of a call: what is over stays, everything else is to do."""

from __future__ import annotations

from collections.abc import Sequence

from eagleray.storage import Store
from eagleray.sweep.plan import SweepPlan, TrialJob
from eagleray.sweep.sweep_folder import TRIALS_FOLDER, TrialRecord, read_trial, write_trial
from eagleray.sweep.trial_run import ended_path
from eagleray.task import InputError


def usable_records(sweep: Store) -> list[TrialRecord]:
    """Return all records that can be read; a damaged one counts as a trial not begun."""
    names = [path.rpartition("/")[2].removesuffix(".json") for path in sweep.files(TRIALS_FOLDER)]
    found = [_usable(sweep, name) for name in names]
    return [record for record in found if record is not None]


def begin_records(plan: SweepPlan) -> list[TrialJob]:
    """Return the trials that are to do, each with a record that says ``pending``.

    Those that failed, or whose process was killed, are tried again and keep what they have used.
    """
    if plan.jobs:
        return [job for job in plan.jobs.values() if _begin(plan.folder, job)]
    return [job for job in _begun_before(plan) if _begin(plan.folder, job)]


def _begun_before(plan: SweepPlan) -> Sequence[TrialJob]:
    return [plan.searched_job(record.overrides) for record in usable_records(plan.folder)]


def _begin(sweep: Store, job: TrialJob) -> bool:
    record = _usable(sweep, job.trial.id) or job.first_record()
    if record.is_over:
        return False
    sweep.delete(ended_path(job.trial.id))
    write_trial(sweep, record.model_copy(update={"state": "pending", "error": None}))
    return True


def _usable(sweep: Store, trial: str) -> TrialRecord | None:
    try:
        return read_trial(sweep, trial)
    except InputError:
        return None
