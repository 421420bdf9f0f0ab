"""Two gloo processes in place of Ray's workers."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_two_processes(work: Callable[..., None], *arguments: Any) -> None:
    """Call a function of a module in both ranks of a group.

    Args:
        work: Called as ``work(rank, *arguments)``.
        arguments: Pickled.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_process, args=(port, work, arguments), nprocs=2)


def _process(rank: int, port: int, work: Callable[..., None], arguments: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    work(rank, *arguments)
    dist.destroy_process_group()
