"""JSON schema (draft 2020-12) of an experiment's YAML, from the same types that read it.

An editor that knows it completes keys, shows each setting's meaning and marks misspelt ones. It
allows what ``load.py`` allows: phases with some of their fields, ``${NAME}`` wherever a number or a
word is wanted, numbers such as ``1e-4`` that YAML 1.1 takes for text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from eagleray.experiment.load import experiment_type
from eagleray.task import BaseTask, Phase, Schedule

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_VARIABLE = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
_INTEGER = r"^\s*[+-]?[0-9]+\s*$"
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_AS_TEXT = {
    "boolean": _VARIABLE,
    "integer": f"{_VARIABLE}|{_INTEGER}",
    "number": f"{_VARIABLE}|{_NUMBER}",
}
"""Texts that are taken where a value of the type is wanted."""
_BESIDE = ("description", "default", "title", "deprecated", "examples")
"""Keywords that stay with a property when what it allows is widened."""
_FROM_TASK = (Phase.__name__, Schedule.__name__)
"""Models whose defaults are the task's own, not the types'."""
_REFERENCE = "#/$defs/"


class _Untitled(GenerateJsonSchema):
    """Leaves out titles, which would only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Give no field a title."""
        return False


def experiment_schema(task_cls: type[BaseTask]) -> dict[str, Any]:
    """Return the JSON schema of a task's experiments."""
    plain = experiment_type(task_cls).model_json_schema(schema_generator=_Untitled)
    definitions = plain.get("$defs", {})
    for name in _FROM_TASK:
        for one in definitions.get(name, {}).get("properties", {}).values():
            one.pop("default", None)
    schema: dict[str, Any] = _widened(plain)
    properties = schema["properties"]
    properties["task"] = {"const": task_cls.name, "description": properties["task"]["description"]}
    properties["settings"].setdefault("description", f"Settings of the task {task_cls.name}.")
    _allow_empty(properties, "train")
    _partial_phases(schema["$defs"])
    title = f"eagleray experiment: {task_cls.name}"
    return {**schema, "$schema": DIALECT, "title": title, "description": task_cls.summary}


def any_experiment_schema(tasks: Iterable[type[BaseTask]]) -> dict[str, Any]:
    """Return one JSON schema for the experiments of several tasks: the key ``task`` decides."""
    definitions: dict[str, Any] = {}
    names, choices = [], []
    for task_cls in tasks:
        name = task_cls.name
        schema = _prefixed(experiment_schema(task_cls), f"{name}.")
        definitions |= {f"{name}.{key}": one for key, one in schema.pop("$defs", {}).items()}
        schema.pop("$schema")
        definitions[name] = schema
        names.append(name)
        choices.append(
            {
                "if": {"properties": {"task": {"const": name}}, "required": ["task"]},
                "then": {"$ref": _REFERENCE + name},
            }
        )
    return {
        "$schema": DIALECT,
        "title": "eagleray experiment",
        "type": "object",
        "properties": {"task": {"enum": names, "description": "Name of an installed task."}},
        "required": ["task"],
        "allOf": choices,
        "$defs": definitions,
    }


def _widened(schema: Any) -> Any:
    """Return a schema that also takes texts where the reader takes them for other values."""
    if isinstance(schema, list):
        return [_widened(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {
        key: {name: _widened(one) for name, one in value.items()}
        if key in ("properties", "$defs")
        else value
        if key == "default"
        else _widened(value)
        for key, value in schema.items()
    }
    if isinstance(inner.get("default"), dict):
        del inner["default"]  # the nested model's own properties say it
    text = _texts(inner)
    if text is None:
        return inner
    beside = {key: inner.pop(key) for key in _BESIDE if key in inner}
    return {**beside, "anyOf": [inner, {"type": "string", "pattern": text}]}


def _texts(schema: Mapping[str, Any]) -> str | None:
    """Return which texts are taken beside what a simple schema allows, None for no others."""
    words = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if words:
        return _VARIABLE if all(isinstance(word, str) for word in words) else None
    if schema.get("type") == "string":
        return _VARIABLE if "pattern" in schema else None
    kind = schema.get("type")
    return _AS_TEXT.get(kind) if isinstance(kind, str) else None


def _allow_empty(properties: dict[str, Any], key: str) -> None:
    """Let a section stand empty, as when all of its lines are commented out."""
    section = properties[key]
    beside = {name: section.pop(name) for name in _BESIDE if name in section}
    properties[key] = {**beside, "anyOf": [section, {"type": "null"}]}


def _partial_phases(definitions: dict[str, Any]) -> None:
    """Let phases give some of their fields, laid over the task's own; at most one length."""
    definitions[Phase.__name__]["not"] = {
        "properties": {name: {"not": {"type": "null"}} for name in ("steps", "epochs")},
        "required": ["steps", "epochs"],
    }
    phases = definitions["TrainSettings"]["properties"]["phases"]
    phases.pop("default", None)
    phases["items"] = {"anyOf": [phases["items"], {"type": "null"}]}


def _prefixed(schema: Any, prefix: str) -> Any:
    """Return a schema whose references point to definitions with a prefix."""
    if isinstance(schema, list):
        return [_prefixed(one, prefix) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"{_REFERENCE}{prefix}{value.removeprefix(_REFERENCE)}"
        if key == "$ref" and isinstance(value, str)
        else _prefixed(value, prefix)
        for key, value in schema.items()
    }
