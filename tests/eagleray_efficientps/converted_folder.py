"""Prepares a data set so that it is written in the original's converted layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.eagleray_efficientps.small_network import cityscapes_settings

from eagleray.api import Experiment
from eagleray.prepare import Prepared


def convert(
    root: Path, storage: Path, folder: Path, *, inline: bool = True, **data: Any
) -> Prepared:
    """Prepare with conversion, and return the prepared rows and summaries."""
    settings = cityscapes_settings(root).model_dump(mode="json")
    settings["data"] |= {"convert": {"folder": str(folder)}, **data}
    values = {
        "task": "efficientps",
        "name": "convert",
        "storage": str(storage),
        "settings": settings,
        "device": "cpu",
        "prepare": {"workers": 2, "items_per_shard": 1},
    }
    return Experiment.from_values(values, inline=inline).prepare()
