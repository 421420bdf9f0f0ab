"""Finding the installed tasks: every package may offer some in the entry-point group
``eagleray.tasks``.
"""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points

from eagleray.task import BaseTask, SettingsError

ENTRY_POINT_GROUP = "eagleray.tasks"


def installed_tasks() -> dict[str, EntryPoint]:
    """Return the entry points of all installed tasks by name, without importing them."""
    return {point.name: point for point in sorted(entry_points(group=ENTRY_POINT_GROUP))}


def task_type(name: str) -> type[BaseTask]:
    """Import a task by name.

    Args:
        name: An entry point of group ``eagleray.tasks``.

    Raises:
        SettingsError: No task of that name is installed, its import fails, or it is no task.
    """
    tasks = installed_tasks()
    if name not in tasks:
        raise SettingsError(f"task {name!r} is not installed; {nearest(name, list(tasks))}")
    try:
        loaded = tasks[name].load()
    except ImportError as error:
        raise SettingsError(
            f"task {name!r} ({tasks[name].value}) cannot be imported: {error}; "
            f"install what it needs with: pip install 'eagleray[{name}]'"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, BaseTask)):
        raise SettingsError(
            f"entry point {name!r} names {tasks[name].value}, which is no subclass of "
            f"eagleray.task.BaseTask"
        )
    return loaded


def nearest(name: str, allowed: list[str]) -> str:
    """Return a phrase that names the allowed values and the one most like ``name``.

    Example:
        >>> nearest("momentun", ["lr", "momentum"])
        "did you mean 'momentum'? Allowed: lr, momentum"
    """
    listing = ", ".join(allowed) if allowed else "none"
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? Allowed: {listing}" if close else f"allowed: {listing}"
