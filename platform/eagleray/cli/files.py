"""Verbs on files: import a published checkpoint, prune what no run refers to."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from safetensors.torch import save_file

from eagleray.experiment.discovery import task_type
from eagleray.experiment.load import load_experiment
from eagleray.prepare import delete_prunable, prunable
from eagleray.results.run_folder import list_runs, read_stages
from eagleray.storage import Store
from eagleray.task import SettingsError, Task


@dataclass(frozen=True)
class ImportFlags:
    """Convert a published checkpoint to ours; every key of the file is accounted for."""

    task: Annotated[str, tyro.conf.Positional]
    """A task's name, or an experiment (.yaml) whose settings describe the network."""
    file: Annotated[Path, tyro.conf.Positional]
    """The checkpoint in its original format."""
    output: Path = Path("model.safetensors")
    """Where our weights are written."""


@dataclass(frozen=True)
class PruneFlags:
    """Delete prepared data that no run refers to."""

    storage: str = "storage"
    """Folder or URI that holds prepared data and runs."""
    delete: bool = False
    """Really delete; without it the list is shown only."""


def import_checkpoint(arguments: list[str]) -> int:
    """Convert a published checkpoint to ours."""
    flags = tyro.cli(ImportFlags, args=arguments, prog="eagleray import")
    if not flags.file.is_file():
        raise SettingsError(f"there is no checkpoint file {str(flags.file)!r}")
    imported = _task(flags.task).import_checkpoint(flags.file)
    for key in imported.missing:
        sys.stdout.write(f"missing in the file, keeps its initial value: {key}\n")
    for key in imported.extra:
        sys.stdout.write(f"not used by the network: {key}\n")
    state = {k: v.contiguous().clone() for k, v in imported.state_dict.items()}
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, flags.output)
    sys.stdout.write(
        f"{flags.output}: {len(imported.mapped)} keys mapped, {len(imported.missing)} missing, "
        f"{len(imported.extra)} not used\n"
    )
    return 0


def prune(arguments: list[str]) -> int:
    """Delete prepared data that no run refers to."""
    flags = tyro.cli(PruneFlags, args=arguments, prog="eagleray prune")
    used = {entry for run in list_runs(flags.storage) for entry in read_stages(run)}
    storage = Store(flags.storage)
    found = prunable(storage, used)
    for entry in found:
        sys.stdout.write(f"{entry.path}  {entry.bytes} bytes  ({entry.reason})\n")
    if flags.delete:
        delete_prunable(storage, found)
    verb = "deleted" if flags.delete else "could be deleted (--delete)"
    total = sum(e.bytes for e in found)
    sys.stdout.write(f"{len(found)} folders and files, {total} bytes {verb}\n")
    return 0


def _task(name: str) -> Task:
    if name.endswith((".yaml", ".yml")):
        experiment = load_experiment(name)
        return task_type(experiment.task)(experiment.settings)
    found = task_type(name)
    return found(found.settings_type())
