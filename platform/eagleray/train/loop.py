"""The training of one process: phases one after the other, each from the newest checkpoint on."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist

from eagleray.progress import Progress
from eagleray.task import Batches, Dataset
from eagleray.train.checkpoint import (
    Checkpoint,
    forget_after_gap,
    read_checkpoint,
    read_latest,
)
from eagleray.train.job import Place, Report, TrainJob, TrainOutcome
from eagleray.train.metrics import MetricsWriter, next_attempt
from eagleray.train.phase import PhaseRun
from eagleray.train.phase_artefact import find_artefact
from eagleray.train.stop import StopFlag

_T = TypeVar("_T")


def train_process(
    job: TrainJob, device: torch.device, *, progress: Progress, report: Report
) -> TrainOutcome:
    """Train in this process, as one rank of the process group if there is one.

    Args:
        job: What to do.
        device: Where the model runs.
        progress: Told about steps, on rank 0.
        report: Told about metrics.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    attempt = _from_rank_0(next_attempt(job.run) if rank == 0 else 0, world_size)
    place = Place(rank, world_size, device)
    data = job.task.dataset("train", job.rows)
    writer = MetricsWriter(job.run, attempt) if rank == 0 else None
    try:
        with StopFlag(job.run, rank, _collective_device(device)) as stop:
            return _train_phases(job, place, data, writer, stop, progress, report)
    finally:
        if writer is not None:
            writer.close()


def _train_phases(
    job: TrainJob,
    place: Place,
    data: Dataset | Batches,
    writer: MetricsWriter | None,
    stop: StopFlag,
    progress: Progress,
    report: Report,
) -> TrainOutcome:
    latest = _newest(job, place)
    outcome = TrainOutcome(True, job.phases[0].name, 0, {})
    for index in range(latest.state.phase_idx if latest else 0, len(job.phases)):
        phase_run = PhaseRun(
            job,
            index,
            place,
            data,
            latest,
            writer=writer,
            stop=stop,
            progress=progress,
            report=report,
        )
        finished = phase_run.run()
        state = phase_run.state
        outcome = TrainOutcome(finished, state.phase, state.total_step, state.metrics)
        if not finished:
            break
        latest = _newest(job, place)
    return outcome


def _newest(job: TrainJob, place: Place) -> Checkpoint | None:
    """Return the run's newest checkpoint, or the end of a phase that another run has trained.

    Rank 0 decides which one that is.
    """
    if place.rank == 0 and job.limit is None:
        forget_after_gap(job.run)
    found = read_latest(job.run) if place.rank == 0 else None
    name = _from_rank_0(found.state.name if found else "", place.world_size)
    if name:
        return found or read_checkpoint(job.run, name)
    found = find_artefact(job) if place.rank == 0 and job.limit is None else None
    is_shared = _from_rank_0(found is not None, place.world_size)
    return (found or find_artefact(job)) if is_shared else None


def _from_rank_0(value: _T, world_size: int) -> _T:
    if world_size == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def _collective_device(device: torch.device) -> torch.device:
    on_nccl = dist.is_initialized() and dist.get_backend() == "nccl"
    return device if on_nccl else torch.device("cpu")
