"""What must be there before a run starts, and where it is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requirement:
    """What must be there before a run starts (a dataset, a weight file): ``doctor``, ``plan``.

    Args:
        name: What it is.
        found: Whether it is there.
        hint: What to do where it is not; names ``eagleray download NAME`` where there is one.
        training_only: Evaluation and prediction do without it.
        optional: Everything does without it, at a price that the hint names.
        build: Makes it here and now (``doctor --build``); None where a person has to.
        replaced_by_init: Weights to begin with, for which ``train.init_from`` stands in.
    """

    name: str
    found: bool
    hint: str
    training_only: bool = False
    optional: bool = False
    build: Callable[[], object] | None = None
    replaced_by_init: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """A published file by name: ``eagleray download NAME``.

    Args:
        name: Unique over all tasks.
        summary: What it is.
        url: Where it is published.
        license: The license it comes under, and whose terms bind its use besides.
        file: Name under which it is kept.
        checksum: ``sha256:`` or ``md5:`` with the hexadecimal digits that are published (the first
            ones at least); empty where none are.
        num_bytes: Size as published; 0 = unknown.
        by_hand: How a person gets the file where its host wants a browser or a login; empty where
            the URL gives the file itself.
        is_archive: A zip or tar file, unpacked into a folder called ``name``.
    """

    name: str
    summary: str
    url: str
    license: str
    file: str
    checksum: str = ""
    num_bytes: int = 0
    by_hand: str = ""
    is_archive: bool = False
