"""An index of a split: made by the evaluation's workers where it is not there, else opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from eagleray.contract.task import require
from eagleray.evaluate.arithmetic import Arithmetic
from eagleray.evaluate.weights import locate_weights
from eagleray.experiment.discovery import nearest, task_type
from eagleray.options import RunOptions
from eagleray.prepare import (
    StageFolder,
    StageRun,
    StageSummary,
    StoredRows,
    prepare_stages,
    run_stage,
    stage_fingerprint,
    with_upstream,
)
from eagleray.query.stage import IndexSettings, IndexStage
from eagleray.runs.run_folder import RunFolder
from eagleray.storage import Store
from eagleray.task import Dataset, Querying, Rows, SettingsError

INDEX = "index"
"""Folder of a run that holds its indices, ``index/<split>/<fingerprint>/``."""


@dataclass(frozen=True)
class Index:
    """What can be asked.

    Args:
        task: The task.
        split: The split.
        rows: A row per unit.
        prepared: Rows of the prepared stages that the units are read from.
        summary: What making it, or finding it, gave.
    """

    task: Querying
    split: str
    rows: StoredRows
    prepared: Mapping[str, Rows]
    summary: StageSummary

    @cached_property
    def units(self) -> Dataset:
        """The units, for those that are shown."""
        return self.task.query_units(self.split, self.prepared)

    def asked(self, frame: str = "") -> Sequence[str]:
        """Return the keys of all units, or that of one.

        Raises:
            SettingsError: There is no such unit.
        """
        keys = list(self.rows.keys())
        if not frame:
            return keys
        if frame not in self.rows:
            raise SettingsError(f"split {self.split!r} has no {frame!r}; {nearest(frame, keys)}")
        return [frame]


def make_index(
    run: RunFolder,
    storage: Store,
    *,
    split: str = "",
    checkpoint: str = "",
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
) -> Index:
    """Return the index of a split by a checkpoint; what of it is there is not computed again.

    Args:
        run: The run.
        storage: Folder that holds prepared data.
        split: One of the task's; empty: its first.
        checkpoint: ``best``, ``last``, ``initial`` or a path; empty: that which is evaluated.
        options: How it is made; ``limit`` means units.

    Raises:
        SettingsError: The task cannot be asked, or there is no such split or checkpoint.
    """
    experiment = run.experiment()
    task = require(task_type(experiment.task)(experiment.settings), Querying)
    splits = list(task.query_splits())
    chosen = split or splits[0]
    if chosen not in splits:
        raise SettingsError(f"task {task.name!r} has no split {split!r}; {nearest(split, splits)}")
    weights = locate_weights(
        run, checkpoint or experiment.evaluate.checkpoint, task, experiment.seed
    )
    # What units are read from is stored, whatever training does: an index outlives it.
    settings = experiment.prepare.model_copy(update={"materialise": "stored"})
    labels = with_upstream(task.stages(), task.query_stages(chosen))
    how = replace(options, device=experiment.device, limit=None)
    prepared = prepare_stages(task, storage, settings, how, labels).rows
    stage = IndexStage(
        task,
        weights,
        IndexSettings(
            task=task.name,
            settings=experiment.settings.model_dump(mode="json"),
            split=chosen,
            prepared={k: str(getattr(rows, "digest", "")) for k, rows in sorted(prepared.items())},
            units=options.limit,
            precision=experiment.evaluate.precision,
        ),
        prepared,
        batch_size=experiment.evaluate.batch_size,
        gpus=0.0 if experiment.device == "cpu" else 1.0,  # left out where no machine has any
        arithmetic=Arithmetic.of(experiment.evaluate),
    )
    folder = StageFolder(run.child(f"{INDEX}/{chosen}/{stage_fingerprint(stage, {})}"))
    summary, rows = run_stage(
        StageRun(stage, folder, also_read=prepared),
        how.with_workers(experiment.evaluate.workers),
        items_per_shard=experiment.evaluate.units_per_shard,
    )
    return Index(task, chosen, rows, prepared, summary)
