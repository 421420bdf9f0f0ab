"""Settings that are laid over an experiment's plain values: by flags, and by the trials of a sweep.

There is one way in. Flags and trials become plain values at their places, as if the file said them,
and the whole is checked once: so the task's own phases follow the settings, however they were set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from eagleray.experiment.load import make_experiment
from eagleray.experiment.paths import with_value
from eagleray.experiment.schema import ExperimentSettings
from eagleray.task import SettingsError

_PHASES = "train.phases"


def is_of_phase(path: str) -> bool:
    """Return whether a path leads into a phase of training."""
    return path.startswith(f"{_PHASES}.")


def make_overridden(
    values: Mapping[str, Any],
    overrides: Mapping[str, Any],
    origin: str,
    *,
    drop_missing_phases: bool = False,
) -> ExperimentSettings:
    """Check an experiment's plain values with some settings replaced.

    Args:
        values: As a file says them; left alone.
        overrides: Values by full path; phases by their position among the phases that the task has
            with these settings.
        origin: What is read, for messages.
        drop_missing_phases: Forget what ``values`` says of phases that the task no longer has.

    Raises:
        SettingsError: The result is not allowed.
    """
    changed = dict(values)
    for path, value in overrides.items():
        if not is_of_phase(path):
            changed = with_value(changed, path, value)
    of_phases = {p: v for p, v in overrides.items() if is_of_phase(p)}
    if not of_phases and not drop_missing_phases:
        return make_experiment(changed, origin)
    train = dict(changed.get("train") or {})
    given = train.pop("phases", None) or []
    own = [p.name for p in make_experiment({**changed, "train": train}, origin).train.phases]
    if drop_missing_phases:
        given = [entry for entry in given if entry.get("name") in own]
    entries = _phase_entries(of_phases, own, origin)
    return make_experiment({**changed, "train": {**train, "phases": [*given, *entries]}}, origin)


def given_phases(experiment: ExperimentSettings) -> list[dict[str, Any]]:
    """Return what was said of the phases, beside what the task says itself, as plain values."""
    return [
        {"name": phase.name, **phase.model_dump(mode="json", exclude_unset=True)}
        for phase in experiment.train.phases
    ]


def value_at(experiment: ExperimentSettings, path: str) -> Any:
    """Return the value at a full path as it was given; a whole section as plain values."""
    value: Any = experiment
    for name in path.split("."):
        if isinstance(value, Mapping):
            value = value[name]
        else:
            value = value[int(name)] if name.isdigit() else getattr(value, name)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _phase_entries(
    overrides: Mapping[str, Any], names: Sequence[str], origin: str
) -> list[dict[str, Any]]:
    """Return what is replaced in phases as entries of ``train.phases``, by name."""
    entries: dict[str, dict[str, Any]] = {}
    for path, value in overrides.items():
        position, _, rest = path.removeprefix(f"{_PHASES}.").partition(".")
        if not rest or int(position) >= len(names):
            raise SettingsError(
                f"{origin}: {path} is no setting of a phase; the task has "
                + ", ".join(f"{i} ({name})" for i, name in enumerate(names))
            )
        entry = entries.setdefault(position, {"name": names[int(position)]})
        entries[position] = with_value(entry, rest, value)
    return list(entries.values())
