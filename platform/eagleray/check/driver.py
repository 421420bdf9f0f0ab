"""The whole check of a task, in the order of an experiment, in a folder that is thrown away."""

from __future__ import annotations

import pickle
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from eagleray.check.evaluation import Pictures, check_evaluation
from eagleray.check.findings import CheckReport
from eagleray.check.prediction import check_import, check_prediction
from eagleray.check.stages import check_stages
from eagleray.check.training import build_model, check_fit_weights, check_training
from eagleray.storage import Store
from eagleray.task import (
    BaseTask,
    Evaluation,
    Importing,
    ModelTask,
    Phase,
    Prediction,
    SettingsError,
    Training,
)


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How much is checked.

    Args:
        items: Items per stage, units per benchmark, files that are predicted.
        inputs: A user's own files for ``predict``; by default the benchmarks' own pictures.
        published: Weights as the original publishes them, for the import.
    """

    items: int = 4
    inputs: tuple[Path, ...] = ()
    published: Path | None = None


def check(
    task: BaseTask,
    phases: Sequence[Phase] | None = None,
    options: CheckOptions = CheckOptions(),
) -> CheckReport:
    """Call a task's hooks as the engine would, on a few items, and say what breaks the contract.

    Nothing is left behind but what the task's own stages write elsewhere.

    Args:
        task: The task.
        phases: Its training phases as an experiment overrides them; by default the task's own.
        options: How much is checked.

    Raises:
        SettingsError: Something that the task needs is not there.
    """
    missing = [r for r in task.requirements() if not (r.found or r.optional or r.training_only)]
    if missing:
        listing = "\n".join(f"  {r.name}: {r.hint}" for r in missing)
        raise SettingsError(f"task {task.name!r} does not find what it needs:\n{listing}")
    report = CheckReport()
    with tempfile.TemporaryDirectory(prefix="eagleray-check-") as folder, _global_state_kept():
        _check_all(task, phases, options, Path(folder), report)
    return report


def _check_all(
    task: BaseTask,
    phases: Sequence[Phase] | None,
    options: CheckOptions,
    folder: Path,
    report: CheckReport,
) -> None:
    with report.checking("it can be pickled", "task"):
        task = pickle.loads(pickle.dumps(task))
    rows = check_stages(task, Store(str(folder / "prepared")), options.items, report)
    if any(finding.where.startswith("stage") for finding in report.findings):
        report.skip("training, evaluation, prediction", "mend the stages first")
        return
    torch.manual_seed(0)
    model: nn.Module | None = None
    if isinstance(task, Training):
        own = list(task.phases()) if phases is None else phases
        model = check_training(task, own, rows, options.items, report)
        if model is not None:
            check_fit_weights(task, model, report)
    elif isinstance(task, ModelTask):
        model = build_model(task, report)
    pictures = Pictures()
    if isinstance(task, Evaluation) and model is not None:
        pictures = check_evaluation(task, model, rows, options.items, report)
    if isinstance(task, Prediction) and model is not None:
        paths = options.inputs or _as_files(pictures, folder / "inputs")
        check_prediction(
            task,
            model,
            paths,
            folder / "exports",
            options.items,
            report,
            are_stand_ins=not options.inputs,
        )
    if isinstance(task, Importing):
        check_import(task, model, options.published, folder, report)


def _as_files(pictures: Pictures, folder: Path) -> tuple[Path, ...]:
    folder.mkdir()
    for index, content in enumerate(pictures.inputs):
        (folder / f"input-{index}.png").write_bytes(content)
    return tuple(sorted(folder.iterdir()))


@contextmanager
def _global_state_kept() -> Iterator[None]:
    """Put back the global random states, which hooks are called with on purpose."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
