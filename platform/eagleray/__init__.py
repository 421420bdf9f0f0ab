"""eagleray: a distributed experiment platform for scene segmentation.

``eagleray.Experiment`` offers the engine's verbs in Python; plugins import ``eagleray.task`` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eagleray.api import Experiment

__version__ = "0.1.0"
__all__ = ["Experiment"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first used, so that plugins can import the contract alone."""
    if name == "Experiment":
        from eagleray.api import Experiment

        return Experiment
    raise AttributeError(f"module 'eagleray' has no attribute {name!r}")
