"""What the loop needs from a strategy: a step, and state by parameter name whatever the sharding;
and the moving average, which is kept where the weights are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eagleray.task import Phase, StepContext
from eagleray.train.optimizer import LossScale, PhaseOptimizer
from eagleray.train.step import seed_step

Moments = dict[str, dict[str, Tensor]]
"""Optimizer state by parameter name and torch's state key; full tensors on the CPU, ``step`` is
0-d.
"""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one optimizer step did.

    Args:
        terms: Global value of each loss, averaged over micro-batches, 0-d on the device.
        total: Global loss, averaged over micro-batches, 0-d on the device.
        grad_norm: Global L2 norm of the gradient before clipping; not finite if the step was
            skipped.
        applied: Whether the weights were changed.
    """

    terms: dict[str, Tensor]
    total: Tensor
    grad_norm: float
    applied: bool


class Strategy(ABC):
    """One phase of training on this process. All methods are called by all ranks alike.

    Args:
        model: The task's model, on its device.
        optimizer: The phase's optimizer over its parameters.
        phase: The phase.
    """

    def __init__(self, model: nn.Module, optimizer: PhaseOptimizer, phase: Phase) -> None:
        self.model = model
        self.optimizer = optimizer
        self.phase = phase
        self.loss_scale = LossScale(enabled=phase.precision == "fp16")
        self.world_size = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0

    def train_step(
        self,
        micro_batches: Sequence[tuple[Any, StepContext]],
        rates: Sequence[float],
    ) -> StepResult:
        """Run forward and backward on the micro-batches and update the weights once.

        Args:
            micro_batches: Batches on the device with their contexts, at least one.
            rates: Learning rate of every parameter group.
        """
        count = len(micro_batches)
        terms: dict[str, Tensor] = {}
        total: Tensor | None = None
        for number, (batch, context) in enumerate(micro_batches):
            seed_step(context, number, self.rank)
            part_terms, part_total = self._forward_backward(batch, context, number, count)
            for name, value in part_terms.items():
                terms[name] = terms[name] + value / count if name in terms else value / count
            total = part_total / count if total is None else total + part_total / count
        if total is None:
            raise ValueError("a step needs at least one micro-batch")
        grad_norm, applied = self._update(rates)
        self.loss_scale.update(applied=applied)
        return StepResult(terms, total, grad_norm, applied)

    @abstractmethod
    def _forward_backward(
        self, batch: Any, context: StepContext, number: int, count: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Add the gradient of micro-batch ``number`` of ``count``; return global loss values."""

    @abstractmethod
    def _update(self, rates: Sequence[float]) -> tuple[float, bool]:
        """Clip, step and clear the gradients; return their norm and whether the step was
        applied.
        """

    @abstractmethod
    def moments(self) -> Moments:
        """Return the optimizer's state (collective); complete on rank 0."""

    @abstractmethod
    def load_moments(self, moments: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over an optimizer's state written by any strategy with any number of workers."""

    def local(self, parameter: nn.Parameter) -> Tensor:
        """Return the part of a parameter that lives in this process."""
        return parameter.data

    def assemble(self, parameter: nn.Parameter, local: Tensor) -> Tensor:
        """Return the whole parameter from the parts of all ranks (collective)."""
        return local

    def shard(self, parameter: nn.Parameter, whole: Tensor) -> Tensor:
        """Return this process's part of a whole parameter."""
        return whole

    @property
    def is_sharded(self) -> bool:
        """Whether the model's own parameters are incomplete in this process."""
        return False

    def whole_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all parameters by name, whole (collective), tied ones under each of their names."""
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            yield name, self.assemble(parameter, self.local(parameter))

    def sync_buffers(self) -> None:
        """Give all ranks the buffers of rank 0 (running statistics differ without synchronized
        norms).
        """
        if self.world_size > 1:
            for buffer in self.model.buffers():
                dist.broadcast(buffer, src=0)

    def close(self) -> None:
        """Free what the strategy holds."""


def torch_moments(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> Moments:
    """Return the state of an ordinary torch optimizer by parameter name, on the CPU."""
    return {
        name: {k: cpu_copy(v) for k, v in optimizer.state[p].items() if isinstance(v, Tensor)}
        for p, name in names.items()
        if p in optimizer.state
    }


def load_torch_moments(
    optimizer: torch.optim.Optimizer,
    names: Mapping[nn.Parameter, str],
    moments: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Put state by parameter name into an ordinary torch optimizer."""
    for parameter, name in names.items():
        if name in moments:
            optimizer.state[parameter] = {
                k: v.clone() if k == "step" else v.to(parameter.device, parameter.dtype, copy=True)
                for k, v in moments[name].items()
            }


def cpu_copy(value: Tensor) -> Tensor:
    """Return a copy in CPU memory that shares nothing with training."""
    return value.detach().to("cpu", copy=True).contiguous()


class MovingAverage:
    """``average = decay * average + (1 - decay) * weights`` after each applied step, over all
    trained parameters.

    Args:
        strategy: Holds the weights; the average begins as a copy of them.
        decay: Decay per step.
    """

    def __init__(self, strategy: Strategy, decay: float) -> None:
        self._strategy, self._decay = strategy, decay
        self._parameters = {n: p for n, p in strategy.model.named_parameters() if p.requires_grad}
        self._average = {n: strategy.local(p).clone() for n, p in self._parameters.items()}

    def update(self) -> None:
        """Take in the weights of one more step."""
        now = [self._strategy.local(p) for p in self._parameters.values()]
        torch._foreach_lerp_(list(self._average.values()), now, 1.0 - self._decay)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from averaged weights, whole, by name."""
        for name, parameter in self._parameters.items():
            if name in weights:
                part = self._strategy.shard(parameter, weights[name].to(self._average[name].device))
                self._average[name].copy_(part.reshape_as(self._average[name]))

    def whole(self, name: str) -> Tensor | None:
        """Return the averaged parameter, whole (collective); None for one that is not trained."""
        if name not in self._parameters:
            return None
        return self._strategy.assemble(self._parameters[name], self._average[name])


def evaluated_state(
    strategy: Strategy, average: MovingAverage | None
) -> Iterator[tuple[str, Tensor]]:
    """Yield what is evaluated, by name of the model's state dict (collective).

    Parameters are whole, and averaged where the phase keeps an average; buffers are as they are.
    """
    parameters = set()
    for name, value in strategy.whole_parameters():
        parameters.add(name)
        averaged = average.whole(name) if average is not None else None
        yield name, value if averaged is None else averaged
    for name, value in strategy.model.state_dict().items():
        if name not in parameters and isinstance(value, Tensor):
            yield name, value


def fill_model(model: nn.Module, strategy: Strategy, average: MovingAverage | None) -> None:
    """Copy what is evaluated into another instance of the model (collective)."""
    own = dict(model.state_dict())
    for name, value in evaluated_state(strategy, average):
        own[name].copy_(value)
