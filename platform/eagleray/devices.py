"""Moving what a task gives to the device of its model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn


def device_of(model: nn.Module) -> torch.device:
    """Return where a model lies: its first parameter or buffer; the CPU where it has none."""
    for tensor in chain(model.parameters(), model.buffers()):
        return tensor.device
    return torch.device("cpu")


def to_device(batch: Any, device: torch.device, channels_last: bool = False) -> Any:
    """Return a batch or sample with all its tensors on the device; itself where they are there.

    Args:
        batch: Tensors, or nested dataclasses, named tuples, tuples, lists and mappings of them;
            other values are kept.
        device: Where to.
        channels_last: Give 4-D floating tensors that memory format.
    """
    if isinstance(batch, Tensor):
        if channels_last and batch.dim() == 4 and batch.is_floating_point():
            return batch.to(device, non_blocking=True, memory_format=torch.channels_last)
        return batch.to(device, non_blocking=True)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        names = [f.name for f in dataclasses.fields(batch) if f.init]
        before = [getattr(batch, name) for name in names]
        after = _moved(before, device, channels_last)
        return (
            batch
            if after is None
            else dataclasses.replace(batch, **dict(zip(names, after, strict=True)))
        )
    if isinstance(batch, dict):
        after = _moved(list(batch.values()), device, channels_last)
        return batch if after is None else dict(zip(batch, after, strict=True))
    if isinstance(batch, (list, tuple)):
        after = _moved(batch, device, channels_last)
        if after is None:
            return batch
        kind = cast("type[Any]", type(batch))
        return kind(*after) if hasattr(batch, "_fields") else kind(after)
    return batch


def _moved(values: Sequence[Any], device: torch.device, channels_last: bool) -> list[Any] | None:
    """Return the values on the device, None where nothing had to be moved."""
    after = [to_device(value, device, channels_last) for value in values]
    return None if all(a is b for a, b in zip(values, after, strict=True)) else after
