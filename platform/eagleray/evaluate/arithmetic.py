"""How a model computes in evaluation and prediction: autocast over float32 weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from eagleray.experiment.schema import EvaluateSettings

Precision = Literal["fp32", "bf16", "fp16"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a trained model computes; its weights stay float32, as they are in training.

    Args:
        precision: Of layers that autocast takes for safe.
        channels_last: Keep 4-D weights in channels-last order.
        compile: Run the model through ``torch.compile``.
    """

    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False

    @classmethod
    def of(cls, settings: EvaluateSettings) -> Arithmetic:
        """Return what an experiment asks for."""
        return cls(settings.precision, settings.channels_last, settings.compile)

    def apply(self, model: nn.Module) -> None:
        """Prepare a model that is on its device; ``autocast`` is for its calls."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.compile:
            model.compile()

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context in which ``predict`` is called."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(device.type, _DTYPES[self.precision])
