"""The base of everything that users set. Import it from ``eagleray.task``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic.fields import FieldInfo

from eagleray.contract.errors import SettingsError

S = TypeVar("S", bound="Settings")


class Later:
    """Marks a setting that came after its model was first released, by ``LATER``."""


LATER: Final = Later()
"""``new_one: Annotated[int, LATER] = 3``: at its default the setting is not written down, so that
runs, prepared stages and shared phases from before it keep their names and are found again. Its
default must do what the code did before, and must not change.
"""


class OfUse:
    """Marks a setting that changes how a trained model is used, and not what is trained."""


OF_USE: Final = OfUse()
"""``threshold: Annotated[float, OF_USE] = 0.5``: the setting is no part of the identity of runs and
phases, so that ``evaluate`` and ``predict`` with another value find the trained run. What is
computed by it (rows of an evaluation, exports) is still named by it. Never mark what training or
the weights' shapes depend on.
"""


class Settings(BaseModel):
    """Base of every settings model: immutable, unknown keys and numbers that are not finite
    refused, every field documented.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_serializer(mode="wrap")
    def _leave_out_later_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            if LATER in field.metadata and getattr(self, name) == field.get_default(
                call_default_factory=True
            ):
                values.pop(name, None)
        return values


def without_use(settings: Settings) -> dict[str, Any]:
    """Return settings as plain values, with those of use (``OF_USE``) at their defaults, a
    preset's included.
    """
    try:
        trained = type(settings).model_validate(_unmarked(settings))
    except ValidationError:  # a default does not fit to the rest: then all of it is the identity
        trained = settings
    return trained.model_dump(mode="json")


def values_of_use(settings: Settings) -> dict[str, Any]:
    """Return the settings of use as plain values by their dotted names."""
    values: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if _is_of_use(field):
            plain = settings.model_dump(mode="json", include={name}).get(name)
            values |= dict(_leaves(name, plain))
        elif isinstance(value, Settings):
            values |= {f"{name}.{key}": one for key, one in values_of_use(value).items()}
    return values


def with_use(settings: S, stated: Mapping[str, Any], origin: str) -> S:
    """Return settings with some of use replaced.

    Args:
        settings: The settings.
        stated: Values by name, nested as in an experiment's YAML.
        origin: Who states them, for messages.

    Raises:
        SettingsError: One of them is unknown, no setting of use, or not allowed.
    """
    known = values_of_use(settings)
    for name, _ in _leaves("", stated):
        if name not in known:
            raise SettingsError(
                f"{origin} states the setting {name!r}, which is none of use (marked OF_USE); "
                f"settings of use: {', '.join(known) or 'none'}"
            )
    try:
        return type(settings).model_validate(_merged(settings.model_dump(), stated))
    except ValidationError as error:
        raise SettingsError(f"{origin} states settings that are not allowed: {error}") from error


def _unmarked(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        if not _is_of_use(field):
            value = getattr(settings, name)
            values[name] = _unmarked(value) if isinstance(value, Settings) else value
    return values


def _is_of_use(field: FieldInfo) -> bool:
    return any(isinstance(mark, OfUse) for mark in field.metadata)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _leaves(f"{name}.{key}" if name else key, one)
    else:
        yield name, value


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged
