"""All stages of a task, upstream first: what they would do, and doing it."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from eagleray.experiment.discovery import nearest
from eagleray.experiment.schema import Mode, PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare.computed import ComputedRows
from eagleray.prepare.fingerprint import describe_stage
from eagleray.prepare.folder import StageAddress, StageFolder
from eagleray.prepare.rows import StoredRows
from eagleray.prepare.shared_fit import SharedFits
from eagleray.prepare.stage_run import StageSummary, run_stage, workers_of
from eagleray.prepare.streamed import StreamedRows
from eagleray.prepare.survey import Fit, StageRun, Survey, survey
from eagleray.scheduling import LazySession, present_machine
from eagleray.storage import Store
from eagleray.task import BaseTask, EaglerayError, Rows, SettingsError, Stage

_FAIR_PART = 20
"""One part in so many that is done tells the size of the rest better than an estimate."""


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
        mode: Whether its rows are stored, or computed in the reading process or on workers.
        expected_bytes: Size of its results when all is done, 0 where nothing is stored; NaN = not
            known.
    """

    label: str
    folder: StageFolder
    items: int | None
    shards: int | None
    shards_done: int
    bytes_on_disk: int
    workers: int
    expected_seconds: float
    mode: Mode = "stored"
    expected_bytes: float = math.nan

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
        stages = task.stages()
        modes, fits = stage_modes(stages, settings), SharedFits(stages, how.limit)
        for stage, folder in stage_folders(task, storage, labels):
            upstream = {label: rows[label] for label in stage.upstream}
            stage = _with_loads(stage, settings.remote_loads)
            run = StageRun(stage, folder, upstream, fit=fits.fit_for(stage, folder, rows))
            if modes[stage.label] == "stored":
                summary, stored = run_stage(run, how, items_per_shard=settings.items_per_shard)
                rows[stage.label] = stored
                fits.note(stage, folder, Fit(stored.manifest.fit))
            else:
                kind = StreamedRows if modes[stage.label] == "streamed" else ComputedRows
                computed = kind.open(run, how, settings.cache_gb)
                summary, rows[stage.label] = _summary_of(run, computed), computed
                fits.note(stage, folder, Fit(computed.how.fit_digest))
            summaries.append(summary)
    return Prepared(LabeledRows(rows), tuple(summaries))


def _with_loads(stage: Stage, remote_loads: int | None) -> Stage:
    """Return the stage with as many loads on other machines as the user wants."""
    if remote_loads is None:
        return stage
    changed = copy.copy(stage)
    changed.resources = stage.resources.model_copy(update={"remote_loads": remote_loads})
    return changed


def stage_modes(stages: Sequence[Stage], settings: PrepareSettings) -> dict[str, Mode]:
    """Return for each stage's label whether its rows are stored, computed or streamed.

    Raises:
        SettingsError: ``prepare.materialise`` names a stage that the task does not have.
    """
    given = settings.materialise
    if isinstance(given, str):
        return {stage.label: given for stage in stages}
    known = list(dict.fromkeys(n for s in stages for n in (s.label, s.name)))
    for name in given:
        if name not in known:
            raise SettingsError(
                f"prepare.materialise names the stage {name!r}, which the task does not have; "
                f"{nearest(name, known)}"
            )
    return {s.label: given.get(s.label, given.get(s.name, "stored")) for s in stages}


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
    stages = task.stages()
    modes, fits = stage_modes(stages, settings), SharedFits(stages, how.limit)
    for stage, folder in stage_folders(task, storage):
        num_workers = workers_of(stage, machine, how).num_workers
        if not all(label in rows for label in stage.upstream):
            plans.append(
                StagePlan(stage.label, folder, None, None, 0, 0, num_workers, float("nan"))
            )
            continue
        upstream = {label: rows[label] for label in stage.upstream}
        run = StageRun(stage, folder, upstream, fit=fits.fit_for(stage, folder, rows))
        work = survey(run, items_per_shard=settings.items_per_shard, limit=how.limit)
        fits.note(stage, folder, work.fit)
        if work.manifest:
            rows[stage.label] = StoredRows(folder, work.listing.digest)
        elif modes[stage.label] != "stored" and folder.read_fitted(work.fit.digest) is not None:
            rows[stage.label] = ComputedRows.open(run, how, settings.cache_gb)
        plans.append(_plan(work, num_workers, modes[stage.label]))
    return plans


def _plan(work: Survey, workers: int, mode: Mode) -> StagePlan:
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
        mode,
        _expected_bytes(work, on_disk) if mode == "stored" else 0.0,
    )


def _expected_bytes(work: Survey, on_disk: int) -> float:
    """Return the size of a stage's results when it is done: from what is done already where that is
    a fair part, else from the stage's own estimate; NaN where neither says.
    """
    total = work.listing.num_items
    done = total - sum(shard.num_items for shard in work.todo)
    if work.manifest or done * _FAIR_PART >= total > 0:
        return on_disk * total / max(done, 1)
    return work.run.stage.resources.bytes_per_item * total or math.nan


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
