"""A worker of a stage: set up once, then one shard after the other; the same in this process and
under Ray. And ``Stage.fit``, which a worker runs before: what all workers need is found once.

What ``fit`` found on the first items is stored by a digest of those items, which enters the
shards' ids: while they stay the same, added items recompute nothing; when they change, everything
follows.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from eagleray.prepare.fingerprint import canonical_json
from eagleray.prepare.journal import Journal
from eagleray.prepare.listing import Listing
from eagleray.prepare.marker import ShardMarker
from eagleray.prepare.shard import ComputedShard, ShardWorker
from eagleray.prepare.survey import Shard
from eagleray.storage import Store
from eagleray.task import Item, Rows, Stage

FITS = "fit"


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


def read_fitted(folder: Store, digest: str) -> Mapping[str, Any] | None:
    """Return what ``fit`` found, or None where it has not run yet."""
    if not digest:
        return {}
    try:
        found: Mapping[str, Any] = json.loads(folder.read(f"{FITS}/{digest}.json"))
    except FileNotFoundError:
        return None
    return found


def run_fit(
    stage: Stage, listing: Listing, upstream: Mapping[str, Rows], digest: str, device: str
) -> None:
    """Fit on the first items and store what was found. Items that cannot be loaded are left out.

    ``setup`` runs before, with nothing fitted, so that ``fit`` may use the stage's networks.
    """
    stage = copy.copy(stage)
    with torch_threads(stage.resources.cpus):
        stage.setup(device, upstream, {})
        found = stage.fit(_samples(stage, listing.items(0, stage.fit_items)))
    content = canonical_json(found, f"what fit of stage {stage.label} returns")
    listing.folder.create(f"{FITS}/{digest}.json", content)


def _samples(stage: Stage, items: list[Item]) -> Iterator[Any]:
    ahead = 2 * stage.resources.loader_threads
    with ThreadPoolExecutor(stage.resources.loader_threads, "load") as pool:
        waiting = [pool.submit(stage.load, item) for item in items[:ahead]]
        for next_idx in range(ahead, len(items) + ahead):
            if not waiting:
                return
            future = waiting.pop(0)
            if next_idx < len(items):
                waiting.append(pool.submit(stage.load, items[next_idx]))
            try:
                sample = future.result()
            except Exception:
                continue
            yield sample


@contextmanager
def torch_threads(cpus: float) -> Iterator[None]:
    """Use as many torch threads as a worker has CPUs, so that results do not depend on where it
    runs.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(cpus)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
