"""Runs stages to their end: skips what is done, computes the rest here or on Ray, and writes the
manifests.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from eagleray.prepare.fingerprint import canonical_json
from eagleray.prepare.manifest import (
    CURRENT,
    Manifest,
    ShardEntry,
    entry_of,
    manifest_path,
    read_manifest,
    read_rejects,
    write_keys,
)
from eagleray.prepare.marker import ShardMarker, read_markers
from eagleray.prepare.rows import StoredRows
from eagleray.prepare.survey import Survey, survey
from eagleray.prepare.worker import StageJob, StageWorker, read_fitted, run_fit
from eagleray.progress import Progress, Silent
from eagleray.scheduling import (
    LazySession,
    Machine,
    WorkerGroup,
    cluster_machine,
    fit_workers,
    local_machine,
)
from eagleray.storage import Store
from eagleray.task import EaglerayError, Rows, Stage

_COMMITS_AHEAD = 1
"""Shards that are written while the next one is computed."""


@dataclass(frozen=True)
class StageSummary:
    """What became of a stage: items = done + rejected.

    Args:
        label: The stage's label.
        fingerprint: Name of its folder.
        folder: That folder.
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
    fingerprint: str
    folder: Store
    listing: str
    items: int
    done: int
    rejected: int
    rows: int
    bytes: int
    computed_shards: int
    seconds: float

    @property
    def rejects(self) -> list[tuple[str, str]]:
        """Key and error of each rejected item, read from the markers."""
        if not self.rejected:
            return []
        return [(reject.key, reject.error) for reject in read_rejects(self.folder, self.listing)]


@dataclass(frozen=True)
class StageTask:
    """A stage that is to be run.

    Args:
        stage: The stage; evaluation and prediction are stages too.
        folder: Where its results go; must change when anything changes that they depend on.
        upstream: The rows that it reads, by label.
    """

    stage: Stage
    folder: Store
    upstream: Mapping[str, Rows] = field(default_factory=dict)


@dataclass(frozen=True)
class _How:
    """Where and by how many workers stages are computed."""

    workers: int | None
    device: str
    inline: bool
    progress: Progress
    session: LazySession


def run_stage(
    stage: Stage,
    folder: Store,
    upstream: Mapping[str, Rows],
    *,
    items_per_shard: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    limit: int | None = None,
    inline: bool = False,
    progress: Progress | None = None,
    session: LazySession | None = None,
) -> tuple[StageSummary, StoredRows]:
    """Run one stage to its end and return its summary and rows; what is done already is not
    computed again.

    Args:
        stage: The stage; evaluation and prediction are stages too.
        folder: Where its results go; must change when anything changes that they depend on.
        upstream: The rows that it reads, by label.
        items_per_shard: Average items per shard; None for about a minute of work.
        workers: Number of workers; None for as many as fit on the machine.
        device: ``auto``, ``cpu`` or ``cuda``.
        limit: Take the first items only.
        inline: Run in this very process, without Ray.
        progress: Told about the work.
        session: A Ray session that several stages share; by default one of its own.

    Raises:
        EaglerayError: The stage could not run. (Bad items are rejects.)
    """
    finished = run_stages(
        [StageTask(stage, folder, upstream)],
        title=stage.label,
        items_per_shard=items_per_shard,
        workers=workers,
        device=device,
        limit=limit,
        inline=inline,
        progress=progress,
        session=session,
    )
    ((_, summary, rows),) = finished
    return summary, rows


def run_stages(
    tasks: Sequence[StageTask],
    *,
    title: str,
    items_per_shard: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    limit: int | None = None,
    inline: bool = False,
    progress: Progress | None = None,
    session: LazySession | None = None,
) -> Iterator[tuple[int, StageSummary, StoredRows]]:
    """Run stages that do not read each other on one pool of workers, and yield the position,
    summary and rows of each one as it is finished.

    The shards of all stages are dealt to the same workers, so that no worker waits for the last
    shard of a stage and none is asked for twice. Inline the stages run one after the other.

    Args:
        tasks: The stages, each with a folder of its own; all ask for the same resources.
        title: What the progress is called.
        items_per_shard: As in ``run_stage``, for each stage; so are the others.
        workers: Number of workers for all of them together.
        device: See above.
        limit: See above.
        inline: See above.
        progress: See above.
        session: See above.

    Raises:
        EaglerayError: A stage could not run. (Bad items are rejects.)
    """
    begin = time.perf_counter()
    work = [
        survey(t.stage, t.folder, t.upstream, items_per_shard=items_per_shard, limit=limit)
        for t in tasks
    ]
    with nullcontext(session) if session else LazySession() as running:
        how = _How(workers, device, inline, progress or Silent(), running)
        for position, computed in _compute(tasks, work, title, how):
            found = work[position]
            manifest = found.manifest or _finish(tasks[position].stage, found, computed)
            folder = tasks[position].folder
            folder.write(CURRENT, canonical_json({"listing": found.listing.digest}))
            seconds = time.perf_counter() - begin
            summary = _summary(tasks[position], found, manifest, seconds)
            yield position, summary, StoredRows(folder, found.listing.digest)


def _summary(task: StageTask, work: Survey, manifest: Manifest, seconds: float) -> StageSummary:
    return StageSummary(
        label=task.stage.label,
        fingerprint=task.folder.uri.rstrip("/").rsplit("/", 1)[-1],
        folder=task.folder,
        listing=work.listing.digest,
        items=manifest.items,
        done=manifest.done,
        rejected=manifest.items - manifest.done,
        rows=manifest.rows,
        bytes=manifest.num_bytes,
        computed_shards=len(work.todo),
        seconds=seconds,
    )


def workers_of(stage: Stage, machine: Machine, workers: int | None, device: str) -> WorkerGroup:
    """Return the workers of a stage that fit on a machine; raises SchedulingError."""
    return fit_workers(machine, stage.resources, device=device, asked=workers, what=stage.label)


def _compute(
    tasks: Sequence[StageTask], work: Sequence[Survey], title: str, how: _How
) -> Iterator[tuple[int, dict[str, ShardEntry]]]:
    """Compute the shards that are to do; yields each stage's position and the entries computed, as
    its last shard is committed.
    """
    busy = [position for position, found in enumerate(work) if found.todo]
    yield from ((position, {}) for position in range(len(work)) if position not in busy)
    if not busy:
        return
    jobs = [
        StageJob(tasks[p].stage, work[p].listing, work[p].todo, tasks[p].upstream, {},
                 work[p].fit_digest, "cpu")
        for p in busy
    ]  # fmt: skip
    for job in jobs:
        job.listing.folder.remove_stale_temporaries()
    how.progress.start(title, sum(shard.num_items for job in jobs for shard in job.shards))
    logs = [_ShardLog(job) for job in jobs]
    try:
        for job_idx, entry, seconds in (_compute_here if how.inline else _compute_on_ray)(
            jobs, how
        ):
            logs[job_idx].add(entry, seconds)
            how.progress.advance(entry.items, rejected=sum(log.rejected for log in logs))
            if logs[job_idx].is_complete:
                yield busy[job_idx], logs[job_idx].entries
    finally:
        how.progress.finish()
        for log in logs:
            log.close()


class _ShardLog:
    """What has been computed of one job, and how long each shard took."""

    def __init__(self, job: StageJob) -> None:
        self._job = job
        self._lines: list[bytes] = []
        self.entries: dict[str, ShardEntry] = {}
        self.rejected = 0

    @property
    def is_complete(self) -> bool:
        """Whether all shards of the job are committed."""
        return len(self.entries) == len(self._job.shards)

    def add(self, entry: ShardEntry, seconds: float) -> None:
        """Note a committed shard."""
        self.entries[entry.shard] = entry
        self.rejected += entry.items - entry.done
        self._lines.append(canonical_json({"shard": entry.shard, "seconds": round(seconds, 4)}))

    def close(self) -> None:
        """Write the log, and delete what killed writers left."""
        folder = self._job.listing.folder
        if self._lines:
            name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            folder.write(f"log/{name}.jsonl", b"\n".join(self._lines) + b"\n")
        folder.remove_stale_temporaries()


def _compute_here(jobs: Sequence[StageJob], how: _How) -> Iterator[tuple[int, ShardEntry, float]]:
    for job_idx, job in enumerate(jobs):
        for entry, seconds in _compute_job_here(job, how):
            yield job_idx, entry, seconds


def _compute_job_here(job: StageJob, how: _How) -> Iterator[tuple[ShardEntry, float]]:
    group = workers_of(job.stage, local_machine(), None, how.device)
    job = replace(job, device=group.device)
    if read_fitted(job.listing.folder, job.fit_digest) is None:
        run_fit(job.stage, job.listing, job.upstream, job.fit_digest, job.device)
    with StageWorker(_with_fitted(job)) as worker, ThreadPoolExecutor(1, "commit") as commits:
        waiting: deque[tuple[Future[ShardMarker], float]] = deque()
        following = worker.load_ahead(0)
        for position in range(len(job.shards)):
            begin = time.perf_counter()
            items, following = following, worker.load_ahead(position + 1)
            shard = worker.compute(position, items)
            waiting.append((commits.submit(worker.commit, shard), time.perf_counter() - begin))
            if len(waiting) > _COMMITS_AHEAD:
                yield _entry(*waiting.popleft())
        while waiting:
            yield _entry(*waiting.popleft())


def _entry(marker: Future[ShardMarker], seconds: float) -> tuple[ShardEntry, float]:
    return entry_of(marker.result()), seconds


def _compute_on_ray(jobs: Sequence[StageJob], how: _How) -> Iterator[tuple[int, ShardEntry, float]]:
    how.session.start()
    from eagleray.prepare.ray_pool import compute_on_ray, fit_on_ray

    stage = jobs[0].stage
    other = next((j.stage for j in jobs if j.stage.resources != stage.resources), None)
    if other is not None:
        raise EaglerayError(
            f"stages {stage.label!r} and {other.label!r} ask for different resources "
            f"({stage.resources}, {other.resources}): run them one after the other"
        )
    group = workers_of(stage, cluster_machine(), how.workers, how.device)
    how.progress.note(f"{stage.label}: {group.num_workers} workers on {group.device}")
    ready = []
    for job in jobs:
        placed = replace(job, device=group.device)
        if read_fitted(job.listing.folder, job.fit_digest) is None:
            fit_on_ray(placed, group)
        ready.append(_with_fitted(placed))
    yield from compute_on_ray(ready, group)


def _with_fitted(job: StageJob) -> StageJob:
    return replace(job, fitted=read_fitted(job.listing.folder, job.fit_digest) or {})


def _finish(stage: Stage, work: Survey, computed: Mapping[str, ShardEntry]) -> Manifest:
    """Write the listing's manifest, once all its shards are done."""
    folder, listing = work.listing.folder, work.listing.digest
    before = [shard.id for shard in work.shards if shard.id not in computed]
    entries = {marker.shard: entry_of(marker) for marker in read_markers(folder, before)}
    entries.update(computed)
    shards = tuple(entries[shard.id] for shard in work.shards)
    write_keys(folder, listing, shards, stage.label)
    draft = Manifest(listing, work.fit_digest, shards)
    summary = stage.finish(StoredRows(folder, listing, draft))
    folder.create(manifest_path(listing), replace(draft, summary=summary).encode())
    return read_manifest(folder, listing)
