"""Exponential moving average of the weights, kept where the weights are (sharded with ZeRO 3)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from eagleray.train.strategies import Strategy


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
