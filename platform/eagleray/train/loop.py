"""The training of one process: phases one after the other, each from the newest checkpoint on; the
steps of a phase, and what happens at their borders: metrics, validation, checkpoints.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from eagleray.progress import Progress
from eagleray.runs.metrics import MetricsWriter, next_attempt
from eagleray.runs.rejects import TrainingRejects
from eagleray.task import Batches, Dataset, StepContext
from eagleray.train.checkpoint import (
    Checkpoint,
    forget_after_gap,
    keep_checkpoints,
    read_checkpoint,
    read_latest,
    take_snapshot,
    write_best,
    write_checkpoint,
)
from eagleray.train.job import Place, Report, TrainingError, TrainJob, TrainOutcome
from eagleray.train.loader import MicroBatch, StepLoader, open_loader
from eagleray.train.metrics import ProfilerWindow, Throughput, peak_memory_mb
from eagleray.train.phase_artifact import find_artifact, share_artifact
from eagleray.train.phase_setup import begin_state, build_model, build_training, plan_phase
from eagleray.train.stop import StopFlag
from eagleray.train.strategies import StepResult
from eagleray.train.validation import Validator

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
    found = find_artifact(job) if place.rank == 0 and job.limit is None else None
    is_shared = _from_rank_0(found is not None, place.world_size)
    return (found or find_artifact(job)) if is_shared else None


def _from_rank_0(value: _T, world_size: int) -> _T:
    if world_size == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def _collective_device(device: torch.device) -> torch.device:
    on_nccl = dist.is_initialized() and dist.get_backend() == "nccl"
    return device if on_nccl else torch.device("cpu")


_log = logging.getLogger(__name__)


class PhaseRun:
    """Trains one phase on this rank.

    Args:
        job: What to do.
        index: Which of its phases.
        place: This rank.
        data: The training data.
        latest: The newest checkpoint: of this phase, or of the end of the one before; None at the
            beginning.
        writer: Takes the metrics, on rank 0.
        stop: Asked at every step border.
        progress: Told about steps, on rank 0.
        report: Told about metrics, on all ranks.
    """

    def __init__(
        self,
        job: TrainJob,
        index: int,
        place: Place,
        data: Dataset | Batches,
        latest: Checkpoint | None,
        *,
        writer: MetricsWriter | None,
        stop: StopFlag,
        progress: Progress,
        report: Report,
    ) -> None:
        self._job, self._place, self._data, self._latest = job, place, data, latest
        self._writer, self._stop, self._progress, self._report = writer, stop, progress, report
        self._settings = job.experiment.train
        self._plan = plan_phase(job, index, place, data)
        self._phase = self._plan.phase
        self.state = begin_state(job, self._plan, latest)
        self._window: list[StepResult] = []
        self._metric = ""

    def run(self) -> bool:
        """Train to the phase's end (or limit) or until a stop; return whether the end was
        reached.
        """
        state, plan = self.state, self._plan
        if state.step >= plan.end_step:
            return True
        self._validator = Validator(self._job, self._place)
        model = build_model(
            self._job, plan, self._place, self._data, self._latest, self._progress.note
        )
        self._optimizer, self._strategy, self._average = build_training(
            self._job, plan, model, self._latest
        )
        self._latest = None
        label = f"{plan.phase.name}-rank{self._place.rank}"
        self._profiler = ProfilerWindow(self._settings.profile_steps, self._job.run, label)
        loader = self._open_loader()
        self._progress.start(f"train {plan.phase.name}", plan.end_step)
        self._progress.advance(state.step)
        try:
            return self._steps(loader)
        finally:
            self._profiler.close()
            loader.close()
            self._progress.finish()
            self._strategy.close()

    def _open_loader(self) -> StepLoader:
        return open_loader(
            self._data,
            self._plan.order,
            self._plan.share,
            phase=self._phase,
            seed=self._job.experiment.seed,
            start_step=self.state.step,
            stop_step=self._plan.end_step,
            device=self._place.device,
            workers=self._settings.loader_workers,
            channels_last=self._settings.channels_last,
            note_reject=TrainingRejects(self._job.run),
        )

    def _steps(self, loader: StepLoader) -> bool:
        state, plan = self.state, self._plan
        speed = Throughput(loader.waited_s)
        stopped = False
        while state.step < plan.end_step and not stopped:
            self._one_step(loader)
            speed.count(self._phase.batch_size)
            stopped = self._stop.agreed()
            at_end = state.step == plan.end_step
            if state.step % self._settings.log_every == 0 or at_end or stopped:
                self._log_line(speed.read(loader.waited_s))
            begin = time.perf_counter()
            self._at_border(at_end=at_end, stopped=stopped)
            speed.pause(time.perf_counter() - begin)
        return not stopped or state.step == plan.end_step

    def _one_step(self, loader: StepLoader) -> None:
        state = self.state
        self._profiler.before_step(state.step)
        self._job.task.before_step(self._strategy.model, self._context())
        batches: Sequence[MicroBatch] = next(loader)
        rates = self._optimizer.rates(self._phase, state.step, self._plan.total_steps)
        result = self._strategy.train_step(
            [(batch, self._context(keys)) for batch, keys in batches], rates
        )
        self._profiler.after_step(state.step)
        state.step += 1
        state.total_step += 1
        if result.applied:
            state.skipped_in_a_row = 0
            self._window.append(result)
            if self._average is not None:
                self._average.update()
        else:
            self._count_skip(result)
        self._progress.advance(1)

    def _context(self, keys: tuple[str, ...] = ()) -> StepContext:
        return StepContext(
            phase=self._phase,
            step=self.state.step,
            total_steps=self._plan.total_steps,
            seed=self._job.experiment.seed,
            sample_keys=keys,
        )

    def _count_skip(self, result: StepResult) -> None:
        """Count a step whose loss or gradient was not finite; too many in a row end the
        training.
        """
        state = self.state
        state.skipped_steps += 1
        if math.isfinite(float(result.total)) and self._strategy.loss_scale.calibrating:
            return
        state.skipped_in_a_row += 1
        if state.skipped_in_a_row > self._settings.max_nan_steps:
            losses = {k: float(v) for k, v in result.terms.items()}
            raise TrainingError(
                f"{state.skipped_in_a_row} steps in a row up to step {state.step} of phase "
                f"{state.phase!r} had a loss or gradient that is not finite and were skipped "
                f"(allowed: train.max_nan_steps = {self._settings.max_nan_steps}); losses of the "
                f"last one: {losses}. Lower the learning rate, set clip_norm, or use precision fp32"
            )

    def _log_line(self, speed: dict[str, float]) -> None:
        """Write the mean of the losses since the last line, and what else is always reported."""
        window, self._window = self._window, []
        values: dict[str, float] = {}
        if window:
            values["loss"] = _mean([r.total for r in window])
            values |= {f"loss/{k}": _mean([r.terms[k] for r in window]) for k in window[-1].terms}
            values["grad_norm"] = window[-1].grad_norm
        rates = self._optimizer.rates(self._phase, self.state.step - 1, self._plan.total_steps)
        values |= {
            "lr": rates[0],
            **speed,
            "peak_memory_mb": peak_memory_mb(self._place.device),
            "skipped_steps": float(self.state.skipped_steps),
        }
        self.state.metrics.update(values)
        self._write("train", values)
        if "loss" in values:
            self._progress.advance(0, loss=values["loss"], wait=values["wait_fraction"])

    def _at_border(self, *, at_end: bool, stopped: bool) -> None:
        state, is_best = self.state, False
        validated = self._validator.is_due(state.step, at_end=at_end)
        if validated:
            is_best = self._validate()
        due = state.step % self._settings.checkpoint_every == 0
        if due or at_end or stopped or is_best:
            self._checkpoint(is_best=is_best)
        if validated or at_end:
            self._report({**state.metrics, "step": state.total_step})

    def _validate(self) -> bool:
        state = self.state
        values = self._validator.run(self._strategy, self._average)
        self._metric, value, is_best = self._validator.score(values, state.best)
        if is_best:
            state.best = value
        state.metrics.update(values)
        self._write("validate", values)
        return is_best

    def _checkpoint(self, *, is_best: bool) -> None:
        state = self.state
        state.phase_done = state.step == self._plan.total_steps
        state.loss_scale = self._strategy.loss_scale.value
        state.loss_scale_good_steps = self._strategy.loss_scale.good_steps
        snapshot = take_snapshot(self._strategy, self._average, state)
        if snapshot is None:
            return
        if self._writer is not None:
            self._writer.flush()
        name = write_checkpoint(self._job.run, snapshot)
        share_artifact(self._job, snapshot)
        if is_best and state.best is not None:
            write_best(self._job.run, name, self._metric, state.best)
        keep_checkpoints(self._job.run, self._settings.keep_checkpoints)

    def _write(self, kind: str, values: dict[str, float]) -> None:
        if self._writer is not None:
            state = self.state
            self._writer.write(
                kind,
                phase=state.phase,
                step=state.step,
                total_step=state.total_step,
                end_step=self._plan.end_step,
                values=values,
            )


def _mean(values: Sequence[Tensor]) -> float:
    return float(sum(values[1:], values[0]) / len(values))
