"""The optimizer of a phase: ours from ``torch.optim`` for every strategy, DeepSpeed's ZeRO
included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from eagleray.task import ParameterGroup, Phase, SettingsError
from eagleray.train.schedule import learning_rate


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
