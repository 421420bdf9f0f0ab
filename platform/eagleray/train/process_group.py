"""A process group of one process, for ``ddp`` and ``deepspeed`` in the caller's own process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist

from eagleray.experiment.schema import ExperimentSettings
from eagleray.task import SettingsError


@contextlib.contextmanager
def lone_process_group(strategy: str) -> Iterator[None]:
    """Open a gloo group of world size 1 if the strategy needs one and there is none already.

    It is closed afterwards, but for DeepSpeed, which keeps references to the first group it sees
    and cannot work with a second one in the same process.

    Args:
        strategy: ``single``, ``ddp`` or ``deepspeed``.
    """
    if strategy == "single" or dist.is_initialized():
        yield
        return
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    if strategy == "deepspeed":
        os.environ.setdefault("LOCAL_RANK", "0")
        yield
        return
    try:
        yield
    finally:
        dist.destroy_process_group()


def wants_gpu(experiment: ExperimentSettings) -> bool:
    """Return whether models run on GPUs here.

    Raises:
        SettingsError: CUDA is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if experiment.device == "cuda" and not available:
        raise SettingsError(
            "device is 'cuda', but this machine has no CUDA device that torch can use: set device "
            "to auto or cpu"
        )
    return available and experiment.device != "cpu"
