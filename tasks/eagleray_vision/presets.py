"""Presets: named values that are the defaults of settings, under what an experiment states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, model_validator

from eagleray.task import Settings


class PresetSettings(Settings):
    """Settings whose field ``preset`` names the values that are the defaults of all the others."""

    preset: str
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Values by the name of the preset, where they differ from the types' defaults."""

    @model_validator(mode="before")
    @classmethod
    def _lay_over_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        preset = given.get("preset", cls.model_fields["preset"].default)
        return laid_over(cls.presets.get(preset, {}), given)


def laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested mappings over one another; a model that is given whole replaces the default.

    Args:
        base: Values of the preset.
        over: What is stated.

    Example:
        >>> laid_over({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
        {'a': {'b': 1, 'c': 3}}
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = laid_over(below, value)
        else:
            merged[key] = value.model_dump() if isinstance(value, BaseModel) else value
    return merged
