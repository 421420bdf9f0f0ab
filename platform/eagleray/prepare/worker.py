"""A worker of a stage: set up once, then one shard after the other; the same in this process and
under Ray.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from eagleray.prepare.cuts import Shard
from eagleray.prepare.fit import torch_threads
from eagleray.prepare.journal import Journal
from eagleray.prepare.listing import Listing
from eagleray.prepare.marker import ShardMarker
from eagleray.prepare.shard import ComputedShard, ShardWorker
from eagleray.task import Item, Rows, Stage


@dataclass(frozen=True)
class StageJob:
    """All that a worker needs to know; picklable.

    Args:
        stage: The stage, not set up.
        listing: Its inputs.
        shards: What is to be computed.
        upstream: The rows that it reads.
        fitted: What ``fit`` found, and
        fit_digest: its name.
        device: ``cpu`` or ``cuda``.
    """

    stage: Stage
    listing: Listing
    shards: Sequence[Shard]
    upstream: Mapping[str, Rows]
    fitted: Mapping[str, Any]
    fit_digest: str
    device: str


class StageWorker:
    """Computes shards of a job by their position in it.

    Args:
        job: What to do.
        journal: Told about items where a worker has died before.
    """

    def __init__(self, job: StageJob, journal: Journal | None = None) -> None:
        self._job = job
        stage = copy.copy(job.stage)
        with ExitStack() as stack:
            stack.enter_context(torch_threads(stage.resources.cpus))
            stage.setup(job.device, job.upstream, job.fitted)
            self._worker = stack.enter_context(
                ShardWorker(stage, job.listing.folder, job.fit_digest, journal)
            )
            self._stack = stack.pop_all()

    def __enter__(self) -> StageWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker's threads."""
        self._stack.close()

    @property
    def job(self) -> StageJob:
        """The job whose shards it computes."""
        return self._job

    def load_ahead(self, position: int) -> list[Item]:
        """Begin to load a shard that is computed next, from any thread; returns its items, none
        where the job has no such shard.
        """
        if position >= len(self._job.shards):
            return []
        shard = self._job.shards[position]
        items = self._job.listing.items(shard.start, shard.num_items)
        self._worker.load_ahead(shard.id, items)
        return items

    def compute(self, position: int, items: Sequence[Item]) -> ComputedShard:
        """Compute one shard; always to be called from the thread that made this worker."""
        return self._worker.compute(self._job.shards[position].id, items)

    def commit(self, shard: ComputedShard) -> ShardMarker:
        """Commit a computed shard, from any thread."""
        return self._worker.commit(shard)
