"""A worker of a stage: set up once, then one shard after the other; the same in this process and
under Ray. And ``Stage.fit``, which a worker runs before: what all workers need is found once.

What ``fit`` found on some items is stored by a digest of those items, which enters the shards' ids:
while they stay the same, added items recompute nothing; when they change, everything follows. All
sources of a stage use what one of them found.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch

from eagleray.log_lines import name_process
from eagleray.prepare.faults import Fault, FaultError, persistently
from eagleray.prepare.item import judge
from eagleray.prepare.journal import Journal
from eagleray.prepare.listing import Listing
from eagleray.prepare.loads import LoadElsewhere, Loads
from eagleray.prepare.marker import ShardMarker
from eagleray.prepare.shard import ComputedShard, ShardWorker
from eagleray.prepare.survey import NO_FIT, Fit, Shard, StageRun
from eagleray.task import EaglerayError, Item, Stage


@dataclass(frozen=True)
class StageJob:
    """All that a worker needs to know; picklable.

    Args:
        run: The stage, its folder and the rows that it reads.
        listing: Its inputs.
        shards: What is to be computed.
        device: ``cpu`` or ``cuda``.
        fit: What ``fit`` finds, and on which items.
        fitted: What it has found, once it has run.
    """

    run: StageRun
    listing: Listing
    shards: Sequence[Shard]
    device: str
    fit: Fit = NO_FIT
    fitted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fit_digest(self) -> str:
        """Name of what ``fit`` finds; empty without a fit."""
        return self.fit.digest

    @property
    def is_fitted(self) -> bool:
        """Whether ``fit`` has run, or there is none."""
        return self.run.folder.read_fitted(self.fit.digest) is not None

    def with_fitted(self) -> StageJob:
        """Return the job with what ``fit`` has found."""
        return replace(self, fitted=self.run.folder.read_fitted(self.fit.digest) or {})


@runtime_checkable
class Announced(Protocol):
    """A stage of the engine's own that wants to know what its worker is to load next."""

    def announce(self, items: Sequence[Item]) -> None:
        """Hear of the items of a shard, before they are loaded in this order."""


class StageWorker:
    """Computes shards of a job by their position in it.

    Args:
        job: What to do.
        journal: Told about items where a worker has died before.
        elsewhere: Loads items in other processes beside this one's threads.
    """

    def __init__(
        self,
        job: StageJob,
        journal: Journal | None = None,
        elsewhere: LoadElsewhere | None = None,
    ) -> None:
        self._job = job
        stage = self._stage = copy.copy(job.run.stage)
        name_process(stage=stage.label)
        with ExitStack() as stack:
            stack.enter_context(torch_threads(stage.resources.cpus))
            stage.setup(job.device, job.run.upstream, job.fitted)
            loads = Loads(stage, elsewhere, stage.resources.remote_loads)
            self._worker = stack.enter_context(
                ShardWorker(stage, job.run.folder, job.fit.digest, journal, loads)
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
        if isinstance(self._stage, Announced):
            self._stage.announce(items)
        self._worker.load_ahead(shard.id, items)
        return items

    def compute(self, position: int, items: Sequence[Item]) -> ComputedShard:
        """Compute one shard; always to be called from the thread that made this worker."""
        return self._worker.compute(self._job.shards[position].id, items)

    def commit(self, shard: ComputedShard) -> ShardMarker:
        """Commit a computed shard, from any thread."""
        return self._worker.commit(shard)


def run_fit(job: StageJob) -> None:
    """Fit and store what was found. Bad items are left out.

    ``setup`` runs before, with nothing fitted, so that ``fit`` may use the stage's networks.

    Raises:
        EaglerayError: What was found before is gone, and so are the items.
    """
    shown = job.fit.shown
    if shown is None:
        raise EaglerayError(
            f"stage {job.run.stage.label}: what fit found ({job.fit.digest}) is gone from "
            f"{job.run.folder.uri}: run `eagleray prepare` where all data are"
        )
    stage = copy.copy(shown.stage)
    with torch_threads(stage.resources.cpus):
        stage.setup(job.device, shown.upstream, {})
        fitted = stage.fit(_samples(stage, shown.items()))
    job.run.folder.write_fitted(job.fit.digest, fitted, stage.label)


def _load(stage: Stage, item: Item) -> Any:
    return persistently(lambda: stage.load(item))


def _samples(stage: Stage, items: list[Item]) -> Iterator[Any]:
    ahead = 2 * stage.resources.loader_threads
    with ThreadPoolExecutor(stage.resources.loader_threads, "load") as pool:
        waiting = [pool.submit(_load, stage, item) for item in items[:ahead]]
        for next_idx in range(ahead, len(items) + ahead):
            if not waiting:
                return
            future = waiting.pop(0)
            if next_idx < len(items):
                waiting.append(pool.submit(_load, stage, items[next_idx]))
            try:
                sample = future.result()
            except Exception as error:
                key = items[next_idx - ahead].key
                failed = judge(stage.label, key, "those that are fitted on", error)
                if isinstance(failed, Fault):
                    raise FaultError(stage.label, [failed]) from error
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
