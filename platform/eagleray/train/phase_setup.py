"""Getting a phase ready on one rank: its length, its model with the right weights, its strategy."""

from __future__ import annotations

import contextlib
import functools
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from eagleray.runs.settings import flat_settings
from eagleray.task import Batches, Dataset, EaglerayError, Phase, SettingsError
from eagleray.train.checkpoint import Checkpoint, TrainState
from eagleray.train.frozen import FrozenTensors, put_frozen
from eagleray.train.job import Place, TrainJob
from eagleray.train.loader import RankShare, data_order
from eagleray.train.optimizer import PhaseOptimizer, build_optimizer
from eagleray.train.order import DataOrder
from eagleray.train.strategies import MovingAverage, Strategy, build_strategy
from eagleray.train.weights import begin_with_weights, local_weights, put_weights

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhasePlan:
    """How a phase goes over the data.

    Args:
        index: Its number among the phases.
        phase: The phase.
        order: Order of the samples; None for data on the device.
        share: This rank's part of every batch.
        total_steps: Length that schedules refer to, in optimizer steps.
        end_step: Where this call stops: the length, or the limit.
    """

    index: int
    phase: Phase
    order: DataOrder | None
    share: RankShare
    total_steps: int
    end_step: int

    @property
    def num_micro_batches(self) -> int:
        """Forward passes per optimizer step; data on the device come as one batch per step."""
        return self.share.num_micro_batches if self.order is not None else 1

    def is_border(self, step: int, every: int, every_epochs: int | None) -> bool:
        """Return whether as many steps, or else passes over the data, have gone by once more.

        Raises:
            SettingsError: Passes are asked for, but the data have none.
        """
        if every_epochs is None:
            return step % every == 0
        if self.order is None:
            raise SettingsError(
                f"phase {self.phase.name!r}: its data live on the device and have no epochs; give "
                "train.validate_on.every and train.checkpoint_every in steps, and no *_epochs"
            )
        before, now = (self.order.locate(s)[0] // every_epochs for s in (step - 1, step))
        return now > before


def plan_phase(job: TrainJob, index: int, place: Place, data: Dataset | Batches) -> PhasePlan:
    """Return how a phase goes over the data.

    Raises:
        SettingsError: Its length is in epochs, but the data have none.
        InputError: There are no samples.
    """
    phase = job.phases[index]
    share = RankShare(
        phase.batch_size, place.rank, place.world_size, job.experiment.train.micro_batch_size
    )
    order = None
    if isinstance(data, Dataset):
        order = data_order(
            data, batch_size=phase.batch_size, seed=job.experiment.seed, phase=phase.name
        )
    if phase.steps is not None:
        total = phase.steps
    elif order is not None and phase.epochs is not None:
        total = order.steps_in(phase.epochs)
    else:
        raise SettingsError(
            f"phase {phase.name!r} is {phase.epochs} epochs long, but its data live on the device "
            "and have no epochs: give its length in steps"
        )
    return PhasePlan(index, phase, order, share, total, min(total, job.limit or total))


def begin_state(job: TrainJob, plan: PhasePlan, latest: Checkpoint | None) -> TrainState:
    """Return where the phase stands: where its checkpoint says, or at its beginning."""
    if latest is not None and latest.state.phase_idx == plan.index:
        state = latest.state
        if state.phase != plan.phase.name or state.seed != job.experiment.seed:
            raise SettingsError(
                f"{job.run.uri} holds a checkpoint of phase {state.phase!r} with seed "
                f"{state.seed}, but asked is phase {plan.phase.name!r} with seed "
                f"{job.experiment.seed}: use another run (--new)"
            )
        return state
    return TrainState(
        phase_idx=plan.index,
        phase=plan.phase.name,
        step=0,
        total_step=latest.state.total_step if latest else 0,
        seed=job.experiment.seed,
        best=latest.state.best if latest else None,
    )


def build_model(
    job: TrainJob,
    plan: PhasePlan,
    place: Place,
    data: Dataset | Batches,
    latest: Checkpoint | None,
    note: Callable[[str], None],
) -> tuple[nn.Module, FrozenTensors]:
    """Return the task's model on its device with the weights that the phase, or its rest, begins
    with, and which of them are those of frozen files.

    A phase begins with what the one before ended with (its average, if it had one), the first one
    with the task's pretrained weights and ``train.init_from``. ``Training.on_phase_start`` sees
    these weights; in a resumed phase the checkpoint's buffers win over what it changes.
    """
    settings = job.experiment.train
    torch.manual_seed(job.experiment.seed)
    model = _built(job)
    if latest is not None:
        source = f"checkpoint {latest.state.name}"
        frozen = put_frozen(job.task, model, latest.frozen, source)
        begin_with = {**latest.model, **latest.raw} if _resumes(latest, plan) else latest.model
        put_weights(model, begin_with, source)
    else:
        frozen = put_frozen(job.task, model, None)
        job.task.load_pretrained(model)
        if settings.init_from is not None:
            path = local_weights(settings.init_from)
            note(str(begin_with_weights(job.task, model, path)))
    model = model.to(place.device)
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    model.train()
    job.task.on_phase_start(model, plan.phase, data)
    if latest is not None and _resumes(latest, plan):
        put_weights(model, {**latest.model, **latest.raw}, f"checkpoint {latest.state.name}")
    if settings.activation_checkpointing:
        checkpoint_activations(model)
    if settings.compile:
        model.compile()
    return model, frozen


def _built(job: TrainJob) -> nn.Module:
    """Build the network; settings that only it refuses are named."""
    try:
        model: nn.Module = job.task.build()
    except EaglerayError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        given = job.task.settings.model_dump(mode="json", exclude_defaults=True)
        changed = ", ".join(f"{name}: {value!r}" for name, value in flat_settings(given).items())
        raise SettingsError(
            f"task {job.task.name!r} cannot build its network with these settings "
            f"({type(error).__name__}: {error}; {frame.filename}:{frame.lineno}). Settings that "
            f"are not at their defaults: {changed or 'none'}"
        ) from error
    return model


def build_training(
    job: TrainJob, plan: PhasePlan, model: nn.Module, latest: Checkpoint | None
) -> tuple[PhaseOptimizer, Strategy, MovingAverage | None]:
    """Return optimizer, strategy and moving average, going on from the checkpoint if it is of this
    phase.
    """
    groups = job.task.parameter_groups(model, plan.phase)
    optimizer = build_optimizer(model, groups, plan.phase)
    strategy = build_strategy(
        job.experiment.train, model, optimizer, plan.phase, job.task.losses, plan.num_micro_batches
    )
    average = None
    if plan.phase.ema_decay is not None:
        average = MovingAverage(strategy, plan.phase.ema_decay)
    if latest is not None and _resumes(latest, plan):
        strategy.load_moments(latest.moments)
        strategy.loss_scale.value = latest.state.loss_scale
        strategy.loss_scale.good_steps = latest.state.loss_scale_good_steps
        if average is not None:
            average.load(latest.model)
    return optimizer, strategy, average


def _resumes(latest: Checkpoint, plan: PhasePlan) -> bool:
    return latest.state.phase_idx == plan.index


def checkpoint_activations(model: nn.Module) -> int:
    """Recompute the activations of the model's blocks in the backward pass; return the number of
    blocks.

    Blocks are what ``model.checkpoint_blocks()`` returns, or else the outermost ``nn.Sequential``
    modules. Buffers that a block changes (running statistics) are put back after recomputing, so
    they change once.

    Args:
        model: The ``forward`` of its blocks is wrapped in place; names and state stay.

    Raises:
        SettingsError: The model has no blocks.
    """
    declared: Callable[[], list[nn.Module]] | None = getattr(model, "checkpoint_blocks", None)
    blocks = list(declared()) if declared is not None else list(_outermost_sequentials(model))
    if not blocks:
        raise SettingsError(
            f"train.activation_checkpointing is on, but {type(model).__name__} has no blocks to "
            "checkpoint: it needs a method checkpoint_blocks() or nn.Sequential parts; switch the "
            "setting off"
        )
    for block in blocks:
        block.forward = functools.partial(_recomputed, block, block.forward)
    return len(blocks)


def _recomputed(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(
        forward,
        *args,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _buffers_kept(block)),
        **kwargs,
    )


@contextlib.contextmanager
def _buffers_kept(block: nn.Module) -> Iterator[None]:
    before = [(b, b.clone()) for b in block.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


def _outermost_sequentials(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.Sequential):
            yield child
        else:
            yield from _outermost_sequentials(child)
