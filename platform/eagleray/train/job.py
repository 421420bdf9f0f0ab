"""What a training process is told, where it stands, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from eagleray.experiment.schema import ExperimentSettings
from eagleray.storage import Store
from eagleray.task import EaglerayError, Phase, Rows, SettingsError, Training

Report = Callable[[Mapping[str, float]], None]
"""Told about metrics at validations and at the end of phases, by all ranks alike."""


WORKER_SETTINGS = "train.num_workers, train.cpus_per_worker"
"""What to change where training finds no room."""


class TrainingError(EaglerayError, RuntimeError):
    """Training failed; the message begins with the trace of the rank that failed first."""


@dataclass(frozen=True)
class TrainJob:
    """What a training process is told; picklable.

    Args:
        experiment: The experiment.
        task: Its task.
        run: The run's folder.
        rows: Rows of the prepared stages by label.
        limit: At most so many optimizer steps per phase; schedules keep their full length.
    """

    experiment: ExperimentSettings
    task: Training
    run: Store
    rows: Mapping[str, Rows]
    limit: int | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The experiment's phases, or the task's own.

        Raises:
            SettingsError: There are none, or two have the same name.
        """
        phases = self.experiment.train.phases or tuple(self.task.phases())
        names = [p.name for p in phases]
        if not names or len(set(names)) < len(names):
            raise SettingsError(
                f"task {self.task.name!r} has training phases {names}: at least one is needed, "
                "with names of their own"
            )
        return phases


@dataclass(frozen=True)
class Place:
    """Where this process stands among the training processes.

    Args:
        rank: Its number.
        world_size: How many there are.
        device: Where its model runs.
    """

    rank: int
    world_size: int
    device: torch.device


@dataclass(frozen=True)
class TrainOutcome:
    """How training ended in this process.

    Args:
        finished: False if it was stopped.
        phase: Name of the last phase worked on.
        step: Optimizer steps done in all phases.
        metrics: Latest metrics of training and validation.
    """

    finished: bool
    phase: str
    step: int
    metrics: Mapping[str, float]
