"""What goes wrong with an item and is no bad input: a mistake in the task's code, or storage,
network or memory that are not there at the moment.

Bad inputs are rejects (``InputError``), counted and committed. A mistake in code must never become
one: its traceback would be lost and its items would count as done for good. So the shard that it
happens in stays open, and a few of a kind end the job. What a later try may mend is tried again,
first at once, then by another worker behind all other shards, and then left open.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch

from eagleray.task import EaglerayError, is_transient

FAULTS_OF_A_KIND = 3
"""Items with the same type of error at the same line after which a job ends: one may be a strange
item, three are the code."""

_PAUSES_S = (0.2, 1.0, 4.0)
"""Before an item is tried again whose storage did not answer: together longer than most hiccups of
a network file system, short against a shard."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """An item that failed with an error that is no ``InputError``.

    Args:
        key: The item.
        kind: Type of the error and the line that raised it.
        trace: The traceback.
    """

    key: str
    kind: str
    trace: str

    @classmethod
    def of(cls, key: str, error: BaseException) -> Fault:
        """Describe an error that was caught."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
        trace = "".join(traceback.format_exception(error))
        return cls(key, f"{type(error).__name__} at {where}", trace)


class TransientError(EaglerayError):
    """Storage, network or memory were not there for an item: its shard stays open, and a later try
    may succeed.

    Args:
        message: What did not answer, and at which item.
        shard: Id of the shard; empty where there is none.
    """

    def __init__(self, message: str, shard: str = "") -> None:
        self.shard = shard
        super().__init__(message)

    def __reduce__(self) -> tuple[type[TransientError], tuple[str, str]]:
        return (TransientError, (str(self), self.shard))


class FaultError(EaglerayError):
    """Items failed for reasons that are no bad input; the first traceback is part of the message.

    Args:
        label: The stage.
        faults: All of them, in the order in which they came.
    """

    def __init__(self, label: str, faults: Iterable[Fault]) -> None:
        self.label, self.faults = label, tuple(faults)
        first = self.faults[0]
        keys = ", ".join(repr(fault.key) for fault in self.faults[:FAULTS_OF_A_KIND])
        more = ", ..." if len(self.faults) > FAULTS_OF_A_KIND else ""
        super().__init__(
            f"{label}: {len(self.faults)} items failed in the task's own code ({keys}{more}); "
            "their shards stay open, nothing of them counts as done. The first one, "
            f"{first.key!r}:\n\n{first.trace.rstrip()}\n\n"
            "Mend the code and give the same command again; where the data are bad, let it raise "
            "InputError, which makes one reject of the item"
        )

    def __reduce__(self) -> tuple[type[FaultError], tuple[str, tuple[Fault, ...]]]:
        return (FaultError, (self.label, self.faults))


class Faults:
    """The faults of a job or a shard so far.

    Args:
        label: The stage.

    Example:
        >>> faults = Faults("squares")
        >>> for key in "abc":
        ...     try:
        ...         faults.add([Fault(key, "KeyError at task.py:7", "Traceback ...")])
        ...     except FaultError as error:
        ...         print(len(error.faults))
        3
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self.all: list[Fault] = []
        self._counts: dict[str, int] = {}

    def add(self, faults: Iterable[Fault]) -> None:
        """Note faults; raises FaultError as soon as there are a few of a kind."""
        for fault in faults:
            self.all.append(fault)
            self._counts[fault.kind] = self._counts.get(fault.kind, 0) + 1
        if any(count >= FAULTS_OF_A_KIND for count in self._counts.values()):
            self.raise_any()

    def raise_any(self) -> None:
        """Raise FaultError where there is any fault."""
        if self.all:
            raise FaultError(self._label, self.all)


def persistently(call: Callable[[], T], *, memory: bool = True) -> T:
    """Return what ``call`` gives; try it again a few times where storage or network do not answer.

    Args:
        call: What is done.
        memory: Try again too where memory did not suffice: others may have given theirs back.

    Raises:
        Exception: What the last try raised, or an error that no later try mends.
    """
    for pause_s in _PAUSES_S:
        try:
            return call()
        except Exception as error:
            if is_out_of_memory(error):
                if not memory:
                    raise
                free_device_memory()
            elif not is_transient(error):
                raise
        time.sleep(pause_s)
    return call()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the memory of the device or of the machine did not suffice."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError)


def free_device_memory() -> None:
    """Give back what PyTorch keeps of the device's memory without using it."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
