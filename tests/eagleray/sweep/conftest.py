"""Sweeps of the tiny task, which the tests' path has among the installed ones."""

from __future__ import annotations

from typing import Any

import pytest

from eagleray.experiment.load import make_experiment
from eagleray.experiment.schema import ExperimentSettings


@pytest.fixture
def tiny(tmp_path: Any) -> Any:
    """Return a function from a sweep section to an experiment of the tiny task."""

    def make(sweep: dict[str, Any], **values: Any) -> ExperimentSettings:
        train = {"log_every": 5, "checkpoint_every": 5, **values.pop("train", {})}
        settings = {"steps": 10, **values.pop("settings", {})}
        plain = {"task": "tiny", "name": "quick", "storage": str(tmp_path / "storage"), **values}
        return make_experiment({**plain, "settings": settings, "train": train, "sweep": sweep})

    return make
