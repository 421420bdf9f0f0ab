"""The training of one process: phases one after the other, each from the newest checkpoint on.

``PhaseTrainer.run`` is the loop. It can be read from top to bottom: a step of all ranks, and then
what may happen at the step's border: a line of metrics, a validation, a checkpoint, a report, the
stop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from eagleray.log_lines import name_process, speak_json
from eagleray.prepare import rows_at
from eagleray.progress import Progress
from eagleray.runs.metrics import MetricsWriter, claim_attempt, newest_claim
from eagleray.runs.records import BestCheckpoint
from eagleray.runs.rejects import TrainingRejects
from eagleray.scheduling.exported import export
from eagleray.task import Batches, Dataset, StepContext
from eagleray.train.checkpoint import (
    Checkpoint,
    TrainState,
    forget_after_gap,
    forget_partial,
    keep_checkpoints,
    read_checkpoint,
    read_latest,
    take_snapshot,
    write_best,
    write_checkpoint,
)
from eagleray.train.job import Place, Report, TrainingError, TrainJob, TrainOutcome
from eagleray.train.loader import open_loader
from eagleray.train.machine_use import MachineUse
from eagleray.train.phase_artifact import find_artifact, share_artifact
from eagleray.train.phase_setup import (
    PhasePlan,
    begin_state,
    build_model,
    build_training,
    plan_phase,
)
from eagleray.train.profiling import ProfilerWindow, Throughput, peak_memory_mb
from eagleray.train.stop import Notice, StopFlag
from eagleray.train.strategies import StepResult
from eagleray.train.validation import Validation, Validator

_T = TypeVar("_T")


@dataclass(frozen=True)
class ProcessContext:
    """What all phases of this process share.

    Args:
        job: What to do.
        place: This rank.
        data: The training data.
        attempt: Which start of the run's training this is, from 1.
        stop: Asked at every step border.
        writer: Takes the metrics, on rank 0; None on the others.
        progress: Told about steps, on rank 0.
        report: Told about metrics, on all ranks.
    """

    job: TrainJob
    place: Place
    data: Dataset | Batches
    attempt: int
    stop: StopFlag
    writer: MetricsWriter | None
    progress: Progress
    report: Report


def train_process(
    job: TrainJob,
    device: torch.device,
    *,
    progress: Progress,
    report: Report,
    notice: Notice | None = None,
) -> TrainOutcome:
    """Train in this process, as one rank of the process group if there is one.

    Args:
        job: What to do.
        device: Where the model runs.
        progress: Told about steps, on rank 0.
        report: Told about metrics.
        notice: Tells of nodes that are about to go, see ``StopFlag``.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    place = Place(rank, world_size, device)
    name_process(run=job.run.uri.rstrip("/").rpartition("/runs/")[2], rank=rank, stage=None)
    speak_json()
    job = replace(job, rows=rows_at(job.rows, device))
    attempt = _from_rank_0(claim_attempt(job.run) if rank == 0 else 0, place)
    data = job.task.dataset("train", job.rows)
    if rank == 0:
        forget_partial(job.run)
    writer = MetricsWriter(job.run, attempt) if rank == 0 else None
    try:
        with StopFlag(job.run, rank, _collective_device(device), notice) as stop:
            context = ProcessContext(job, place, data, attempt, stop, writer, progress, report)
            return _train_phases(context)
    finally:
        if writer is not None:
            writer.close()


def _train_phases(context: ProcessContext) -> TrainOutcome:
    job, place = context.job, context.place
    latest = _newest_checkpoint(job, place)
    outcome = TrainOutcome(True, job.phases[0].name, 0, {})
    for index in range(latest.state.phase_idx if latest else 0, len(job.phases)):
        plan = plan_phase(job, index, place, context.data)
        state = begin_state(job, plan, latest)
        finished = True
        if state.step < plan.end_step:
            trainer = PhaseTrainer(context, plan, state, latest)
            latest = None  # it is as large as model and moments, and the trainer has taken it over
            finished = trainer.run()
        outcome = TrainOutcome(finished, state.phase, state.total_step, state.metrics)
        if not finished:
            break
        latest = _newest_checkpoint(job, place)
    return outcome


def _newest_checkpoint(job: TrainJob, place: Place) -> Checkpoint | None:
    """Return the run's newest checkpoint, or the end of a phase that another run has trained.

    Rank 0 alone decides which one that is, and the others read it by name: ranks that each looked
    for themselves could find different ones while files arrive or are passed over as damaged.
    """
    if place.rank == 0 and job.limit is None:
        forget_after_gap(job.run)
    latest = read_latest(job.run) if place.rank == 0 else None
    name = _from_rank_0(latest.state.name if latest else "", place)
    if name:
        return latest or read_checkpoint(job.run, name)
    shared = find_artifact(job) if place.rank == 0 and job.limit is None else None
    is_shared = _from_rank_0(shared is not None, place)
    return (shared or find_artifact(job)) if is_shared else None


def _from_rank_0(value: _T, place: Place) -> _T:
    if place.world_size == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def _collective_device(device: torch.device) -> torch.device:
    on_nccl = dist.is_initialized() and dist.get_backend() == "nccl"
    return device if on_nccl else torch.device("cpu")


class PhaseTrainer:
    """Trains one phase on this rank.

    Args:
        context: What all phases share.
        plan: How the phase goes over the data.
        state: Where it stands; changed by every step.
        latest: The newest checkpoint: of this phase, or of the end of the one before; None at the
            beginning.
    """

    def __init__(
        self,
        context: ProcessContext,
        plan: PhasePlan,
        state: TrainState,
        latest: Checkpoint | None,
    ) -> None:
        job, place = context.job, context.place
        self._context, self._plan, self._state = context, plan, state
        self._settings = job.experiment.train
        validated = self._settings.validate_on.benchmark
        self._validator = None if validated is None else Validator(job, place, validated)
        note = context.progress.note
        model, self._frozen = build_model(job, plan, place, context.data, latest, note)
        self._optimizer, self._strategy, self._average = build_training(job, plan, model, latest)
        label = f"{plan.phase.name}-rank{place.rank}"
        self._machine_use = MachineUse()
        self._profiler = ProfilerWindow(self._settings.profile_steps, job.run, label)
        self._loader = open_loader(
            context.data,
            plan.order,
            plan.share,
            phase=plan.phase,
            seed=job.experiment.seed,
            start_step=state.step,
            stop_step=plan.end_step,
            device=place.device,
            workers=self._settings.loader_workers,
            channels_last=self._settings.channels_last,
            note_reject=TrainingRejects(job.run),
            rows=job.rows,
            ahead=job.experiment.prepare.ahead,
        )
        self._applied: list[StepResult] = []
        self._began, self._at_borders_s = time.perf_counter(), 0.0

    def run(self) -> bool:
        """Train to the phase's end (or limit) or until a stop; return whether the end was reached.

        What a border does is decided alike on all ranks, by the step's number and by what they
        agree on, because validation and checkpoint are collective: a rank that went on alone would
        wait in the next collective for ever.
        """
        state, plan, settings = self._state, self._plan, self._settings
        progress = self._context.progress
        progress.start(f"train {plan.phase.name}", plan.end_step)
        progress.advance(state.step)
        speed, stopped = Throughput(self._loader.waited_s), False
        self._began, self._at_borders_s = time.perf_counter(), 0.0
        try:
            while state.step < plan.end_step and not stopped:
                self._train_step()
                progress.advance(1)
                speed.count(plan.phase.batch_size)

                stopped = self._context.stop.agreed()
                at_end = state.step == plan.end_step
                if at_end:
                    self._refuse_untrained()
                if state.step % settings.log_every == 0 or at_end or stopped:
                    self._log_training(speed.read(self._loader.waited_s))

                border_began = time.perf_counter()
                validation = self._validate_if_due(at_end=at_end)
                is_best = validation is not None and validation.is_best
                is_due = plan.is_border(
                    state.step, settings.checkpoint_every, settings.checkpoint_every_epochs
                )
                if is_due or at_end or stopped or is_best or self._context.stop.must_save:
                    self._checkpoint(validation)
                if validation is not None or at_end:
                    self._context.report({**state.metrics, "step": state.total_step})
                at_border_s = time.perf_counter() - border_began
                speed.pause(at_border_s)
                self._at_borders_s += at_border_s
        finally:
            self._profiler.close()
            self._loader.close()
            progress.finish()
            self._strategy.close()
        return state.step == plan.end_step

    def _train_step(self) -> None:
        """Read this rank's micro-batches and update the weights once."""
        state = self._state
        self._profiler.before_step(state.step)
        self._context.job.task.before_step(self._strategy.model, self._step_context())
        batches = next(self._loader)
        rates = self._optimizer.rates(self._plan.phase, state.step, self._plan.total_steps)
        try:
            result = self._strategy.train_step(
                [(batch, self._step_context(keys)) for batch, keys in batches], rates
            )
        except torch.OutOfMemoryError as error:
            raise TrainingError(self._memory_advice()) from error
        self._profiler.after_step(state.step)
        state.step += 1
        state.total_step += 1
        if result.applied:
            state.skipped_in_a_row = 0
            self._applied.append(result)
            if self._average is not None:
                self._average.update()
        else:
            self._count_skipped(result)

    def _memory_advice(self) -> str:
        samples = self._settings.micro_batch_size
        if samples is None:
            samples = self._plan.phase.batch_size // self._context.place.world_size
        return (
            f"the device's memory did not suffice at step {self._state.step} of phase "
            f"{self._state.phase!r} with {samples} samples per forward pass: set "
            f"train.micro_batch_size to {max(1, samples // 2)} (results stay the same, gradients "
            "are accumulated), switch train.activation_checkpointing on, or use a lower precision"
        )

    def _step_context(self, keys: tuple[str, ...] = ()) -> StepContext:
        return StepContext(
            phase=self._plan.phase,
            step=self._state.step,
            total_steps=self._plan.total_steps,
            seed=self._context.job.experiment.seed,
            sample_keys=keys,
            rows=self._context.job.rows,
        )

    def _count_skipped(self, result: StepResult) -> None:
        """Count a step that was not applied; too many in a row end the training.

        One bad batch must not end a run of days, but weights that have diverged never come back.
        An overflow of the gradient alone, while the loss scale of float16 still looks for its
        value, is neither.
        """
        state = self._state
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

    def _refuse_untrained(self) -> None:
        """Refuse to take a phase for trained in which no step changed the weights.

        A few steps of a limit may all pass while the loss scale of float16 looks for its value.
        """
        state = self._state
        is_searching = state.skipped_in_a_row == 0 and state.step < self._plan.total_steps
        if state.skipped_steps < state.step or is_searching:
            return
        raise TrainingError(
            f"phase {state.phase!r} ended after {state.step} steps, none of which changed the "
            "weights: all of them had a loss or gradient that is not finite and were skipped. "
            "Look at the losses and the data, lower the learning rate, or use precision fp32"
        )

    def _log_training(self, speed: dict[str, float]) -> None:
        """Write the mean of the losses since the last line, and what else is always reported."""
        applied, self._applied = self._applied, []
        values: dict[str, float] = {}
        if applied:
            values["loss"] = _mean([r.total for r in applied])
            values |= {f"loss/{k}": _mean([r.terms[k] for r in applied]) for k in applied[-1].terms}
            values["grad_norm"] = applied[-1].grad_norm
        last_step = self._state.step - 1
        rates = self._optimizer.rates(self._plan.phase, last_step, self._plan.total_steps)
        values |= {
            "lr": rates[0],
            **speed,
            "peak_memory_mb": peak_memory_mb(self._context.place.device),
            "skipped_steps": float(self._state.skipped_steps),
        }
        self._write("train", values, self._machine_use.read())
        self._export(values)
        if "loss" in values:
            shown = {key: values[key] for key in ("loss", "wait_fraction")}
            self._context.progress.advance(0, **shown)

    def _export(self, values: Mapping[str, float]) -> None:
        """Show whoever watches the cluster where the training stands."""
        if self._context.writer is None:
            return
        wall_s = max(time.perf_counter() - self._began, 1e-9)
        shown = {
            "eagleray_step": float(self._state.total_step),
            "eagleray_samples_per_s": values["items_per_s"],
            "eagleray_wait_fraction": values["wait_fraction"],
            "eagleray_goodput": 1.0 - min(self._at_borders_s / wall_s, 1.0),
        }
        if "loss" in values:
            shown["eagleray_loss"] = values["loss"]
        of = self._context.job.run.uri.rstrip("/").rpartition("/")[2]
        for name, value in shown.items():
            export(name, value, of)

    def _validate_if_due(self, *, at_end: bool) -> Validation | None:
        validator, step = self._validator, self._state.step
        if validator is None or not validator.is_due(self._plan, step, at_end=at_end):
            return None
        validation = validator.run(self._strategy, self._average, self._state.best)
        if validation.is_best:
            self._state.best = validation.value
        self._write("validate", validation.values)
        return validation

    def _checkpoint(self, validation: Validation | None) -> None:
        """Write where training stands; rank 0 gathers and writes, the others give their part.

        The metrics go first: a run that goes on from the checkpoint repeats later steps only, so
        what was logged up to here must be on disk.
        """
        state, run = self._state, self._context.job.run
        state.phase_done = state.step == self._plan.total_steps
        state.loss_scale = self._strategy.loss_scale.value
        state.loss_scale_good_steps = self._strategy.loss_scale.good_steps
        snapshot = take_snapshot(self._strategy, self._average, state, self._frozen)
        if snapshot is None:
            return
        if newest_claim(run) > self._context.attempt:
            raise TrainingError(
                f"another driver has taken over {run.uri} while this one (attempt "
                f"{self._context.attempt}) was cut off: it writes nothing more, the other goes on"
            )
        if self._context.writer is not None:
            self._context.writer.flush()
        name = write_checkpoint(run, snapshot, self._context.attempt)
        share_artifact(self._context.job, snapshot)
        if validation is not None and validation.is_best:
            write_best(run, BestCheckpoint(name, validation.metric, validation.value))
        keep_checkpoints(run, self._settings.keep_checkpoints)

    def _write(
        self, kind: str, values: dict[str, float], of_machine: Mapping[str, float] | None = None
    ) -> None:
        """Log values; those of the machine are no state of the training and stay out of it."""
        state = self._state
        state.metrics.update(values)
        if self._context.writer is not None:
            self._context.writer.write(
                kind,
                phase=state.phase,
                step=state.step,
                total_step=state.total_step,
                end_step=self._plan.end_step,
                values={**values, **(of_machine or {})},
            )


def _mean(values: Sequence[Tensor]) -> float:
    return float(sum(values[1:], values[0]) / len(values))
