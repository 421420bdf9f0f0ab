"""Runs one stage to its end: skips what is done, computes the rest here or on Ray, and writes the
manifest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace

from eagleray.prepare.canonical import canonical_json
from eagleray.prepare.fit import read_fitted, run_fit
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
from eagleray.prepare.worker import StageJob, StageWorker
from eagleray.results.progress import Progress, Silent
from eagleray.scheduling import (
    LazySession,
    Machine,
    WorkerGroup,
    cluster_machine,
    fit_workers,
    local_machine,
)
from eagleray.storage import Store
from eagleray.task import Rows, Stage

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
class _How:
    """Where and by how many workers a stage is computed."""

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
    begin = time.perf_counter()
    work = survey(stage, folder, upstream, items_per_shard=items_per_shard, limit=limit)
    manifest = work.manifest
    if manifest is None:
        with nullcontext(session) if session else LazySession() as running:
            how = _How(workers, device, inline, progress or Silent(), running)
            computed = _compute(stage, work, upstream, how)
        manifest = _finish(stage, work, computed)
    folder.write(CURRENT, canonical_json({"listing": work.listing.digest}))
    summary = StageSummary(
        label=stage.label,
        fingerprint=folder.uri.rstrip("/").rsplit("/", 1)[-1],
        folder=folder,
        listing=work.listing.digest,
        items=manifest.items,
        done=manifest.done,
        rejected=manifest.items - manifest.done,
        rows=manifest.rows,
        bytes=manifest.num_bytes,
        computed_shards=len(work.todo),
        seconds=time.perf_counter() - begin,
    )
    return summary, StoredRows(folder, work.listing.digest)


def workers_of(stage: Stage, machine: Machine, workers: int | None, device: str) -> WorkerGroup:
    """Return the workers of a stage that fit on a machine; raises SchedulingError."""
    return fit_workers(machine, stage.resources, device=device, asked=workers, what=stage.label)


def _compute(
    stage: Stage, work: Survey, upstream: Mapping[str, Rows], how: _How
) -> dict[str, ShardEntry]:
    """Compute the shards that are to do; returns the entries of these."""
    todo, folder = work.todo, work.listing.folder
    if not todo:
        return {}
    folder.remove_stale_temporaries()
    job = StageJob(stage, work.listing, todo, upstream, {}, work.fit_digest, "cpu")
    run = _compute_here if how.inline else _compute_on_ray
    how.progress.start(stage.label, sum(shard.num_items for shard in todo))
    entries: dict[str, ShardEntry] = {}
    log: list[bytes] = []
    rejected = 0
    try:
        for entry, seconds in run(job, how):
            entries[entry.shard] = entry
            rejected += entry.items - entry.done
            log.append(canonical_json({"shard": entry.shard, "seconds": round(seconds, 4)}))
            how.progress.advance(entry.items, rejected=rejected)
    finally:
        how.progress.finish()
        if log:
            name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            folder.write(f"log/{name}.jsonl", b"\n".join(log) + b"\n")
        folder.remove_stale_temporaries()
    return entries


def _compute_here(job: StageJob, how: _How) -> Iterator[tuple[ShardEntry, float]]:
    group = workers_of(job.stage, local_machine(), None, how.device)
    job = replace(job, device=group.device)
    if read_fitted(job.listing.folder, job.fit_digest) is None:
        run_fit(job.stage, job.listing, job.upstream, job.fit_digest, job.device)
    with StageWorker(_with_fitted(job)) as worker, ThreadPoolExecutor(1, "commit") as commits:
        waiting: deque[tuple[Future[ShardMarker], float]] = deque()
        for position in range(len(job.shards)):
            begin = time.perf_counter()
            shard = worker.compute(position, worker.items(position))
            waiting.append((commits.submit(worker.commit, shard), time.perf_counter() - begin))
            if len(waiting) > _COMMITS_AHEAD:
                yield _entry(*waiting.popleft())
        while waiting:
            yield _entry(*waiting.popleft())


def _entry(marker: Future[ShardMarker], seconds: float) -> tuple[ShardEntry, float]:
    return entry_of(marker.result()), seconds


def _compute_on_ray(job: StageJob, how: _How) -> Iterator[tuple[ShardEntry, float]]:
    how.session.start()
    from eagleray.prepare.ray_pool import compute_on_ray, fit_on_ray

    group = workers_of(job.stage, cluster_machine(), how.workers, how.device)
    job = replace(job, device=group.device)
    how.progress.note(f"{job.stage.label}: {group.num_workers} workers on {group.device}")
    if read_fitted(job.listing.folder, job.fit_digest) is None:
        fit_on_ray(job, group)
    yield from compute_on_ray(_with_fitted(job), group)


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
