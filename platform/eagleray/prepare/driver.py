"""All stages of a task, upstream first: what they would do, and doing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eagleray.experiment.schema import PrepareSettings
from eagleray.prepare.computed import ComputedRows
from eagleray.prepare.fingerprint import canonical_json, describe_stage, fingerprint
from eagleray.prepare.marker import read_markers
from eagleray.prepare.rows import StoredRows
from eagleray.prepare.stage_run import StageSummary, run_stage, workers_of
from eagleray.prepare.survey import Survey, survey
from eagleray.progress import Progress
from eagleray.scheduling import LazySession, present_machine
from eagleray.storage import Store
from eagleray.task import BaseTask, EaglerayError, Rows, Stage


@dataclass(frozen=True)
class Prepared:
    """All stages of a task: their rows by label, and a summary of each."""

    rows: Mapping[str, Rows]
    summaries: tuple[StageSummary, ...]

    @property
    def rejected(self) -> int:
        """Number of rejected items of all stages."""
        return sum(summary.rejected for summary in self.summaries)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What a stage would do.

    Args:
        label: The stage's label.
        fingerprint: Name of its folder.
        folder: URI of that folder.
        items: Number of inputs; None while a stage upstream is not finished.
        shards: Number of shards, None likewise.
        shards_done: Those that are done.
        bytes_on_disk: Size of what is done.
        workers: Workers that would run, on this machine or the cluster in RAY_ADDRESS.
        expected_seconds: Time for the rest on these, from the stage's own estimate per item.
    """

    label: str
    fingerprint: str
    folder: str
    items: int | None
    shards: int | None
    shards_done: int
    bytes_on_disk: int
    workers: int
    expected_seconds: float


def stage_folder(storage: Store, task: str, stage: str, fingerprint: str) -> Store:
    """Return where a stage's results are stored."""
    return storage.child(f"prepared/{task}/{stage}/{fingerprint}")


def prepare_stages(
    task: BaseTask,
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
    with LazySession() as session:
        for stage, folder in stage_folders(task, storage):
            upstream = {label: rows[label] for label in stage.upstream}
            if not settings.materialise:
                computed = ComputedRows.open(stage, folder, upstream, limit=limit, device=device)
                rows[stage.label] = computed
                summaries.append(_summary_of(stage, folder, computed))
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
                session=session,
            )
            summaries.append(summary)
    return Prepared(rows, tuple(summaries))


def stage_folders(task: BaseTask, storage: Store) -> Iterator[tuple[Stage, Store]]:
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


def plan_stages(
    task: BaseTask,
    storage: Store,
    settings: PrepareSettings,
    *,
    limit: int | None = None,
    device: str = "auto",
) -> list[StagePlan]:
    """Say what ``prepare_stages`` would do. Lists (and spools) inputs, computes nothing.

    Raises:
        SettingsError: A stage reads one that does not come before it, or weights are missing.
        SchedulingError: The workers asked for do not fit on this machine.
    """
    rows: dict[str, Rows] = {}
    plans = []
    machine = present_machine()
    for stage, folder in stage_folders(task, storage):
        group = workers_of(stage, machine, settings.workers, device)
        if not all(label in rows for label in stage.upstream):
            plans.append(_unknown(stage, folder, group.num_workers))
            continue
        upstream = {label: rows[label] for label in stage.upstream}
        work = survey(
            stage, folder, upstream, items_per_shard=settings.items_per_shard, limit=limit
        )
        if work.manifest:
            rows[stage.label] = StoredRows(folder, work.listing.digest)
        elif not settings.materialise and not stage.fit_items:
            rows[stage.label] = ComputedRows.open(
                stage, folder, upstream, limit=limit, device=device
            )
        plans.append(_plan(stage, folder, work, group.num_workers))
    return plans


def _plan(stage: Stage, folder: Store, work: Survey, workers: int) -> StagePlan:
    todo = sum(shard.num_items for shard in work.todo)
    if work.manifest:
        on_disk = work.manifest.num_bytes
    else:
        on_disk = sum(marker.total_bytes for marker in read_markers(folder, sorted(work.done)))
    return StagePlan(
        stage.label,
        folder.uri.rstrip("/").rsplit("/", 1)[-1],
        folder.uri,
        work.listing.num_items,
        work.num_shards,
        work.num_shards - len(work.todo),
        on_disk,
        workers,
        todo * stage.resources.seconds_per_item / workers,
    )


def _unknown(stage: Stage, folder: Store, workers: int) -> StagePlan:
    """Return the plan of a stage whose inputs are not there yet."""
    fingerprint = folder.uri.rstrip("/").rsplit("/", 1)[-1]
    return StagePlan(stage.label, fingerprint, folder.uri, None, None, 0, 0, workers, float("nan"))


def _summary_of(stage: Stage, folder: Store, rows: ComputedRows) -> StageSummary:
    """Return the summary of a stage whose rows are computed when they are asked for."""
    return StageSummary(
        label=stage.label,
        fingerprint=folder.uri.rstrip("/").rsplit("/", 1)[-1],
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
