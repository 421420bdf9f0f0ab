"""Verbs on files: import what an original publishes, prune what no run refers to."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro
import yaml
from safetensors.torch import save_file

from eagleray.cli.flags import ImportFlags, PruneFlags, VerifyFlags
from eagleray.cli.main import FAILED_STATUS
from eagleray.contract.task import require
from eagleray.experiment.discovery import task_type
from eagleray.experiment.load import load_experiment, make_experiment
from eagleray.prepare import delete_prunable, prunable
from eagleray.runs.run_folder import list_runs
from eagleray.runs.trash import trashed_runs
from eagleray.storage import Store
from eagleray.task import ImportedCheckpoint, Importing, PublishedFiles, SettingsError
from eagleray.train.exporting import read_exported
from eagleray.verify.storage import describe, verify_storage


def verify(arguments: list[str]) -> int:
    """Compare all files of a storage with their checksums."""
    flags = tyro.cli(VerifyFlags, args=arguments, prog="eagleray verify")
    verified = verify_storage(flags.storage, repair=flags.repair)
    for line in describe(verified, repaired=flags.repair):
        sys.stdout.write(f"{line}\n")
    return FAILED_STATUS if verified.damages and not flags.repair else 0


def import_published(arguments: list[str]) -> int:
    """Convert published weights and configurations to ours."""
    flags = tyro.cli(ImportFlags, args=arguments, prog="eagleray import")
    if not flags.file.exists():
        raise SettingsError(f"there is no file or folder {str(flags.file)!r} to import")
    name = flags.file.resolve().name.split(".")[0]
    yaml_path = flags.experiment or flags.output.parent / f"{name}.yaml"
    imported = _imported(flags, yaml_path.parent)
    _refuse_to_replace(yaml_path, imported)
    weights = imported.checkpoint
    values = imported.experiment
    if values is not None and weights is not None:
        values = {
            **values,
            "evaluate": {**values.get("evaluate", {}), "checkpoint": str(flags.output)},
        }
    if values is not None:
        make_experiment({"name": yaml_path.stem, **values}, origin=str(flags.file))
    for note in imported.notes:
        sys.stdout.write(f"{note}\n")
    if weights is not None:
        _write_weights(weights, flags.output)
    if values is not None:
        _write_experiment(yaml_path, values, flags.file.name, imported)
    return 0


def _imported(flags: ImportFlags, folder: Path) -> PublishedFiles:
    exported = read_exported(flags.file)
    if exported is not None:
        return _of_task(exported, flags)
    if flags.task.endswith((".yaml", ".yml")):
        experiment = load_experiment(flags.task)
        given = task_type(experiment.task)(experiment.settings)
        return PublishedFiles(require(given, Importing).import_checkpoint(flags.file))
    task_cls = task_type(flags.task)
    task = require(task_cls(task_cls.settings_type()), Importing)
    return task.import_published(flags.file, folder)


def _of_task(exported: PublishedFiles, flags: ImportFlags) -> PublishedFiles:
    """Return what ``eagleray export`` wrote; its weights alone where an experiment is given."""
    is_file = flags.task.endswith((".yaml", ".yml"))
    asked = load_experiment(flags.task).task if is_file else flags.task
    written = (exported.experiment or {}).get("task")
    if asked != written:
        raise SettingsError(
            f"{flags.file} was exported from task {written!r}, asked is {asked!r}: give that task, "
            "or an experiment of it"
        )
    return replace(exported, experiment=None) if is_file else exported


def _refuse_to_replace(yaml_path: Path, imported: PublishedFiles) -> None:
    if imported.experiment is not None and yaml_path.exists():
        raise SettingsError(
            f"{yaml_path} is there already and is not replaced: name another file (--experiment)"
        )
    for name, content in imported.files.items():
        path = yaml_path.parent / name
        if path.exists() and path.read_bytes() != content:
            raise SettingsError(
                f"{path} is there already with other content and is not replaced: name another "
                "folder (--output)"
            )


def _write_weights(imported: ImportedCheckpoint, output: Path) -> None:
    for key in imported.missing:
        sys.stdout.write(f"missing in the file, keeps its initial value: {key}\n")
    for key in imported.extra:
        sys.stdout.write(f"not used by the network: {key}\n")
    state = {k: v.contiguous().clone() for k, v in imported.state_dict.items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, output)
    sys.stdout.write(
        f"{output}: {len(imported.mapped)} keys mapped, {len(imported.missing)} missing, "
        f"{len(imported.extra)} not used\n"
    )


def _write_experiment(
    path: Path, values: Mapping[str, Any], source: str, imported: PublishedFiles
) -> None:
    """Write the experiment with its notes as comments, and its files beside it."""
    comments = [f"Imported from {source}.", *imported.notes]
    head = "".join(f"# {line}\n" for note in comments for line in textwrap.wrap(note, 98))
    text = yaml.safe_dump(_plain(values), sort_keys=False, width=100, allow_unicode=True)
    Store(str(path.parent)).write(path.name, (head + text).encode())
    for name, content in imported.files.items():
        Store(str(path.parent)).write(name, content)
        sys.stdout.write(f"{path.parent / name}: {len(content)} bytes\n")
    sys.stdout.write(f"{path}: an experiment with the file's settings\n")


def _plain(value: Any) -> Any:
    """Return nested values as YAML knows them: lists instead of tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def prune(arguments: list[str]) -> int:
    """Delete prepared data that no run refers to, in the trash or not."""
    flags = tyro.cli(PruneFlags, args=arguments, prog="eagleray prune")
    runs = [*list_runs(flags.storage), *trashed_runs(flags.storage)]
    used = {entry for run in runs for entry in run.stages()}
    storage = Store(flags.storage)
    unused = prunable(storage, used)
    for entry in unused:
        sys.stdout.write(f"{entry.path}  {entry.bytes} bytes  ({entry.reason})\n")
    if flags.delete:
        delete_prunable(storage, unused)
    verb = "deleted" if flags.delete else "could be deleted (--delete)"
    total = sum(e.bytes for e in unused)
    sys.stdout.write(f"{len(unused)} folders and files, {total} bytes {verb}\n")
    return 0
