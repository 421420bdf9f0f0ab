"""Weights that come from a file and that training leaves as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FrozenFile:
    """A file of weights that a model holds beside those that are trained (a frozen CLIP).

    Checkpoints name it by its checksum and leave out its tensors, as long as no phase trains or
    changes them; ``eagleray export`` makes one file that holds everything.

    Args:
        name: What the task calls it (``clip``), wherever the file lies; checkpoints use this name.
        path: Where these settings say that it is; it need not be there.
        hint: What to do where it is not; names ``eagleray download NAME`` where there is one.
    """

    name: str
    path: Path
    hint: str
