"""What other ways to keep a task's prepared data would cost: ``plan`` prints it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CostTable:
    """A choice that the settings leave, with the price of each alternative.

    Args:
        title: What is chosen, and the setting that says it.
        columns: Headings.
        rows: One alternative each, as text.
        note: What holds for all of them; may be empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
