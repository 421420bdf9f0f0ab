"""Finding the installed tasks: every package may offer some in the entry-point group
``eagleray.tasks``.
"""

from __future__ import annotations

import difflib
import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

from eagleray.task import BaseTask, EaglerayError, Settings, SettingsError

ENTRY_POINT_GROUP = "eagleray.tasks"
_REQUIRED = ("name", "summary", "settings_type")


class BrokenTaskError(SettingsError):
    """A plugin cannot be used; the others can."""


def installed_tasks() -> dict[str, EntryPoint]:
    """Return the entry points of all installed tasks by name, without importing them."""
    return {point.name: point for point in sorted(entry_points(group=ENTRY_POINT_GROUP))}


def task_type(name: str) -> type[BaseTask]:
    """Import a task by name.

    Args:
        name: An entry point of group ``eagleray.tasks``.

    Raises:
        SettingsError: No task of that name is installed.
        BrokenTaskError: Two packages install one of that name, its import fails, or it is no task
            that can be used.
    """
    tasks = installed_tasks()
    if name not in tasks:
        raise SettingsError(f"task {name!r} is not installed; {nearest(name, list(tasks))}")
    points = {p.value: p for p in entry_points(group=ENTRY_POINT_GROUP, name=name)}
    if len(points) > 1:
        listed = " and ".join(f"{p.value} of {_package(p.dist)}" for p in points.values())
        raise BrokenTaskError(
            f"task {name!r} is installed twice, {listed}: rename or uninstall one of them"
        )
    point = tasks[name]
    try:
        loaded = point.load()
    except ImportError as error:
        raise BrokenTaskError(
            f"task {name!r} ({point.value}) cannot be imported: {error}; "
            f"install what it needs with: {_install_hint(point)}"
        ) from error
    except (Exception, SystemExit) as error:
        raise BrokenTaskError(
            f"task {name!r} ({point.value}) cannot be imported: {_reason(error)}; that is a "
            f"mistake in package {_package(point.dist)}"
        ) from error
    reason = _unusable(name, loaded)
    if reason is not None:
        raise BrokenTaskError(
            f"task {name!r} ({point.value}) of package {_package(point.dist)} {reason}"
        )
    task: type[BaseTask] = loaded
    return task


@contextmanager
def asking_task(name: str, what: str) -> Iterator[None]:
    """Turn whatever a plugin raises into a BrokenTaskError, where many tasks are gone through.

    Args:
        name: The task.
        what: What it is asked for.

    Raises:
        BrokenTaskError: It raised something that is no error of the contract's own.
    """
    try:
        yield
    except EaglerayError:
        raise
    except (Exception, SystemExit) as error:
        raise BrokenTaskError(f"task {name!r}: {what} failed: {_reason(error)}") from error


def default_task(name: str) -> BaseTask | None:
    """Return a task with its default settings; None if some have to be given.

    Raises:
        BrokenTaskError: It cannot be used.
    """
    task_cls = task_type(name)
    if any(field.is_required() for field in task_cls.settings_type.model_fields.values()):
        return None
    with asking_task(name, "making it with its default settings"):
        return task_cls(task_cls.settings_type())


def _unusable(name: str, loaded: Any) -> str | None:
    """Return why what an entry point names is no task that can be used; None if it is one."""
    if not (isinstance(loaded, type) and issubclass(loaded, BaseTask)):
        return "is no subclass of eagleray.task.BaseTask"
    missing = [attribute for attribute in _REQUIRED if not hasattr(loaded, attribute)]
    if missing:
        return f"does not say its {', '.join(missing)} (class attributes)"
    if not (isinstance(loaded.settings_type, type) and issubclass(loaded.settings_type, Settings)):
        return f"has settings_type {loaded.settings_type!r}, which is no eagleray.task.Settings"
    if inspect.isabstract(loaded):
        methods = ", ".join(sorted(getattr(loaded, "__abstractmethods__", ())))
        return f"lacks methods of its capabilities: {methods}"
    if loaded.name != name:
        return f"calls itself {loaded.name!r}: entry point and attribute name must agree"
    return None


def _package(dist: Distribution | None) -> str:
    return "an unknown package" if dist is None else repr(dist.name)


def _install_hint(point: EntryPoint) -> str:
    if point.dist is None:
        return "pip"
    extras = point.dist.metadata.get_all("Provides-Extra") or []
    return f"pip install '{point.dist.name}{f'[{point.name}]' if point.name in extras else ''}'"


def _reason(error: BaseException) -> str:
    """Return an exception in a line, with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first_line}{place}"


def nearest(name: str, allowed: list[str]) -> str:
    """Return a phrase that names the allowed values and the one most like ``name``.

    Example:
        >>> nearest("momentun", ["lr", "momentum"])
        "did you mean 'momentum'? Allowed: lr, momentum"
    """
    listing = ", ".join(allowed) if allowed else "none"
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? Allowed: {listing}" if close else f"allowed: {listing}"
