"""How the work is done, as opposed to what is computed: made once, where a command or a call of the
Python API begins, and handed on whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from eagleray.contract.errors import SettingsError
from eagleray.progress import Progress, Silent
from eagleray.scheduling import LazySession

OtherCode = Literal["tell", "again", "keep"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where and with how much a job runs; results do not depend on it (apart from ``limit``).

    Args:
        inline: Work in this very process, without Ray.
        limit: Work on the first few items only (in training: optimizer steps per phase).
        device: Where models run; ``auto`` takes the GPUs if there are any.
        workers: How many processes work; None for as many as fit on the machine.
        progress: Told about the work.
        session: Ray session that several jobs share; None for one of their own.
        other_code: What becomes of results that other code has made: they are used and a line says
            so (``tell``), computed ``again``, or from now on taken for this code's (``keep``).
        retry_rejects: Go once more over the items that were rejected.
    """

    inline: bool = False
    limit: int | None = None
    device: Device = "auto"
    workers: int | None = None
    progress: Progress = field(default_factory=Silent)
    session: LazySession | None = None
    retry_rejects: bool = False
    other_code: OtherCode = "tell"

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise SettingsError(
                f"limit is {self.limit}, allowed is 1 or more; leave it out to work on everything"
            )

    def with_workers(self, workers: int | None) -> RunOptions:
        """Return the same options for a job of so many workers."""
        return replace(self, workers=workers)
