"""How a step is computed and state is spread: ``single``, ``ddp``, ``deepspeed``."""

from __future__ import annotations

import torch
from torch import nn

from eagleray.experiment.schema import TrainSettings
from eagleray.task import Phase
from eagleray.train.optimizer import PhaseOptimizer
from eagleray.train.step import Losses
from eagleray.train.strategies.base import Moments, MovingAverage, StepResult, Strategy
from eagleray.train.strategies.deepspeed_environment import prepare_deepspeed
from eagleray.train.strategies.native import NativeStrategy

__all__ = ["Moments", "MovingAverage", "StepResult", "Strategy", "build_strategy"]


def build_strategy(
    settings: TrainSettings,
    model: nn.Module,
    optimizer: PhaseOptimizer,
    phase: Phase,
    losses: Losses,
    num_micro_batches: int,
) -> Strategy:
    """Return the strategy that the settings ask for.

    Args:
        settings: The experiment's training settings.
        model: The task's model on its device, with the weights to begin with.
        optimizer: The phase's optimizer over its parameters.
        phase: The phase.
        losses: ``Training.losses``.
        num_micro_batches: Forward passes per step.
    """
    if settings.strategy == "deepspeed":
        prepare_deepspeed(on_gpu=torch.cuda.is_available() and next(model.parameters()).is_cuda)
        from eagleray.train.strategies.deepspeed import DeepSpeedStrategy

        return DeepSpeedStrategy(
            model,
            optimizer,
            phase,
            losses,
            zero_stage=settings.zero_stage,
            offload_optimizer=settings.offload_optimizer,
            num_micro_batches=num_micro_batches,
        )
    return NativeStrategy(model, optimizer, phase, losses, ddp=settings.strategy == "ddp")
