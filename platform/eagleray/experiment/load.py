"""Reading an experiment: YAML -> typed settings, with the task's own phases filled in.

There is no inheritance between files: defaults live in the types, so a file says only what is
particular.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError, create_model

from eagleray.experiment.discovery import nearest, task_type
from eagleray.experiment.schema import ExperimentSettings
from eagleray.experiment.yaml_text import read_yaml
from eagleray.storage import checked_name
from eagleray.task import BaseTask, Phase, Schedule, SettingsError, Training

M = TypeVar("M", bound=BaseModel)

_LONGEST_VALUE = 200
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load_experiment(path: str | Path) -> ExperimentSettings:
    """Read and check an experiment's YAML.

    Args:
        path: The file; ``${NAME}`` in its strings is replaced by the environment variable.

    Returns:
        The experiment with every default filled in; ``settings`` is of the task's own type.

    Raises:
        SettingsError: The file is missing, no YAML mapping, or says something that is not allowed.
    """
    return make_experiment(read_values(path), origin=str(path))


def read_values(path: str | Path) -> dict[str, Any]:
    """Read an experiment's YAML as plain values; its name is the file's where it says none.

    Raises:
        SettingsError: The file is missing, or no YAML mapping.
    """
    if "\0" in str(path):
        raise SettingsError(f"{str(path)!r} is no path: it holds a zero byte")
    path = Path(path)
    if not path.is_file():
        raise SettingsError(
            f"there is no experiment file {str(path)!r}; give the path of a YAML file"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    raw = read_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise SettingsError(f"{path} must hold a mapping of settings, found {type(raw).__name__}")
    return {"name": path.stem, **raw}


def make_experiment(raw: Mapping[str, Any], origin: str = "experiment") -> ExperimentSettings:
    """Check settings given as plain values, as ``load_experiment`` does for a file.

    Raises:
        SettingsError: A key is unknown, a value of the wrong type, or a combination impossible.
    """
    unnamed = [key for key in raw if not isinstance(key, str)]
    if unnamed:
        raise SettingsError(f"{origin}: key {unnamed[0]!r} is no text; settings have names")
    if not isinstance(raw.get("task"), str):
        raise SettingsError(
            f"{origin}: key 'task' must name an installed task, found {raw.get('task')!r}"
        )
    values = expand_variables(dict(raw))
    task_cls = task_type(values["task"])
    model = experiment_type(task_cls)
    train = dict(_mapping(values.get("train"), "train", origin))
    given_phases = train.pop("phases", ())
    draft = _validated(model, {**values, "train": train}, origin)
    task = task_cls(draft.settings)
    own = task.phases() if isinstance(task, Training) else ()
    phases = merge_phases(own, given_phases, origin)
    return with_phases(draft, phases)


def task_of(experiment: ExperimentSettings) -> type[BaseTask]:
    """Return the task that an experiment is of."""
    return task_type(experiment.task)


def with_phases(experiment: ExperimentSettings, phases: Sequence[Phase]) -> ExperimentSettings:
    """Return the experiment with its training phases replaced, and its names checked."""
    checked_name(experiment.name, "experiment name")
    checked_name(experiment.run, "run name")
    train = experiment.train.model_copy(update={"phases": tuple(phases)})
    return experiment.model_copy(update={"train": train})


@functools.cache
def experiment_type(task_cls: type[BaseTask]) -> type[ExperimentSettings]:
    """Return the ExperimentSettings model whose ``settings`` are those of one task."""
    settings = task_cls.settings_type
    required = any(f.is_required() for f in settings.model_fields.values())
    default: Any = ... if required else settings()
    return create_model(
        "ExperimentSettings", __base__=ExperimentSettings, settings=(settings, default)
    )


def merge_phases(defaults: Sequence[Phase], given: Any, origin: str) -> tuple[Phase, ...]:
    """Lay an experiment's phase settings over the task's own, by name or else by position.

    Args:
        defaults: The task's phases.
        given: The value of ``train.phases``: a list of mappings, each with some fields of Phase.
        origin: Where ``given`` was read, for messages.

    Raises:
        SettingsError: ``given`` is no list of mappings or names a phase that the task does not
        have.
    """
    if not isinstance(given, list | tuple):
        raise SettingsError(f"{origin}: train.phases must be a list, found {type(given).__name__}")
    phases = [_with_fields_set(phase, set(), set()) for phase in defaults]
    names = [p.name for p in phases]
    for position, entry in enumerate(given):
        fields = dict(_mapping(entry, f"train.phases.{position}", origin))
        name = fields.get("name", names[position] if position < len(names) else None)
        if name not in names:
            raise SettingsError(
                f"{origin}: train.phases.{position} is called {name!r}, which the task does not "
                f"have; " + nearest(str(name), names)
            )
        idx = names.index(str(name))
        phases[idx] = _merge_phase(phases[idx], fields, f"{origin}: train.phases.{idx}")
    return tuple(phases)


def _merge_phase(own: Phase, given: Mapping[str, Any], origin: str) -> Phase:
    """Lay fields over a phase; pydantic's set fields say afterwards what was given, so that a
    sweep keeps just that where a trial's settings make other phases.
    """
    base, fields = own.model_dump(), dict(given)
    if "steps" in fields or "epochs" in fields:
        base["steps"] = base["epochs"] = None
    if isinstance(fields.get("schedule"), dict):
        fields["schedule"] = _merge_schedule(base["schedule"], fields["schedule"])
    merged = _validated(Phase, {**base, **fields}, origin)
    shape = given.get("schedule")
    of_shape = set(shape) if isinstance(shape, Mapping) else merged.schedule.model_fields_set
    if "schedule" not in given:
        of_shape = set()
    return _with_fields_set(
        merged, own.model_fields_set | set(given), own.schedule.model_fields_set | of_shape
    )


def _with_fields_set(phase: Phase, names: Set[str], of_schedule: Set[str]) -> Phase:
    """Return the same phase, of which just these fields count as set."""
    values = dict(phase)
    schedule = Schedule.model_construct(_fields_set=set(of_schedule), **dict(phase.schedule))
    return Phase.model_construct(_fields_set=set(names), **{**values, "schedule": schedule})


def _merge_schedule(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a schedule over the task's own; one of another kind does not keep its milestones, which
    would mean nothing.
    """
    kept = dict(base)
    if given.get("kind", base["kind"]) != base["kind"]:
        for name in ("milestones", "milestone_fractions"):
            del kept[name]
    return {**kept, **given}


def expand_variables(value: Any) -> Any:
    """Replace ``${NAME}`` in all strings of nested plain values by environment variables.

    Raises:
        SettingsError: A variable is not set, or a string holds a zero byte.
    """
    if isinstance(value, dict):
        return {k: expand_variables(v) for k, v in value.items()}
    if isinstance(value, list):
        return [expand_variables(v) for v in value]
    if isinstance(value, str) and "\0" in value:
        raise SettingsError(f"{value!r} holds a zero byte, which no name and no path may have")
    return _VARIABLE.sub(_variable, value) if isinstance(value, str) else value


def _variable(match: re.Match[str]) -> str:
    name = match.group(1)
    if name not in os.environ:
        raise SettingsError(
            f"the experiment uses ${{{name}}}, but that environment variable is not set; "
            f"set it (export {name}=...) or write the path in the file"
        )
    return os.environ[name]


def _mapping(value: Any, key: str, origin: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"{origin}: {key} must be a mapping, found {value!r}")
    return value


def _validated(model: type[M], values: Mapping[str, Any], origin: str) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(explain(error, model, origin)) from error


def explain(error: ValidationError, model: type[BaseModel], origin: str) -> str:
    """Return one line per mistake: the key, what was found, what is allowed and the nearest
    name.
    """
    return "\n".join(_explain_one(dict(e), model, origin) for e in error.errors(include_url=False))


def _explain_one(error: dict[str, Any], model: type[BaseModel], origin: str) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(location) or "(whole file)"
    if error["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        known = sorted(owner.model_fields) if owner else []
        return f"{origin}: unknown key {key!r}; {nearest(location[-1], known)}"
    if error["type"] == "missing":
        return f"{origin}: key {key!r} is missing and has no default"
    found = "" if error["type"] == "value_error" else f", found {_shown(error['input'])}"
    return f"{origin}: {key}: {error['msg'].removeprefix('Value error, ')}{found}"


def _shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"{type(value).__name__} of very many digits"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]} ..."


def _model_at(model: type[BaseModel], location: Sequence[str]) -> type[BaseModel] | None:
    current: Any = model
    for part in location:
        if (
            isinstance(current, type)
            and issubclass(current, BaseModel)
            and part in current.model_fields
        ):
            current = _model_in(current.model_fields[part].annotation)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _model_in(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType, tuple, list):
        models = [_model_in(a) for a in get_args(annotation)]
        return next((m for m in models if isinstance(m, type) and issubclass(m, BaseModel)), None)
    return annotation
