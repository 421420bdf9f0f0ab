"""Stopping at a step border: Ctrl-C, SIGTERM or a file ``stop`` in the run's folder, agreed by all
ranks; and the notice that a machine is about to be taken away, which asks for a checkpoint.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

import torch
import torch.distributed as dist

from eagleray.storage import Store

STOP_FILE = "stop"
_LOOK_EVERY_S = 0.5
_ASK_EVERY_S = 5.0
"""Between two questions whether a machine is being taken away; clouds give 30 s to 2 min notice."""
_ASK, _STOP = 1, 2
"""What ranks agree on at a border; the greatest wish of any of them counts."""

Notice = Callable[[], Collection[str]]
"""Returns which nodes of the group are about to go; all ranks must ask it equally often."""


class StopFlag:
    """Collects wishes to stop; as a context manager it also takes SIGINT and SIGTERM (in a main
    thread).

    Args:
        run: The run's folder; rank 0 looks for the stop file in it.
        rank: This process.
        device: Where collectives of the process group work.
        notice: Tells of nodes that are about to go; None where nobody knows.

    Attributes:
        must_save: A node is about to go that was not before: write a checkpoint at this border.
    """

    def __init__(
        self, run: Store, rank: int, device: torch.device, notice: Notice | None = None
    ) -> None:
        self._run, self._rank, self._device, self._notice = run, rank, device, notice
        self._wanted = False
        self._looked, self._asked = -_LOOK_EVERY_S, -_ASK_EVERY_S
        self._leaving: frozenset[str] = frozenset()
        self.must_save = False
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
        in the next collective; so a wish is spread first, and all leave after the same step. Rank
        0's wish to ask about nodes that go is spread alike, because that is a collective too.
        """
        now = time.monotonic()
        if self._rank == 0 and not self._wanted and now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            self._wanted = self._run.exists(STOP_FILE)
        asks = self._rank == 0 and self._notice is not None and now - self._asked >= _ASK_EVERY_S
        agreed = self._spread(_STOP if self._wanted else _ASK * asks)
        self.must_save = False
        if agreed == _ASK and self._notice is not None:
            self._asked = now
            leaving = frozenset(self._notice())
            self.must_save = bool(leaving - self._leaving)
            self._leaving |= leaving
        return agreed == _STOP

    def _spread(self, wish: int) -> int:
        """Return the greatest wish of all ranks."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return wish
        flag = torch.tensor([wish], device=self._device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return int(flag.item())

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
