"""Training an experiment: in this very process, or as a group of Ray Train workers that survives
their death.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist

from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import Device, RunOptions
from eagleray.runs.console import console_kept
from eagleray.runs.records import BestCheckpoint
from eagleray.storage import Store
from eagleray.task import Rows, SettingsError, Training
from eagleray.train.checkpoint import list_checkpoints, read_best
from eagleray.train.job import Report, TrainJob, TrainOutcome
from eagleray.train.loop import train_process
from eagleray.train.order import num_micro_batches
from eagleray.train.stop import clear_stop
from eagleray.train.validation import find_benchmark
from eagleray.train.weights import local_weights


@dataclass(frozen=True)
class TrainResult:
    """What training gave.

    Args:
        finished: False if it was stopped; the same call goes on.
        phase: Name of the last phase worked on.
        step: Optimizer steps done in all phases.
        metrics: Latest metrics of training and validation.
        best: The best checkpoint; None if nothing was validated.
        checkpoints: Names of the checkpoints kept, oldest first.
        restarts: How often the group of workers was started again after a failure.
        seconds: Wall-clock time of this call.
    """

    finished: bool
    phase: str
    step: int
    metrics: Mapping[str, float]
    best: BestCheckpoint | None
    checkpoints: tuple[str, ...]
    restarts: int
    seconds: float


def train_run(
    experiment: ExperimentSettings,
    task: Training,
    run: Store,
    rows: Mapping[str, Rows],
    options: RunOptions,
    *,
    report: Report | None = None,
) -> TrainResult:
    """Train an experiment, going on from the newest checkpoint of its run.

    Args:
        experiment: The experiment.
        task: Its task.
        run: The run's folder; with several machines it must be storage that all of them see.
        rows: Rows of the prepared stages by label.
        options: How it runs. ``limit`` counts optimizer steps per phase; ``inline`` trains with one
            worker, and batches keep their size; else ``train.num_workers`` says how many, and not
            ``options.workers``.
        report: Told about metrics at validations and ends of phases.

    Raises:
        TrainingError: A worker failed for good; its own traceback comes first.
        SchedulingError: The machine can never hold the workers asked for.
        SettingsError: Settings that do not fit together.
    """
    begin = time.monotonic()
    job = TrainJob(experiment, task, run, rows, options.limit)
    check_job(job, inline=options.inline)
    clear_stop(run)
    if options.inline:
        outcome, restarts = _train_inline(job, options, report), 0
    else:
        from eagleray.train.ray_driver import train_with_ray

        outcome, restarts = train_with_ray(job, options, report)
    clear_stop(run)
    return TrainResult(
        finished=outcome.finished,
        phase=outcome.phase,
        step=outcome.step,
        metrics=outcome.metrics,
        best=read_best(run),
        checkpoints=tuple(m.name for m in list_checkpoints(run)),
        restarts=restarts,
        seconds=time.monotonic() - begin,
    )


def check_job(job: TrainJob, *, inline: bool) -> None:
    """Refuse what can be known to fail before any process starts.

    Args:
        job: What to do.
        inline: It would be trained in this process, by one worker.

    Raises:
        SettingsError: Batches cannot be dealt to the workers, the weights to begin with cannot be
        fetched, or the benchmark to validate on is unknown.
    """
    settings = job.experiment.train
    asked = settings.num_workers
    most = 1 if inline else asked if isinstance(asked, int) else max(asked)
    for phase in job.phases:
        num_micro_batches(phase.batch_size, most, settings.micro_batch_size)
    if settings.init_from is not None:
        local_weights(settings.init_from)
    if settings.validate_on.benchmark is not None:
        find_benchmark(job.task, settings.validate_on.benchmark)


def _train_inline(job: TrainJob, options: RunOptions, report: Report | None) -> TrainOutcome:
    settings = job.experiment.train
    device = torch.device("cuda", 0) if _wants_gpu(options.device) else torch.device("cpu")
    if settings.num_workers not in (1, (1, 1)):
        options.progress.note(
            f"inline: one worker instead of {settings.num_workers}, with the whole batch in this "
            "process"
        )
    with _lone_process_group(settings.strategy), console_kept(job.run, "0"):
        return train_process(
            job, device, progress=options.progress, report=report or (lambda metrics: None)
        )


@contextlib.contextmanager
def _lone_process_group(strategy: str) -> Iterator[None]:
    """Open a gloo group of world size 1 if the strategy needs one and there is none already.

    It is closed afterwards, but for DeepSpeed, which keeps references to the first group it sees
    and cannot work with a second one in the same process.

    Args:
        strategy: ``single``, ``ddp`` or ``deepspeed``.
    """
    if strategy == "single" or dist.is_initialized():
        yield
        return
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    if strategy == "deepspeed":
        os.environ.setdefault("LOCAL_RANK", "0")
        yield
        return
    try:
        yield
    finally:
        dist.destroy_process_group()


def _wants_gpu(asked: Device) -> bool:
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise SettingsError(
            "device is 'cuda', but this machine has no CUDA device that torch can use: set device "
            "to auto or cpu"
        )
    return available and asked != "cpu"
