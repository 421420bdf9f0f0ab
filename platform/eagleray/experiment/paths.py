"""Dotted paths of settings: ``train.phases.0.lr``, ``settings.data.scene``.

A path is checked against the settings' types, and a value is put at its place in plain values.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from eagleray.experiment.discovery import nearest
from eagleray.experiment.schema import ExperimentSettings
from eagleray.task import SettingsError

SETTINGS = "settings"
_PHASES = ("train", "phases")


def full_path(path: str, experiment: ExperimentSettings) -> str:
    """Return a path from the experiment's root, or raise naming the nearest known one.

    A path that begins with no section of the experiment is looked up below ``settings``; a phase
    may be given by name instead of position.

    Args:
        path: Names joined by dots.
        experiment: The experiment; the types of its settings say which paths there are.

    Raises:
        SettingsError: There is no setting of that path.

    Example:
        >>> from eagleray.experiment.schema import ExperimentSettings
        >>> full_path("train.log_every", ExperimentSettings(task="a", settings=None))
        'train.log_every'
    """
    parts = path.split(".")
    sections = list(type(experiment).model_fields)
    if parts[0] not in sections:
        known = _names(_settings_type(experiment))
        if known is not None and parts[0] not in known:
            raise _unknown(path, parts[0], "", [*sections, *known])
        parts = [SETTINGS, *parts]
    if tuple(parts[:2]) == _PHASES and len(parts) > 2:
        parts[2] = _phase_position(path, parts[2], experiment)
    current: list[Any] = [_settings_type(experiment) if parts[0] == SETTINGS else type(experiment)]
    for position in range(1 if parts[0] == SETTINGS else 0, len(parts)):
        following = [inner for outer in current for inner in _step(outer, parts[position])]
        if not following:
            known = [name for annotation in current for name in _names(annotation) or ()]
            raise _unknown(path, parts[position], ".".join(parts[:position]), known)
        current = [member for annotation in following for member in _members(annotation)]
    return ".".join(parts)


def with_value(values: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of nested plain values with one of them replaced.

    Args:
        values: Mappings and lists.
        path: A path as ``full_path`` returns it; mappings that are missing are made.
        value: The new value.

    Example:
        >>> with_value({"a": [{"b": 1}]}, "a.0.b", 2)
        {'a': [{'b': 2}]}
    """
    changed = copy.deepcopy(dict(values))
    place: Any = changed
    *parents, last = path.split(".")
    for name in parents:
        key = int(name) if isinstance(place, list) else name
        if isinstance(place, dict) and not isinstance(place.get(name), dict | list):
            place[name] = {}
        place = place[key]
    place[int(last) if isinstance(place, list) else last] = value
    return changed


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return the shortest ending of each dotted path that no other one has.

    Example:
        >>> short_names(["train.phases.0.lr", "settings.a.size", "settings.b.size"])
        {'train.phases.0.lr': 'lr', 'settings.a.size': 'a.size', 'settings.b.size': 'b.size'}
    """
    shortest = {}
    for name in names:
        parts = name.split(".")
        endings = [".".join(parts[idx:]) for idx in range(len(parts) - 1, -1, -1)]
        others = [f".{other}" for other in names if other != name]
        shortest[name] = next(
            (e for e in endings if not any(other.endswith(f".{e}") for other in others)), name
        )
    return shortest


def _settings_type(experiment: ExperimentSettings) -> Any:
    settings = type(experiment.settings)
    return settings if issubclass(settings, BaseModel) else Any


def _members(annotation: Any) -> list[Any]:
    """Return the alternatives of a union, else the annotation itself."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for inner in get_args(annotation) for member in _members(inner)]
    return [annotation]


def _step(annotation: Any, name: str) -> list[Any]:
    """Return the type of what is called ``name`` inside of ``annotation``; nothing if unknown."""
    if annotation is Any:
        return [Any]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(name)
        return [] if field is None else [field.annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) in (dict, Mapping):
        return [arguments[1]] if arguments else [Any]
    if get_origin(annotation) in (tuple, list, Sequence) and name.isdigit():
        is_repeated = get_origin(annotation) is not tuple or arguments[-1] is ...
        if is_repeated:
            return [arguments[0]]
        return [arguments[int(name)]] if int(name) < len(arguments) else []
    return []


def _names(annotation: Any) -> list[str] | None:
    """Return the names inside of a type; None where every name is allowed."""
    if annotation is Any:
        return None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return []


def _phase_position(path: str, name: str, experiment: ExperimentSettings) -> str:
    names = [phase.name for phase in experiment.train.phases]
    if name in names:
        return str(names.index(name))
    if name.isdigit() and int(name) < len(names):
        return name
    raise _unknown(path, name, ".".join(_PHASES), [*map(str, range(len(names))), *names])


def _unknown(path: str, name: str, where: str, known: Sequence[str]) -> SettingsError:
    place = f"in {where}" if where else "at its beginning"
    return SettingsError(
        f"there is no setting {path!r}: {name!r} is unknown {place}; {nearest(name, list(known))}"
    )
