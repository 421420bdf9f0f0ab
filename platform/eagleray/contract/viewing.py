"""Interactive functions of a trained task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eagleray.contract.settings import Settings


@dataclass(frozen=True, slots=True)
class Tool:
    """An interactive function behind ``view`` and ``query`` (click, threshold, text query)."""

    name: str
    help: str
    arguments: type[Settings]
    call: Callable[..., Any]
