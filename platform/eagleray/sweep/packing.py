"""How many trials run at a time: whole groups of workers, so that no two trials wait for each
other's resources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from eagleray.experiment.schema import ExperimentSettings
from eagleray.scheduling import Machine, WorkerGroup, fit_workers, num_places
from eagleray.task import Resources


def trial_group(experiment: ExperimentSettings, machine: Machine) -> WorkerGroup:
    """Return the workers that one trial takes.

    An elastic group counts with its least number of workers.

    Raises:
        SchedulingError: They can never fit on the machine.
    """
    train = experiment.train
    asked = train.num_workers if isinstance(train.num_workers, int) else min(train.num_workers)
    gpus = 0.0 if experiment.device == "cpu" else train.gpus_per_worker
    worker = Resources(cpus=train.cpus_per_worker, gpus=gpus)
    return fit_workers(machine, worker, device=experiment.device, asked=asked, what="a trial")


def trials_at_once(machine: Machine, groups: Sequence[WorkerGroup], asked: int | None) -> int:
    """Return how many trials run at a time.

    Every worker takes one of the places that the machine has for the largest worker of all trials;
    so many trials that each finds places for its whole group never block one another.

    Args:
        machine: What is there.
        groups: The trials' groups, at least one.
        asked: What the user wants; more than fit are not given.

    Example:
        >>> from eagleray.scheduling import Node
        >>> group = WorkerGroup(2, cpus=4, gpus=1, memory_gb=0, device="cuda")
        >>> trials_at_once(Machine((Node(64, 8), Node(64, 8))), [group], None)
        8
    """
    largest = replace(
        groups[0],
        num_workers=max(group.num_workers for group in groups),
        cpus=max(group.cpus for group in groups),
        gpus=max(group.gpus for group in groups),
    )
    fitting = max(1, num_places(machine, largest) // largest.num_workers)
    return min(asked or fitting, fitting)
