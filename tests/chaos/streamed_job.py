"""Training on streamed rows in a process of its own:
``python -m tests.chaos.streamed_job STORAGE MARKS``.
"""

from __future__ import annotations

import sys
from typing import Any

import tests.conftest  # noqa: F401  (the environment that Ray is started in)
from tests.eagleray.train.streaming_task import StreamedTask

import eagleray.api
from eagleray.api import Experiment
from eagleray.experiment import load

STEPS = 24


def settings(storage: str, marks: str, mode: str) -> dict[str, Any]:
    return {
        "task": "squares",
        "storage": storage,
        "prepare": {"materialise": mode, "workers": 2, "ahead": 8, "cache_gb": 0.0},
        "settings": {"steps": STEPS, "count": 16, "seconds": 0.1, "touched": marks},
        "train": {"log_every": 1, "checkpoint_every": 4},
    }


if __name__ == "__main__":
    for module in (load, eagleray.api):
        module.task_type = lambda name: StreamedTask  # type: ignore[attr-defined]
    Experiment.from_values(settings(sys.argv[1], sys.argv[2], "streamed")).train()
