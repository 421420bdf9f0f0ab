"""Runs stages to their end: skips what is done, computes the rest here or on Ray, and writes the
manifests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial

from eagleray.options import RunOptions
from eagleray.prepare.faults import FaultError, Faults, TransientError
from eagleray.prepare.fingerprint import canonical_json
from eagleray.prepare.folder import StageFolder
from eagleray.prepare.guard import InUse
from eagleray.prepare.here import Outcome, ShortWork, Times, compute_here, may_be_short
from eagleray.prepare.keys import write_keys
from eagleray.prepare.marker import Manifest, ShardEntry
from eagleray.prepare.rows import StoredRows
from eagleray.prepare.survey import StageRun, Survey, survey
from eagleray.prepare.worker import StageJob, run_fit
from eagleray.scheduling import (
    LazySession,
    Machine,
    WorkerGroup,
    await_nodes,
    cluster_machine,
    fit_workers,
    local_machine,
)
from eagleray.scheduling.exported import export
from eagleray.task import EaglerayError, Stage


@dataclass(frozen=True)
class StageSummary:
    """What became of a stage: items = done + rejected.

    Args:
        label: The stage's label.
        folder: Where its results are.
        listing: Digest of its inputs.
        items: Number of inputs.
        done: Those that were processed.
        rejected: Those that could not be.
        rows: Records.
        bytes: Size of data and files.
        computed_shards: Shards that this call computed.
        seconds: Time that this call took.
    """

    label: str
    folder: StageFolder
    listing: str
    items: int
    done: int
    rejected: int
    rows: int
    bytes: int
    computed_shards: int
    seconds: float

    @property
    def fingerprint(self) -> str:
        """Name of the folder."""
        return self.folder.fingerprint

    @property
    def rejects(self) -> list[tuple[str, str]]:
        """Key and error of each rejected item, read from the markers."""
        if not self.rejected:
            return []
        return [(reject.key, reject.error) for reject in self.folder.rejects(self.listing)]


def run_stage(
    run: StageRun, options: RunOptions, *, items_per_shard: int | None = None
) -> tuple[StageSummary, StoredRows]:
    """Run one stage to its end and return its summary and rows; what is done already is not
    computed again.

    Args:
        run: The stage, where its results go, and what it reads.
        options: How it runs.
        items_per_shard: Average items per shard; None for about a minute of work.

    Raises:
        EaglerayError: The stage could not run. (Bad items are rejects.)
    """
    ((_, summary, rows),) = run_stages(
        [run], options, title=run.stage.label, items_per_shard=items_per_shard
    )
    return summary, rows


def run_stages(
    runs: Sequence[StageRun],
    options: RunOptions,
    *,
    title: str,
    items_per_shard: int | None = None,
) -> Iterator[tuple[int, StageSummary, StoredRows]]:
    """Run stages that do not read each other on one pool of workers, and yield the position,
    summary and rows of each one as it is finished.

    The shards of all stages are dealt to the same workers, so that no worker waits for the last
    shard of a stage and none is asked for twice. Inline the stages run one after the other.

    Args:
        runs: The stages, each with a folder of its own; all ask for the same resources.
        options: How they run; the workers are those of all of them together.
        title: What the progress is called.
        items_per_shard: As in ``run_stage``, for each stage.

    Raises:
        EaglerayError: A stage could not run. (Bad items are rejects.)
    """
    with ExitStack() as stack:
        guards = [stack.enter_context(InUse(run.folder.store)) for run in runs]
        yield from _run_stages(runs, guards, options, title, items_per_shard)


def _run_stages(
    runs: Sequence[StageRun],
    guards: Sequence[InUse],
    options: RunOptions,
    title: str,
    items_per_shard: int | None,
) -> Iterator[tuple[int, StageSummary, StoredRows]]:
    begin = time.perf_counter()
    if options.retry_rejects:
        for run in runs:
            run.folder.forget_rejects()
    for run in runs:
        _check_code(run, options)
        gone = run.folder.gone_shards()
        if gone:
            options.progress.note(
                f"{run.stage.label}: files of {len(gone)} shards are gone, which are computed again"
            )
            run.folder.forget_shards(gone)
    work = [survey(run, items_per_shard=items_per_shard, limit=options.limit) for run in runs]
    with nullcontext(options.session) if options.session else LazySession() as session:
        for position, computed in _compute(work, guards, title, options, session):
            surveyed = work[position]
            manifest = surveyed.manifest or _finish(surveyed, computed)
            folder, listing = surveyed.run.folder, surveyed.listing.digest
            try:
                folder.set_current(listing)
            except EaglerayError:
                if surveyed.manifest is None:  # else all is done, and storage may be read-only
                    raise
            summary = _summary(surveyed, manifest, time.perf_counter() - begin)
            yield position, summary, StoredRows(folder, listing)


_MODULES_SHOWN = 4


def _check_code(run: StageRun, options: RunOptions) -> None:
    """Tell where other code has made what would be used, or compute it again where asked."""
    before, now, folder = run.folder.read_code(), run.code(), run.folder
    done = folder.done_shards()
    changes = before.changes(now) if before and done else []
    if changes and options.other_code == "tell":
        shown = ", ".join(changes[:_MODULES_SHOWN])
        more = f" and {len(changes) - _MODULES_SHOWN} more" if changes[_MODULES_SHOWN:] else ""
        options.progress.note(
            f"{run.stage.label}: WARNING: {len(done)} shards that are used here were made by "
            f"other code (changed: {shown}{more}). Give --again to "
            "compute them anew, --keep where the change touches no result; or change the stage's "
            "`version`, so that nobody uses them"
        )
    if changes and options.other_code == "again":
        folder.forget_shards(sorted(done))
    if before is None or not done or (changes and options.other_code != "tell"):
        with suppress(EaglerayError, OSError):  # where nothing can be written, reading goes on
            folder.write_code(now)


def _summary(work: Survey, manifest: Manifest, seconds: float) -> StageSummary:
    return StageSummary(
        label=work.run.stage.label,
        folder=work.run.folder,
        listing=work.listing.digest,
        items=manifest.items,
        done=manifest.done,
        rejected=manifest.items - manifest.done,
        rows=manifest.rows,
        bytes=manifest.num_bytes,
        computed_shards=len(work.todo),
        seconds=seconds,
    )


def workers_of(stage: Stage, machine: Machine, options: RunOptions) -> WorkerGroup:
    """Return the workers of a stage that fit on a machine; raises SchedulingError."""
    return fit_workers(
        machine,
        stage.resources,
        device=options.device,
        asked=options.workers,
        what=stage.label,
        setting="prepare.workers, in an evaluation evaluate.workers",
    )


def _compute(
    work: Sequence[Survey],
    guards: Sequence[InUse],
    title: str,
    options: RunOptions,
    session: LazySession,
) -> Iterator[tuple[int, dict[str, ShardEntry]]]:
    """Compute the shards that are to do; yields each stage's position and the entries computed, as
    its last shard is committed.
    """
    busy = [position for position, surveyed in enumerate(work) if surveyed.todo]
    yield from ((position, {}) for position in range(len(work)) if position not in busy)
    if not busy:
        return
    jobs = [StageJob(work[p].run, work[p].listing, work[p].todo, "cpu", work[p].fit) for p in busy]
    for job in jobs:
        job.run.folder.remove_stale_temporaries()
    options.progress.start(title, sum(shard.num_items for job in jobs for shard in job.shards))
    logs = [_ShardLog(job) for job in jobs]
    busy_guards = [guards[position] for position in busy]
    if options.inline:
        compute: _Compute = partial(_compute_here, options=options)
    elif _is_short(jobs, busy_guards, options):
        compute = partial(_compute_short, guards=busy_guards, options=options, session=session)
    else:
        compute = partial(_compute_on_ray, options=options, session=session)
    try:
        for job_idx, outcome, times in _in_rounds(compute, jobs, options):
            if isinstance(outcome, FaultError):
                logs[job_idx].faults.add(outcome.faults)
                continue
            logs[job_idx].add(outcome, times)
            waits = sum(log.waited_s for log in logs) / max(sum(log.seconds for log in logs), 1e-9)
            rejected = sum(log.rejected for log in logs)
            options.progress.advance(outcome.items, rejected=rejected, waits_for_loads=waits)
            label = jobs[job_idx].run.stage.label
            export("eagleray_items", outcome.items, label)
            export("eagleray_rejects", outcome.items - outcome.done, label)
            if logs[job_idx].is_complete:
                yield busy[job_idx], logs[job_idx].entries
        for log in logs:
            log.faults.raise_any()
    finally:
        options.progress.finish()
        for log in logs:
            log.close()


_Compute = Callable[[Sequence[StageJob]], Iterator[tuple[int, Outcome, Times]]]

_ROUND_PAUSES_S = (5.0, 30.0)
"""Before shards are tried again that storage, network or memory were not there for: in all, longer
than an object store asks its clients to slow down, or a file server restarts."""

_SILENT_IN_A_ROW = 24
"""Shards that are left open one after the other, with none committed between them, after which the
storage is taken for gone. With about five seconds of tries each, that is two minutes of one
worker."""


def _in_rounds(
    compute: _Compute, jobs: Sequence[StageJob], options: RunOptions
) -> Iterator[tuple[int, ShardEntry | FaultError, Times]]:
    """Compute jobs; shards that were left open although a later try may succeed are computed again
    behind all others, by workers that are new and may be elsewhere.

    Raises:
        TransientError: Some are still open after the last round, or the storage seems to be gone.
    """
    todo: list[Sequence[StageJob]] = [jobs]
    for pause_s in (*_ROUND_PAUSES_S, None):
        now = [(job_idx, job) for job_idx, job in enumerate(todo[-1]) if job.shards]
        open_shards: dict[int, dict[str, TransientError]] = {}
        in_a_row = 0
        for position, outcome, times in compute([job for _, job in now]):
            job_idx = now[position][0]
            if not isinstance(outcome, TransientError):
                in_a_row = 0
                yield job_idx, outcome, times
                continue
            in_a_row += 1
            open_shards.setdefault(job_idx, {})[outcome.shard] = outcome
            export("eagleray_open_shards", 1, jobs[job_idx].run.stage.label)
            if in_a_row >= _SILENT_IN_A_ROW:
                raise outcome
        if not open_shards:
            return
        errors = [error for by_shard in open_shards.values() for error in by_shard.values()]
        if pause_s is None:
            raise TransientError(
                f"{len(errors)} shards are left open after {len(_ROUND_PAUSES_S) + 1} rounds; all "
                f"others are done, and the same command computes just these. The first: {errors[0]}"
            )
        options.progress.note(
            f"{len(errors)} shards are tried again in {pause_s:g} s, behind all others; the first "
            f"one: {errors[0]}"
        )
        time.sleep(pause_s)
        todo.append(
            [
                replace(job, shards=[s for s in job.shards if s.id in open_shards.get(job_idx, ())])
                for job_idx, job in enumerate(todo[-1])
            ]
        )


class _ShardLog:
    """What has been computed of one job, and how long each shard took."""

    def __init__(self, job: StageJob) -> None:
        self._job = job
        self._lines: list[bytes] = []
        self.faults = Faults(job.run.stage.label)
        self.entries: dict[str, ShardEntry] = {}
        self.rejected = 0
        self.seconds = self.waited_s = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether all shards of the job are committed."""
        return len(self.entries) == len(self._job.shards)

    def add(self, entry: ShardEntry, times: Times) -> None:
        """Note a committed shard."""
        self.entries[entry.shard] = entry
        self.rejected += entry.items - entry.done
        self.seconds += times.seconds
        self.waited_s += times.waited_s
        line = {"shard": entry.shard, "seconds": round(times.seconds, 4)}
        line["waited_for_loads_s"] = round(times.waited_s, 4)
        self._lines.append(canonical_json(line))

    def close(self) -> None:
        """Write the log, and delete what killed writers left."""
        folder = self._job.run.folder
        if self._lines:
            folder.write_log(self._lines)
        if self.faults.all:
            folder.write_traces([fault.trace for fault in self.faults.all])
        folder.remove_stale_temporaries()


def _compute_here(
    jobs: Sequence[StageJob], options: RunOptions
) -> Iterator[tuple[int, Outcome, Times]]:
    for job_idx, job in enumerate(jobs):
        group = workers_of(job.run.stage, local_machine(), options.with_workers(None))
        for outcome in compute_here(replace(job, device=group.device)):
            yield (job_idx, *outcome)


def _compute_short(
    jobs: Sequence[StageJob],
    guards: Sequence[InUse],
    options: RunOptions,
    session: LazySession,
) -> Iterator[tuple[int, Outcome, Times]]:
    """Compute what is short in this process, and on Ray what turns out to be long."""
    clock = ShortWork(sum(shard.num_items for job in jobs for shard in job.shards))
    rest = list(jobs)
    options.progress.note(
        f"{jobs[0].run.stage.label}: in this process, as long as that is shorter than Ray's start"
    )
    for guard in guards:
        guard.says_here(True)
    for job_idx, job in enumerate(jobs):
        attempted = 0
        for outcome in compute_here(job, may_go_on=clock.may_go_on):
            clock.count(job.shards[attempted].num_items)
            attempted += 1
            yield (job_idx, *outcome)
        rest[job_idx] = replace(job, shards=job.shards[attempted:])
    for guard in guards:
        guard.says_here(False)
    left = [job_idx for job_idx, job in enumerate(rest) if job.shards]
    if left:
        options.progress.note(
            f"{jobs[0].run.stage.label}: the rest would take about {clock.left_s:.0f} s here, so "
            "it goes to Ray"
        )
        on_ray = _compute_on_ray([rest[job_idx] for job_idx in left], options, session)
        yield from ((left[position], outcome, times) for position, outcome, times in on_ray)


def _is_short(jobs: Sequence[StageJob], guards: Sequence[InUse], options: RunOptions) -> bool:
    """Return whether work may begin in this process although Ray is not forbidden.

    Not where workers were asked for by number or by the cluster's address, on a GPU, which one
    process would not fill, or after a process has died in the stage's code: workers may die, this
    process may not.
    """
    if options.workers is not None or os.environ.get("RAY_ADDRESS"):
        return False
    if any(guard.died_here for guard in guards) or not may_be_short(jobs):
        return False
    devices = {workers_of(job.run.stage, local_machine(), options).device for job in jobs}
    return devices == {"cpu"}


def _compute_on_ray(
    jobs: Sequence[StageJob], options: RunOptions, session: LazySession
) -> Iterator[tuple[int, Outcome, Times]]:
    session.start()
    from eagleray.prepare.ray_pool import compute_on_ray, fit_on_ray

    stage = jobs[0].run.stage
    for other in (job.run.stage for job in jobs):
        if other.resources != stage.resources:
            raise EaglerayError(
                f"stages {stage.label!r} and {other.label!r} ask for different resources "
                f"({stage.resources}, {other.resources}): run them one after the other"
            )
    group = workers_of(stage, cluster_machine(), options)
    await_nodes(group, 1, what=stage.label, note=options.progress.note)
    options.progress.note(f"{stage.label}: {group.num_workers} workers on {group.device}")
    jobs = [replace(job, device=group.device) for job in jobs]
    for job in jobs:
        if not job.is_fitted:
            fit_on_ray(job, group)
    yield from compute_on_ray([job.with_fitted() for job in jobs], group)


def ensure_fitted(job: StageJob, options: RunOptions) -> StageJob:
    """Return a job with what ``fit`` has found; where it has not run yet, a worker runs it, and the
    device is that worker's.
    """
    if not job.is_fitted:
        stage, one = job.run.stage, options.with_workers(1)
        if options.inline:
            run_fit(replace(job, device=workers_of(stage, local_machine(), one).device))
        else:
            with nullcontext(options.session) if options.session else LazySession() as session:
                session.start()
                from eagleray.prepare.ray_pool import fit_on_ray

                group = workers_of(stage, cluster_machine(), one)
                await_nodes(group, 1, what=stage.label, note=options.progress.note)
                fit_on_ray(replace(job, device=group.device), group)
    return job.with_fitted()


def _finish(work: Survey, computed: Mapping[str, ShardEntry]) -> Manifest:
    """Write the listing's manifest, once all its shards are done."""
    folder, listing, stage = work.run.folder, work.listing.digest, work.run.stage
    before = [shard.id for shard in work.shards if shard.id not in computed]
    entries = {marker.shard: marker.entry for marker in folder.markers(before)}
    entries.update(computed)
    shards = tuple(entries[shard.id] for shard in work.shards)
    keys = write_keys(folder, listing, shards, stage.label)
    if gone := set(folder.gone_shards()) & {shard.id for shard in work.shards}:
        raise EaglerayError(
            f"{stage.label}: files of {len(gone)} shards were deleted while it ran: give the same "
            "command again, which computes just these"
        )
    draft = Manifest(listing, work.fit.digest, shards, keys=keys)
    summary = stage.finish(StoredRows(folder, listing, draft))
    return folder.commit_manifest(replace(draft, summary=summary))
