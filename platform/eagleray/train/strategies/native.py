"""Strategies ``single`` and ``ddp``: plain PyTorch."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from eagleray.task import Phase, StepContext
from eagleray.train.optimizer import PhaseOptimizer
from eagleray.train.step import Losses, StepModule
from eagleray.train.strategies.base import Moments, Strategy, load_torch_moments, torch_moments


class NativeStrategy(Strategy):
    """Whole weights in every process; with ``ddp`` gradients are averaged over ranks during the
    backward pass.

    Args:
        model: The task's model, on its device.
        optimizer: The phase's optimizer over its parameters.
        phase: The phase.
        losses: ``Training.losses``.
        ddp: Wrap the step in DistributedDataParallel; needs a process group.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: PhaseOptimizer,
        phase: Phase,
        losses: Losses,
        *,
        ddp: bool,
    ) -> None:
        super().__init__(model, optimizer, phase)
        named = dict(model.named_parameters())
        self._names = {named[n]: n for n in optimizer.names}
        step = StepModule(model, losses)
        self._ddp: DistributedDataParallel | None = None
        if ddp:
            on_gpu = next(model.parameters()).is_cuda
            with warnings.catch_warnings():
                # torch 2.15 renames broadcast_buffers, which older versions need.
                warnings.simplefilter("ignore", FutureWarning)
                self._ddp = DistributedDataParallel(
                    step,
                    device_ids=[torch.cuda.current_device()] if on_gpu else None,
                    find_unused_parameters=True,
                    broadcast_buffers=False,
                    gradient_as_bucket_view=True,
                )
        self._step: nn.Module = self._ddp or step

    def _forward_backward(
        self, batch: Any, context: StepContext, number: int, count: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        more_to_come = self._ddp is not None and number < count - 1
        with self._ddp.no_sync() if self._ddp and more_to_come else contextlib.nullcontext():
            loss, terms, total = self._step(batch, context)
            (loss * (self.loss_scale.value / count)).backward()
        return terms, total

    def _update(self, rates: Sequence[float]) -> tuple[float, bool]:
        return clip_and_step(
            self.optimizer.optimizer,
            list(self._names),
            rates,
            scale=self.loss_scale.value,
            clip_norm=self.phase.clip_norm,
        )

    def moments(self) -> Moments:
        """Return the optimizer's state; every rank has all of it."""
        return torch_moments(self.optimizer.optimizer, self._names)

    def load_moments(self, moments: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put whole states into the optimizer."""
        load_torch_moments(self.optimizer.optimizer, self._names, moments)


def clip_and_step(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    rates: Sequence[float],
    *,
    scale: float,
    clip_norm: float | None,
) -> tuple[float, bool]:
    """Step with gradients that are whole and alike on all ranks; skip them if they are not finite.

    Args:
        optimizer: Ordinary torch optimizer.
        parameters: What it trains.
        rates: Learning rate of every parameter group.
        scale: Factor that the gradients carry.
        clip_norm: Largest global L2 norm of the true gradient, None for any.

    Returns:
        Norm of the true gradient before clipping, and whether the step was applied.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients)) / scale if gradients else 0.0
    applied = math.isfinite(norm)
    if applied:
        factor = 1.0 / scale
        if clip_norm is not None:
            # The small offset is that of torch.nn.utils.clip_grad_norm_ and of DeepSpeed.
            factor *= min(1.0, clip_norm / (norm + 1e-6))
        if factor != 1.0:
            torch._foreach_mul_(gradients, factor)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm, applied
