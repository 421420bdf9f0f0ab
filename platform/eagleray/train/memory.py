"""Saving memory: activation checkpointing, and how much memory was used at most."""

from __future__ import annotations

import contextlib
import functools
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from eagleray.task import SettingsError


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


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory used so far in MB: allocated on a GPU, else resident in this
    process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


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
