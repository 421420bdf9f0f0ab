"""Deleted runs wait in ``<storage>/trash/<experiment>/<run>/`` until somebody empties the trash.

The prepared data that a run used stay where they are. A run in the trash counts as a user of them,
since it may come back; once the trash is emptied ``prune`` may delete them.
"""

from __future__ import annotations

from eagleray.runs.lease import is_held
from eagleray.runs.run_folder import RunFolder, is_run_name, run_below, runs_store
from eagleray.storage import Store
from eagleray.task import SettingsError


def trash_store(storage: str) -> Store:
    """Return the folder that holds the deleted runs of all experiments."""
    return Store(storage).child("trash")


def trashed(storage: str) -> list[str]:
    """Return the deleted runs as ``experiment/run``."""
    trash = trash_store(storage)
    return [f"{e}/{r}" for e in trash.folders() for r in trash.folders(e)]


def trashed_runs(storage: str) -> list[RunFolder]:
    """Return the folders of the deleted runs."""
    trash = trash_store(storage)
    return [run_below(trash, name) for name in trashed(storage)]


def delete_run(storage: str, name: str) -> str:
    """Move a run to the trash and return its name there.

    Raises:
        SettingsError: There is no such run, or a live driver works on it.
    """
    run = run_below(runs_store(storage), name) if is_run_name(name) else None
    if run is None or not run.exists(RunFolder.EXPERIMENT):
        raise SettingsError(f"there is no run {name!r} in {storage}")
    if is_held(run):
        raise SettingsError(f"somebody works on {name}: stop it, or wait until it is done")
    target, known = name, set(trashed(storage))
    number = 2
    while target in known:
        target, number = f"{name}.{number}", number + 1
    Store(storage).move(f"runs/{name}", f"trash/{target}")
    return target


def restore_run(storage: str, name: str) -> str:
    """Move a run out of the trash, back to where it was.

    Raises:
        SettingsError: It is not in the trash, or a run of its name has been begun since.
    """
    known = trashed(storage)
    if name not in known:
        raise SettingsError(
            f"{name!r} is not in the trash of {storage}; there: {', '.join(known) or 'nothing'}"
        )
    if Store(storage).exists(f"runs/{name}"):
        raise SettingsError(f"there is a run {name!r} again; delete or rename that one first")
    Store(storage).move(f"trash/{name}", f"runs/{name}")
    return name


def empty_trash(storage: str) -> list[str]:
    """Delete what lies in the trash for good, and return its names."""
    names = trashed(storage)
    for name in names:
        trash_store(storage).delete(name, recursive=True)
    return names
