"""A worker of a stage: set up once, then one shard after the other; the same in this process and
under Ray.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from eagleray.prepare.cuts import Shard
from eagleray.prepare.fit import torch_threads
from eagleray.prepare.journal import Journal
from eagleray.prepare.listing import Listing
from eagleray.prepare.marker import ShardMarker
from eagleray.prepare.shard import ShardWorker
from eagleray.task import Rows, Stage


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

    def run(self, position: int) -> tuple[ShardMarker, float]:
        """Compute one shard; returns its marker and the seconds that it took."""
        begin = time.perf_counter()
        shard = self._job.shards[position]
        items = self._job.listing.items(shard.start, shard.num_items)
        return self._worker.run(shard.id, items), time.perf_counter() - begin
