"""Help in pages that fit on a screen: of a verb, of a verb with an experiment, of one section of
its settings. ``--help all`` is tyro's own page of every setting with its type.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from eagleray.cli import flags as flags_of_verbs
from eagleray.cli.verbs import Verb
from eagleray.experiment.discovery import nearest
from eagleray.experiment.schema import ExperimentSettings
from eagleray.task import Settings, SettingsError

ALL = "all"
"""Topic of the page that lists everything."""
_WIDEST, _NAMES = 110, 30
_LONGEST_VALUE = 40


def verb_help(verb: Verb) -> str:
    """Return what a verb does, its flags with their defaults, and which settings may follow."""
    flags = getattr(flags_of_verbs, verb.flags)
    where = " EXPERIMENT.yaml" if verb.takes_experiment else ""
    has_flags = " [FLAGS]" if dataclasses.fields(flags) else ""
    after = " [--SETTING VALUE ...]" if verb.takes_experiment else ""
    summary = inspect.getdoc(flags) or verb.summary
    is_told = not summary.startswith("Flags of")
    blocks = [f"usage: eagleray {verb.name}{where}{has_flags}{after}", verb.summary]
    blocks += [summary] if is_told and summary.rstrip(".") != verb.summary.rstrip(".") else []
    blocks += [_flags_block(flags)] if has_flags else []
    if verb.takes_experiment:
        sections = [
            (f"--{name}" + ".*" * _is_section(field.annotation, name), field.description or "")
            for name, field in ExperimentSettings.model_fields.items()
        ]
        blocks.append("settings (the same as in the YAML):\n" + _columns(sections))
        blocks.append(_further(verb.name, "EXPERIMENT.yaml"))
    return "\n\n".join(blocks) + "\n"


def experiment_help(
    verb: str,
    path: Path,
    flags: type[Any],
    task_flags: type[Settings],
    experiment: ExperimentSettings,
) -> str:
    """Return a verb's flags and the sections of an experiment's settings."""
    blocks = [f"usage: eagleray {verb} {path} [FLAGS] [--SETTING VALUE ...]", _flags_block(flags)]
    if task_flags.model_fields:
        own = [
            (f"--{name.replace('_', '-')}", _told(field.description, field.default))
            for name, field in task_flags.model_fields.items()
        ]
        blocks.append(f"flags of task {experiment.task}:\n" + _columns(own))
    counts = []
    for name, field in type(experiment).model_fields.items():
        inner = list(_settings(getattr(experiment, name), name, ""))
        if len(inner) > 1:
            counts.append((f"{name} ({len(inner)})", field.description or "The task's settings."))
    blocks.append("sections, with the number of their settings:\n" + _columns(counts))
    blocks.append(_further(verb, str(path)))
    return "\n\n".join(blocks) + "\n"


def section_help(experiment: ExperimentSettings, topic: str) -> str:
    """Return the settings below a dotted path, each with its value in this experiment and its
    meaning.

    Raises:
        SettingsError: There is no such section.
    """
    lines = [
        (path, _value(value), meaning)
        for path, value, meaning in _settings(experiment, "", "")
        if path == topic or path.startswith(f"{topic}.")
    ]
    if not lines:
        paths = [path for path, _, _ in _settings(experiment, "", "")]
        known = dict.fromkeys(p.rpartition(".")[0] or p for p in paths)
        raise SettingsError(
            f"--help {topic}: there is no such section; {nearest(topic, [ALL, *known])}"
        )
    told = [(f"--{path}", f"[{value}] {meaning}") for path, value, meaning in lines]
    return f"{topic}: [value in this experiment] meaning\n{_columns(told, names=44)}\n"


def _further(verb: str, path: str) -> str:
    return (
        f"eagleray {verb} {path} --help train.phases    settings of a section, with their values\n"
        f"eagleray {verb} {path} --help {ALL}             every setting with its type"
    )


def _flags_block(flags: type[Any]) -> str:
    hints, told = get_type_hints(flags, include_extras=True), _docstrings(flags)
    lines = []
    for field in dataclasses.fields(flags):
        hint, name = hints[field.name], field.name.replace("_", "-")
        is_positional = "Positional" in str(hint) or "positional" in str(hint).lower()
        name = _flag_name(hint) or name
        default = field.default if field.default is not dataclasses.MISSING else None
        kind = _kind(hint)
        shown = name.upper() if is_positional else f"--{name}" + f" {kind}" * bool(kind)
        lines.append((shown, _told(told.get(field.name), default)))
    return "flags:\n" + _columns(lines)


def _told(meaning: str | None, default: Any) -> str:
    text = " ".join((meaning or "").split())
    has_default = default not in (None, "", (), False) and "PydanticUndefined" not in repr(default)
    return f"{text} [{_value(default)}]" if has_default else text


def _kind(hint: Any) -> str:
    """Return what stands behind a flag: its choices, its type, nothing for a switch."""
    choices = [a for part in _parts(hint) if get_origin(part) is Literal for a in get_args(part)]
    if choices:
        return "{" + ",".join(map(str, choices)) + "}"
    names = [part.__name__.upper() for part in _parts(hint) if isinstance(part, type)]
    plain = {"BOOL": "", "STR": "TEXT"}
    return plain.get(names[0], names[0]) if names else ""


def _parts(hint: Any) -> Iterator[Any]:
    arguments = get_args(hint)
    if get_origin(hint) is Literal or not arguments:
        if hint not in (type(None), Ellipsis):
            yield hint
        return
    for inner in arguments:
        if isinstance(inner, type) or get_args(inner):
            yield from _parts(inner)


def _flag_name(hint: Any) -> str | None:
    """Return the name that an annotation gives a flag, where it does."""
    named = [n for mark in getattr(hint, "__metadata__", ()) if (n := getattr(mark, "name", None))]
    return named[0] if named else None


def _docstrings(cls: type[Any]) -> dict[str, str]:
    """Return the text below each field of a dataclass and its bases."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        body = getattr(tree.body[0], "body", [])
        for field, text in itertools.pairwise(body):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
                texts[field.target.id] = str(text.value.value)
    return texts


def _is_section(annotation: Any, name: str) -> bool:
    return name == "settings" or (
        isinstance(annotation, type) and issubclass(annotation, BaseModel)
    )


def _settings(value: Any, path: str, meaning: str) -> Iterator[tuple[str, Any, str]]:
    """Yield every setting below a value: its dotted path, its value and its meaning."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            below = f"{path}.{name}" if path else name
            yield from _settings(getattr(value, name), below, field.description or "")
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for position, one in enumerate(value):
            yield from _settings(one, f"{path}.{position}", meaning)
    else:
        yield path, value, " ".join(meaning.split())


def _value(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _columns(lines: Sequence[tuple[str, str]], names: int = _NAMES) -> str:
    """Return two columns that fit on the terminal."""
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    column = min(names, max((len(name) for name, _ in lines), default=0)) + 2
    texts = []
    for name, text in lines:
        wrapped = textwrap.wrap(text, max(width - column - 2, 30)) or [""]
        first = f"  {name:{column}}"
        if len(name) > column - 2:
            texts.append(f"  {name}")
            first = " " * (column + 2)
        texts.append(f"{first}{wrapped[0]}".rstrip())
        texts += [" " * (column + 2) + line for line in wrapped[1:]]
    return "\n".join(texts)
