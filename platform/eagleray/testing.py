"""For a plugin's own tests: the contract, tried out on a few items.

Example:
    >>> from eagleray.testing import check_task
    >>> assert check_task("experiment.yaml") == []  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eagleray.api import Experiment
from eagleray.check import CheckOptions, Finding, check
from eagleray.task import BaseTask

__all__ = ["Finding", "check_task"]


def check_task(
    task: BaseTask | Experiment | str | Path,
    *,
    items: int = 4,
    inputs: Sequence[str | Path] = (),
    published: str | Path | None = None,
) -> list[Finding]:
    """Call a task's hooks as the engine would, on a few items; return what breaks the contract.

    Args:
        task: A task with its settings, an experiment, or an experiment's file.
        items: Items per stage, units per benchmark, files that are predicted.
        inputs: Own files for ``predict``; by default the pictures called ``input`` of benchmarks.
        published: Weights as the original publishes them, for the import.

    Raises:
        SettingsError: The file is wrong, or something that the task needs is not there.
    """
    if isinstance(task, str | Path):
        task = Experiment.from_file(task, inline=True)
    options = CheckOptions(
        items, tuple(map(Path, inputs)), None if published is None else Path(published)
    )
    if isinstance(task, Experiment):
        return check(task.task, task.settings.train.phases, options).findings
    return check(task, None, options).findings
