"""Stopping at a step border: Ctrl-C, SIGTERM or a file ``stop`` in the run's folder, agreed by all
ranks.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

import torch
import torch.distributed as dist

from eagleray.storage import Store

STOP_FILE = "stop"
_LOOK_EVERY_S = 0.5


class StopFlag:
    """Collects wishes to stop; as a context manager it also takes SIGINT and SIGTERM (in a main
    thread).

    Args:
        run: The run's folder; rank 0 looks for the stop file in it.
        rank: This process.
        device: Where collectives of the process group work.
    """

    def __init__(self, run: Store, rank: int, device: torch.device) -> None:
        self._run, self._rank, self._device = run, rank, device
        self._wanted = False
        self._looked = -_LOOK_EVERY_S
        self._old: dict[int, object] = {}

    def __enter__(self) -> StopFlag:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._old = {}

    def agreed(self) -> bool:
        """Return whether any rank wants to stop; called by all ranks at the same step border.

        A signal reaches ranks at different steps. If one left at once, the others would wait for it
        in the next collective; so a wish is spread first, and all leave after the same step.
        """
        now = time.monotonic()
        if self._rank == 0 and not self._wanted and now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            self._wanted = self._run.exists(STOP_FILE)
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return self._wanted
        flag = torch.tensor([int(self._wanted)], device=self._device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._wanted = True


def request_stop(run: Store) -> None:
    """Ask the run's workers to write a checkpoint and end."""
    run.write(STOP_FILE, b"")


def clear_stop(run: Store) -> None:
    """Forget an earlier request."""
    run.delete(STOP_FILE)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does (in a main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
