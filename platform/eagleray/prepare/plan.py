"""What ``prepare`` would do: stages, items, shards done and to do, bytes, workers and expected
time.
"""

from __future__ import annotations

from dataclasses import dataclass

from eagleray.experiment.schema import PrepareSettings
from eagleray.prepare.computed import ComputedRows
from eagleray.prepare.driver import stage_folders
from eagleray.prepare.marker import read_markers
from eagleray.prepare.rows import StoredRows
from eagleray.prepare.stage_run import workers_of
from eagleray.prepare.survey import Survey, survey
from eagleray.scheduling import present_machine
from eagleray.storage import Store
from eagleray.task import Rows, Stage, Task


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


def plan_stages(
    task: Task,
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
