"""What an item goes through on a device, and what becomes of its errors: alike where shards are
committed and where rows are computed when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from eagleray.prepare.faults import Fault, TransientError, is_out_of_memory, persistently
from eagleray.task import EaglerayError, InputError, Stage, is_transient

_ERROR_CHARACTERS = 2000
"""Longest error text kept in a marker."""

Failed = str | Fault
"""Why an item gave no records: the error text that rejects it, or a mistake in the code."""

T = TypeVar("T")


class DeviceLostError(BaseException):
    """The GPU failed for good; not an Exception, so that no item after it is rejected for it."""


def describe_error(error: BaseException) -> str:
    """Return an error's type and message, as rejects carry it."""
    text = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
    return text.encode("utf-8", "backslashreplace").decode()


def judge(label: str, key: str, where: str, error: Exception) -> Failed:
    """Return what an error makes of an item: an error text for bad data, else a fault.

    Args:
        label: The stage.
        key: The item.
        where: What stays undone, for messages.
        error: What ``load``, ``process`` or ``encode`` raised.

    Raises:
        TransientError: A later try may mend it.
        EaglerayError: It is no fault of the item's, so that the job ends.
    """
    if isinstance(error, InputError):
        return describe_error(error)
    if isinstance(error, EaglerayError):
        raise error
    if is_transient(error):
        raise TransientError(
            f"{label}: storage or network do not answer at item {key!r} of {where} after several "
            f"tries ({describe_error(error)}): see that they can be reached and give the same "
            "command again"
        ) from error
    if is_out_of_memory(error):
        raise TransientError(
            f"{label}: memory does not suffice for item {key!r} of {where} after several tries "
            f"({describe_error(error)}): let fewer workers run beside each other (prepare.workers, "
            "Resources.memory_gb), or use a machine with more memory, and give the same command "
            "again"
        ) from error
    return Fault.of(key, error)


def process_batch(
    stage: Stage, samples: Sequence[Any], failed: Callable[[int, Exception], T]
) -> list[Any | T]:
    """Return what each sample came to, or what ``failed`` makes of its position and error; a batch
    that raises goes sample by sample.

    Raises:
        DeviceLostError: The device failed, so that this process can compute nothing more.
    """
    try:
        # a batch that is too large is split at once; one sample may find memory later
        outcome = persistently(lambda: stage.process(samples), memory=len(samples) == 1)
        if len(outcome) != len(samples):
            raise InputError(
                f"process returned {len(outcome)} lists of records for {len(samples)} samples"
            )
        return list(outcome)
    except torch.AcceleratorError as error:
        raise DeviceLostError(describe_error(error)) from error
    except Exception as error:
        if len(samples) == 1:
            return [failed(0, error)]
    outcomes = []
    for position, sample in enumerate(samples):

        def failed_here(_: int, error: Exception, position: int = position) -> T:
            return failed(position, error)

        outcomes += process_batch(stage, [sample], failed_here)
    return outcomes
