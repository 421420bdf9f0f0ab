"""The update of a phase: ours from ``torch.optim`` for every strategy, its learning rate, and the
loss scale of float16.

The learning rate is a stateless function of the step, so that resuming needs no scheduler state. It
covers the published recipes: warm-up and "one call late" multistep or poly (Seamless), linear
warm-up and step drops (EfficientPS), poly to zero (OPS), cosine with absolute ends (POP-3D), cosine
held over epochs (OmniSeg3D).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from eagleray.task import ParameterGroup, Phase, Schedule, SettingsError


@dataclass(frozen=True)
class PhaseOptimizer:
    """A torch optimizer and what is needed to set its learning rates.

    Args:
        optimizer: One parameter group per group that has parameters.
        base_lrs: Base learning rate of each parameter group.
        names: Names of the trained parameters, in the order of the groups.
    """

    optimizer: torch.optim.Optimizer
    base_lrs: tuple[float, ...]
    names: tuple[str, ...]

    def rates(self, phase: Phase, step: int, total_steps: int) -> list[float]:
        """Return the learning rate of every parameter group at a step of the phase."""
        return [learning_rate(phase.schedule, lr, step, total_steps) for lr in self.base_lrs]


def build_optimizer(
    model: nn.Module, groups: Sequence[ParameterGroup], phase: Phase
) -> PhaseOptimizer:
    """Freeze what is in no group and build the phase's optimizer over the rest.

    Args:
        model: The task's model; ``requires_grad`` of its parameters is set.
        groups: What is trained, by parameter name.
        phase: Update rule and its settings.

    Raises:
        SettingsError: A name is unknown or in two groups, or nothing is trained.
    """
    parameters = dict(model.named_parameters())
    names = tuple(n for g in groups for n in g.names)
    unknown = sorted(set(names) - set(parameters))
    twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if unknown or twice or not names:
        what = (
            f"names parameters that the model does not have: {unknown[:5]}"
            if unknown
            else f"names parameters twice: {twice[:5]}"
            if twice
            else "trains nothing: it names no parameters"
        )
        raise SettingsError(
            f"phase {phase.name!r} {what}; correct parameter_groups() of the task, which may use "
            f"any of the {len(parameters)} names of model.named_parameters(), each once"
        )
    trained = set(names)
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)
    used = [g for g in groups if g.names]
    arguments = [
        {
            "params": [parameters[n] for n in g.names],
            "lr": phase.lr * g.lr_factor,
            "weight_decay": phase.weight_decay * g.weight_decay_factor,
        }
        for g in used
    ]
    return PhaseOptimizer(
        _construct(arguments, phase), tuple(phase.lr * g.lr_factor for g in used), names
    )


def _construct(arguments: list[dict[str, object]], phase: Phase) -> torch.optim.Optimizer:
    match phase.optimizer:
        case "sgd":
            return torch.optim.SGD(
                arguments, lr=phase.lr, momentum=phase.momentum, nesterov=phase.nesterov
            )
        case "adam":
            return torch.optim.Adam(arguments, lr=phase.lr, betas=phase.betas, eps=phase.eps)
        case "adamw":
            return torch.optim.AdamW(arguments, lr=phase.lr, betas=phase.betas, eps=phase.eps)


def multiplier(schedule: Schedule, step: int, total_steps: int) -> float:
    """Return the factor of the base learning rate at clock ``step``.

    Args:
        schedule: What to compute; ``end_lr`` and ``warmup_start_lr`` are not looked at
        (``learning_rate``).
        step: Value of the schedule's clock t, not shifted by ``first_step``.
        total_steps: Length of the phase in optimizer steps.

    Example:
        >>> multiplier(Schedule(kind="multistep", milestones=(30,)), 30, 100)
        0.1
    """
    if schedule.warmup_steps > 0:
        if step < schedule.warmup_steps + schedule.warmup_reaches_base:
            start = schedule.warmup_start
            return step / schedule.warmup_steps * (1.0 - start) + start
        step -= schedule.lag_steps
    return _shape(schedule, step // schedule.hold_steps * schedule.hold_steps, total_steps)


def learning_rate(schedule: Schedule, base_lr: float, step: int, total_steps: int) -> float:
    """Return the learning rate of a parameter group for an optimizer step.

    Args:
        schedule: What to compute.
        base_lr: The group's base learning rate.
        step: Optimizer step within the phase, from 0; the clock is ``max(0, step +
        schedule.first_step)``.
        total_steps: Length of the phase in optimizer steps.
    """
    if base_lr == 0.0:
        return 0.0
    factors: dict[str, float] = {}
    if schedule.end_lr is not None:
        factors["end_factor"] = schedule.end_lr / base_lr
    if schedule.warmup_start_lr is not None:
        factors["warmup_start"] = schedule.warmup_start_lr / base_lr
    if factors:
        schedule = schedule.model_copy(update=factors)
    return base_lr * multiplier(schedule, max(0, step + schedule.first_step), total_steps)


def _shape(schedule: Schedule, step: int, total_steps: int) -> float:
    part = min(step / total_steps, 1.0)
    match schedule.kind:
        case "constant":
            return 1.0
        case "poly":
            return float((1.0 - part) ** schedule.power)
        case "cosine":
            end = schedule.end_factor
            return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * part))
        case "linear":
            return schedule.start_factor + (schedule.end_factor - schedule.start_factor) * part
        case "step":
            return float(schedule.gamma ** (step // schedule.step_size))
        case "multistep":
            at = (
                *schedule.milestones,
                *(f * total_steps for f in schedule.milestone_fractions),
            )
            return float(schedule.gamma ** sum(m <= step for m in at))


INITIAL_SCALE = 65536.0
"""Starting value, growth and backoff are those of ``torch.amp.GradScaler``."""
GROWTH_FACTOR = 2.0
BACKOFF_FACTOR = 0.5
GROWTH_INTERVAL = 2000


@dataclass
class LossScale:
    """Factor of the loss before the backward pass; 1 and constant unless ``enabled``."""

    enabled: bool
    value: float = 1.0
    good_steps: int = 0

    def __post_init__(self) -> None:
        if self.enabled and self.value == 1.0:
            self.value = INITIAL_SCALE

    @property
    def calibrating(self) -> bool:
        """Whether a gradient that is not finite may just mean that the scale is too large."""
        return self.enabled and self.value > 1.0

    def update(self, *, applied: bool) -> None:
        """Shrink after a skipped step, grow after many good ones."""
        if not self.enabled:
            return
        if not applied:
            self.value, self.good_steps = max(self.value * BACKOFF_FACTOR, 1.0), 0
            return
        self.good_steps += 1
        if self.good_steps == GROWTH_INTERVAL:
            self.value, self.good_steps = self.value * GROWTH_FACTOR, 0
