"""All stages of a task, upstream first: what they would do, and doing it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from eagleray.experiment.discovery import nearest
from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare.computed import ComputedRows
from eagleray.prepare.fingerprint import describe_stage
from eagleray.prepare.folder import StageAddress, StageFolder
from eagleray.prepare.rows import StoredRows
from eagleray.prepare.stage_run import StageSummary, run_stage, workers_of
from eagleray.prepare.survey import StageRun, Survey, survey
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
        folder: Where its results go.
        items: Number of inputs; None while a stage upstream is not finished.
        shards: Number of shards, None likewise.
        shards_done: Those that are done.
        bytes_on_disk: Size of what is done.
        workers: Workers that would run, on this machine or the cluster in RAY_ADDRESS.
        expected_seconds: Time for the rest on these, from the stage's own estimate per item.
    """

    label: str
    folder: StageFolder
    items: int | None
    shards: int | None
    shards_done: int
    bytes_on_disk: int
    workers: int
    expected_seconds: float

    @property
    def fingerprint(self) -> str:
        """Name of the folder."""
        return self.folder.fingerprint


def prepare_stages(
    task: BaseTask,
    storage: Store,
    settings: PrepareSettings,
    options: RunOptions,
    labels: Collection[str] | None = None,
) -> Prepared:
    """Run all stages of a task, upstream first, and return their rows.

    Args:
        task: The task.
        storage: Folder that holds prepared data.
        settings: How its data are prepared; says the number of workers.
        options: How the stages run.
        labels: Run these stages and what they read only; by default all.

    Raises:
        EaglerayError: A stage could not run. (Bad items are rejects, counted in the summaries.)
    """
    rows: dict[str, Rows] = {}
    summaries: list[StageSummary] = []
    with nullcontext(options.session) if options.session else LazySession() as session:
        how = replace(options, workers=settings.workers, session=session)
        for stage, folder in stage_folders(task, storage, labels):
            run = StageRun(stage, folder, {label: rows[label] for label in stage.upstream})
            if settings.materialise:
                summary, rows[stage.label] = run_stage(
                    run, how, items_per_shard=settings.items_per_shard
                )
            else:
                computed = ComputedRows.open(run, how)
                summary, rows[stage.label] = _summary_of(run, computed), computed
            summaries.append(summary)
    return Prepared(LabeledRows(rows), tuple(summaries))


class LabeledRows(dict[str, Rows]):
    """Rows by label; a label that is not there is told with those that are."""

    def __missing__(self, label: str) -> Rows:
        raise EaglerayError(
            f"there are no prepared rows {label!r}; {nearest(str(label), list(self))}. A label is "
            "the stage's name, with :source where it has one"
        )


def stage_folders(
    task: BaseTask, storage: Store, labels: Collection[str] | None = None
) -> Iterator[tuple[Stage, StageFolder]]:
    """Yield the task's stages with their folders, and describe each stage there.

    Args:
        task: The task.
        storage: Folder that holds prepared data.
        labels: Yield these stages and what they read only; by default all.

    Raises:
        SettingsError: A stage reads one that does not come before it, or weights are missing.
    """
    fingerprints: dict[str, str] = {}
    stages = task.stages()
    wanted = None if labels is None else with_upstream(stages, labels)
    for stage in stages:
        if wanted is not None and stage.label not in wanted:
            continue
        if stage.label in fingerprints:
            raise EaglerayError(f"task {task.name!r} has two stages with the label {stage.label!r}")
        description = describe_stage(stage, fingerprints)
        fingerprints[stage.label] = description.fingerprint
        address = StageAddress(task.name, stage.name, description.fingerprint)
        folder = StageFolder.prepared(storage, address)
        folder.describe(description)
        yield stage, folder


def with_upstream(stages: Sequence[Stage], labels: Collection[str]) -> set[str]:
    """Return labels and those of all stages that they read, directly or not; upstream comes first
    among the stages.
    """
    wanted = set(labels)
    for stage in reversed(stages):
        if stage.label in wanted:
            wanted.update(stage.upstream)
    return wanted


def plan_stages(
    task: BaseTask, storage: Store, settings: PrepareSettings, options: RunOptions
) -> list[StagePlan]:
    """Say what ``prepare_stages`` would do. Lists (and spools) inputs, computes nothing.

    Raises:
        SettingsError: A stage reads one that does not come before it, or weights are missing.
        SchedulingError: The workers asked for do not fit on this machine.
    """
    rows: dict[str, Rows] = {}
    plans = []
    machine, how = present_machine(), options.with_workers(settings.workers)
    for stage, folder in stage_folders(task, storage):
        num_workers = workers_of(stage, machine, how).num_workers
        if not all(label in rows for label in stage.upstream):
            plans.append(
                StagePlan(stage.label, folder, None, None, 0, 0, num_workers, float("nan"))
            )
            continue
        run = StageRun(stage, folder, {label: rows[label] for label in stage.upstream})
        work = survey(run, items_per_shard=settings.items_per_shard, limit=how.limit)
        if work.manifest:
            rows[stage.label] = StoredRows(folder, work.listing.digest)
        elif not settings.materialise and not stage.fit_items:
            rows[stage.label] = ComputedRows.open(run, how)
        plans.append(_plan(work, num_workers))
    return plans


def _plan(work: Survey, workers: int) -> StagePlan:
    stage, folder = work.run.stage, work.run.folder
    todo = sum(shard.num_items for shard in work.todo)
    if work.manifest:
        on_disk = work.manifest.num_bytes
    else:
        on_disk = sum(marker.total_bytes for marker in folder.markers(sorted(work.done)))
    return StagePlan(
        stage.label,
        folder,
        work.listing.num_items,
        work.num_shards,
        work.num_shards - len(work.todo),
        on_disk,
        workers,
        todo * stage.resources.seconds_per_item / workers,
    )


def _summary_of(run: StageRun, rows: ComputedRows) -> StageSummary:
    """Return the summary of a stage whose rows are computed when they are asked for."""
    return StageSummary(
        label=run.stage.label,
        folder=run.folder,
        listing=rows.listing,
        items=len(rows),
        done=len(rows),
        rejected=0,
        rows=len(rows),
        bytes=0,
        computed_shards=0,
        seconds=0.0,
    )
