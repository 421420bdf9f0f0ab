"""Runs all stages of a task, upstream first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eagleray.experiment.schema import PrepareSettings
from eagleray.prepare.canonical import canonical_json
from eagleray.prepare.computed import ComputedRows
from eagleray.prepare.fingerprint import describe_stage, fingerprint
from eagleray.prepare.stage_run import StageSummary, run_stage
from eagleray.progress import Progress
from eagleray.scheduling import LazySession
from eagleray.storage import Store
from eagleray.task import EaglerayError, Rows, Stage, Task


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
