"""Runs stages to their end: what is done is skipped, the rest is computed here or on Ray, then made one manifest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from eagleray.experiment.schema import PrepareSettings
from eagleray.prepare.canonical import canonical_json
from eagleray.prepare.computed import ComputedRows
from eagleray.prepare.fingerprint import describe_stage, fingerprint
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
from eagleray.prepare.marker import read_markers
from eagleray.prepare.rows import StoredRows
from eagleray.prepare.survey import Survey, survey
from eagleray.prepare.worker import StageJob, StageWorker
from eagleray.results.progress import Progress, Silent
from eagleray.scheduling import (
    Machine,
    WorkerGroup,
    cluster_machine,
    fit_workers,
    local_machine,
    ray_session,
)
from eagleray.storage import Store
from eagleray.task import EaglerayError, Rows, Stage, Task


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
class Prepared:
    """All stages of a task: their rows by label, and a summary of each."""

    rows: Mapping[str, Rows]
    summaries: tuple[StageSummary, ...]

    @property
    def rejected(self) -> int:
        """Number of rejected items of all stages."""
        return sum(summary.rejected for summary in self.summaries)


def stage_folder(storage: Store, task: str, stage: str, fingerprint: str) -> Store:
    """Return where a stage's results are stored."""
    return storage.child(f"prepared/{task}/{stage}/{fingerprint}")


def prepare_stages(
    task: Task,
    storage: Store,
    settings: PrepareSettings,
    *,
    device: str = "auto",
    limit: int | None = None,
    inline: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Run all stages of a task, upstream first, and return their rows.

    Args:
        task: The task.
        storage: Folder that holds prepared data.
        settings: How the stages run.
        device: ``auto``, ``cpu`` or ``cuda``.
        limit: Take the first items of every stage only.
        inline: Run in this very process, without Ray.
        progress: Told about the work.

    Raises:
        EaglerayError: A stage could not run. (Bad items are rejects, counted in the summaries.)
    """
    rows: dict[str, Rows] = {}
    summaries: list[StageSummary] = []
    for stage, folder in stage_folders(task, storage):
        upstream = {label: rows[label] for label in stage.upstream}
        if not settings.materialise:
            rows[stage.label] = ComputedRows.open(
                stage, folder, upstream, limit=limit, device=device
            )
            continue
        summary, rows[stage.label] = run_stage(
            stage,
            folder,
            upstream,
            items_per_shard=settings.items_per_shard,
            workers=settings.workers,
            device=device,
            limit=limit,
            inline=inline,
            progress=progress,
        )
        summaries.append(summary)
    return Prepared(rows, tuple(summaries))


def stage_folders(task: Task, storage: Store) -> Iterator[tuple[Stage, Store]]:
    """Yield the task's stages with their folders, and describe each stage there (``stage.json``).

    Raises:
        SettingsError: A stage reads one that does not come before it, or weights are missing.
    """
    fingerprints: dict[str, str] = {}
    for stage in task.stages():
        if stage.label in fingerprints:
            raise EaglerayError(f"task {task.name!r} has two stages with the label {stage.label!r}")
        description = describe_stage(stage, fingerprints)
        fingerprints[stage.label] = fingerprint(description)
        folder = stage_folder(storage, task.name, stage.name, fingerprints[stage.label])
        folder.create("stage.json", canonical_json(description))
        yield stage, folder


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
) -> tuple[StageSummary, StoredRows]:
    """Run one stage to its end and return its summary and rows; what is done already is not computed again.

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

    Raises:
        EaglerayError: The stage could not run. (Bad items are rejects.)
    """
    begin = time.perf_counter()
    progress = progress or Silent()
    work = survey(stage, folder, upstream, items_per_shard=items_per_shard, limit=limit)
    manifest = work.manifest
    if manifest is None:
        computed = _compute(stage, work, upstream, workers, device, inline, progress)
        manifest = _finish(stage, work, computed)
    folder.write(CURRENT, canonical_json({"listing": work.listing.digest}))
    summary = StageSummary(
        label=stage.label,
        fingerprint=_last_part(folder),
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


def _compute(
    stage: Stage,
    work: Survey,
    upstream: Mapping[str, Rows],
    workers: int | None,
    device: str,
    inline: bool,
    progress: Progress,
) -> dict[str, ShardEntry]:
    """Compute the shards that are to do; returns the entries of these."""
    todo = work.todo
    fitted = read_fitted(work.listing.folder, work.fit_digest)
    if not todo:
        return {}
    job = StageJob(stage, work.listing, todo, upstream, fitted or {}, work.fit_digest, "cpu")
    run = _compute_here if inline else _compute_on_ray
    progress.start(stage.label, sum(shard.num_items for shard in todo))
    entries: dict[str, ShardEntry] = {}
    log: list[bytes] = []
    rejected = 0
    try:
        for entry, seconds in run(job, workers, device, fitted is None):
            entries[entry.shard] = entry
            rejected += entry.items - entry.done
            log.append(canonical_json({"shard": entry.shard, "seconds": round(seconds, 4)}))
            progress.advance(entry.items, rejected=rejected)
    finally:
        progress.finish()
        if log:
            name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            work.listing.folder.write(f"log/{name}.jsonl", b"\n".join(log) + b"\n")
    return entries


def _compute_here(
    job: StageJob, workers: int | None, device: str, needs_fit: bool
) -> Iterator[tuple[ShardEntry, float]]:
    group = workers_of(job.stage, local_machine(), workers, device)
    job = replace(job, device=group.device)
    if needs_fit:
        run_fit(job.stage, job.listing, job.upstream, job.fit_digest, job.device)
        job = _with_fitted(job)
    with StageWorker(job) as worker:
        for position in range(len(job.shards)):
            marker, seconds = worker.run(position)
            yield entry_of(marker), seconds


def _compute_on_ray(
    job: StageJob, workers: int | None, device: str, needs_fit: bool
) -> Iterator[tuple[ShardEntry, float]]:
    with ray_session():
        from eagleray.prepare.ray_pool import compute_on_ray, fit_on_ray

        group = workers_of(job.stage, cluster_machine(), workers, device)
        job = replace(job, device=group.device)
        if needs_fit:
            fit_on_ray(job, group)
            job = _with_fitted(job)
        yield from compute_on_ray(job, group)


def workers_of(stage: Stage, machine: Machine, workers: int | None, device: str) -> WorkerGroup:
    """Return the workers of a stage that fit on a machine; raises SchedulingError."""
    return fit_workers(machine, stage.resources, device=device, asked=workers, what=stage.label)


def _with_fitted(job: StageJob) -> StageJob:
    return replace(job, fitted=read_fitted(job.listing.folder, job.fit_digest) or {})


def _finish(stage: Stage, work: Survey, computed: Mapping[str, ShardEntry]) -> Manifest:
    """Write the listing's manifest, once all its shards are done."""
    folder, listing = work.listing.folder, work.listing.digest
    before = [shard.id for shard in work.shards if shard.id not in computed]
    entries = {marker.shard: entry_of(marker) for marker in read_markers(folder, before)}
    entries.update(computed)
    shards = tuple(entries[shard.id] for shard in work.shards)
    write_keys(folder, listing, shards)
    draft = Manifest(listing, work.fit_digest, shards)
    summary = stage.finish(StoredRows(folder, listing, draft))
    folder.create(manifest_path(listing), replace(draft, summary=summary).encode())
    return read_manifest(folder, listing)


def _summary_of(stage: Stage, folder: Store, rows: ComputedRows) -> StageSummary:
    """Return the summary of a stage whose rows are computed when they are asked for."""
    return StageSummary(
        label=stage.label,
        fingerprint=_last_part(folder),
        folder=folder,
        listing=rows.listing,
        items=len(rows),
        done=len(rows),
        rejected=0,
        rows=len(rows),
        bytes=0,
        computed_shards=0,
        seconds=0.0,
    )


def _last_part(folder: Store) -> str:
    return folder.uri.rstrip("/").rsplit("/", 1)[-1]
