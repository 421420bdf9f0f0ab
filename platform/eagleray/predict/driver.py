"""Predicting a user's files: choose formats, run the stage, write what a format has only once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from eagleray.experiment.discovery import nearest
from eagleray.experiment.schema import Experiment
from eagleray.predict.stage import PredictSettings, PredictStage
from eagleray.prepare import run_stage, stage_fingerprint
from eagleray.results.progress import Progress
from eagleray.storage import Store
from eagleray.task import SettingsError, Task

_WORK_FOLDER = ".eagleray"


@dataclass(frozen=True, slots=True)
class PredictSummary:
    """What a prediction job did.

    Args:
        items: Files found.
        rejected: Key and error of the files that could not be used.
        files: Relative paths of everything written.
    """

    items: int
    rejected: Sequence[tuple[str, str]]
    files: Sequence[str]


def predict_files(
    experiment: Experiment,
    task: Task,
    weights: Path,
    paths: Sequence[Path],
    output: Store,
    formats: Sequence[str],
    *,
    limit: int | None = None,
    inline: bool = False,
    progress: Progress,
) -> PredictSummary:
    """Run a trained task on files and export the predictions.

    Args:
        experiment: Gives device, batch size and workers.
        task: The task.
        weights: A checkpoint's ``model.safetensors``.
        paths: Files and folders; folders are searched recursively.
        output: Folder of the exports.
        formats: Names from ``Task.formats``; none means the first one.
        limit: Only the first files.
        inline: Work in this process, without Ray.
        progress: Told about finished files.

    Raises:
        SettingsError: A path does not exist or a format is unknown.
    """
    _check(task, paths, formats)
    settings = PredictSettings(
        task=task.name,
        settings=experiment.settings.model_dump(mode="json"),
        formats=tuple(formats) or tuple(task.formats[:1]),
    )
    on_gpu = experiment.device != "cpu" and torch.cuda.is_available()
    stage = PredictStage(
        task,
        weights,
        settings,
        paths,
        output,
        batch_size=experiment.evaluate.batch_size,
        gpus=1.0 if on_gpu else 0.0,
    )
    summary, rows = run_stage(
        stage,
        output.child(f"{_WORK_FOLDER}/{stage_fingerprint(stage, {})}"),
        {},
        workers=experiment.evaluate.workers,
        device=experiment.device,
        limit=limit,
        inline=inline,
        progress=progress,
    )
    keys = list(rows.keys())
    written = [name for key in keys for name in rows[key]["files"]]
    for format_name in settings.formats:
        index = [json.loads(rows[key]["index"])[format_name] for key in keys]
        for name, content in task.export_index(format_name, index).items():
            output.write(name, content)
            written.append(name)
    return PredictSummary(summary.items, tuple(summary.rejects), tuple(written))


def _check(task: Task, paths: Sequence[Path], formats: Sequence[str]) -> None:
    for name in formats:
        if name not in task.formats:
            raise SettingsError(
                f"task {task.name!r} cannot export {name!r}; {nearest(name, list(task.formats))}"
            )
    for path in paths:
        if not path.exists():
            raise SettingsError(f"there is no file or folder {str(path)!r}")
