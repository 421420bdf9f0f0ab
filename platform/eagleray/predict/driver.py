"""Predicting a user's files: choose formats, run the stage, write what a format has only once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from pydantic import ValidationError

from eagleray.evaluate.arithmetic import Arithmetic
from eagleray.experiment.discovery import nearest
from eagleray.experiment.load import explain
from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import RunOptions
from eagleray.predict.output_folder import Exports, OutputFolder
from eagleray.predict.stage import PredictSettings, PredictStage, apart_by_format
from eagleray.prepare import StageRun, run_stage, stage_fingerprint
from eagleray.storage import SharedFile, Store
from eagleray.task import EaglerayError, Prediction, Rows, SettingsError

_BATCHES_PER_SHARD = 8
"""A worker fetches its first file only when it is given a shard, so a shard holds some batches."""
_LEAST_SHARDS = 16
"""So that workers end together, a small folder is cut into so many shards."""


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
    experiment: ExperimentSettings,
    task: Prediction,
    weights: SharedFile,
    paths: Sequence[Path],
    output: Store,
    formats: Sequence[str],
    options: RunOptions,
    flags: Mapping[str, Any] | None = None,
) -> PredictSummary:
    """Run a trained task on files and export the predictions.

    The same command goes on where it was stopped, and makes exports again that were deleted or
    overwritten since.

    Args:
        experiment: Gives batch size and workers.
        task: The task.
        weights: A checkpoint's ``model.safetensors``.
        paths: Files and folders; folders are searched recursively.
        output: Folder of the exports.
        formats: Names from ``Prediction.formats``; none means the first one.
        options: How it runs.
        flags: The task's own flags by name.

    Raises:
        SettingsError: A path does not exist, nothing is found, a format is unknown or impossible
            with these settings, the output folder lies in a folder that is to be predicted, or a
            flag is unknown or has a value that is not allowed.
    """
    task, given = _with_flags(task, flags or {})
    exports = OutputFolder(output)
    _check(task, paths, formats, exports)
    settings = PredictSettings(
        task=task.name,
        settings=experiment.settings.model_dump(mode="json"),
        formats=tuple(dict.fromkeys(formats)) or tuple(task.formats[:1]),
        precision=experiment.evaluate.precision,
        flags=given,
    )
    stage = PredictStage(
        task,
        weights,
        settings,
        paths,
        exports,
        batch_size=experiment.evaluate.batch_size,
        gpus=0.0 if options.device == "cpu" else 1.0,  # left out where no machine has any
        arithmetic=Arithmetic.of(experiment.evaluate),
    )
    num_files = sum(1 for _ in stage.items({}))
    if num_files == 0:
        raise SettingsError(
            f"nothing to predict: task {task.name!r} finds no file that it reads in "
            f"{', '.join(map(str, paths))}; give files, or a folder that holds some"
        )
    folder = exports.stage_folder(stage_fingerprint(stage, {}))
    output.remove_stale_temporaries()
    exports.forget_changed(folder)
    summary, rows = run_stage(
        StageRun(stage, folder),
        options.with_workers(experiment.evaluate.workers),
        items_per_shard=_items_per_shard(num_files, experiment.evaluate.batch_size),
    )
    written = [name for key in list(rows.keys()) for name in Exports.of(rows[key]).checksums]
    indices = {name: task.export_index(name, _IndexRows(rows, name)) for name in settings.formats}
    written += exports.write(apart_by_format(indices))
    _check_apart(written)
    return PredictSummary(summary.items, tuple(summary.rejects), tuple(written))


def _with_flags(task: Prediction, flags: Mapping[str, Any]) -> tuple[Prediction, dict[str, Any]]:
    """Return the task that its flags describe, and those of them that are not at their defaults."""
    try:
        checked = task.flags_type(**flags)
    except ValidationError as error:
        raise SettingsError(
            f"task {task.name!r} cannot predict with these flags: "
            f"{explain(error, task.flags_type, 'flags')}"
        ) from error
    given = checked.model_dump(mode="json", exclude_defaults=True)
    return (task.with_flags(checked) if given else task), given


def _check_apart(written: Sequence[str]) -> None:
    """Refuse exports that have overwritten each other."""
    twice = sorted(name for name, count in Counter(written).items() if count > 1)
    if twice:
        raise EaglerayError(
            f"{len(twice)} exports have the name of another one and overwrote it, such as "
            f"{twice[0]!r}: export one format per folder (--format, --output); the task's export "
            "has to give names that hold the item's key"
        )


class _IndexRows(Sequence[Mapping[str, Any]]):
    """What exporting in one format left for its index, by file; read only when it is asked for."""

    def __init__(self, rows: Rows, format_name: str) -> None:
        self._rows, self._keys, self._format = rows, rows.keys(), format_name

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Exports.of(self._rows[self._keys[index]]).index[self._format]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (self[i] for i in range(len(self)))


def _items_per_shard(num_files: int, batch_size: int) -> int:
    """Return the average files per shard: a power of two of batches, so that it rarely changes."""
    batches = min(num_files // _LEAST_SHARDS // batch_size, _BATCHES_PER_SHARD)
    return batch_size * int(1 << max(batches, 1).bit_length() - 1)


def _check(
    task: Prediction, paths: Sequence[Path], formats: Sequence[str], output: OutputFolder
) -> None:
    for name in formats or task.formats[:1]:
        if name not in task.formats:
            raise SettingsError(
                f"task {task.name!r} cannot export {name!r}; {nearest(name, list(task.formats))}"
            )
        task.check_format(name)
    for path in paths:
        if not path.exists():
            raise SettingsError(f"there is no file or folder {str(path)!r}")
        if output.root is not None and _holds(path, output.root):
            raise SettingsError(
                f"the output folder {output.store.uri} lies in {str(path)!r}, so that the next "
                "call would take the exports for inputs; choose another --output"
            )


def _holds(path: Path, inner: Path) -> bool:
    return path.is_dir() and inner.resolve().is_relative_to(path.resolve())
