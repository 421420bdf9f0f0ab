"""The verb that writes the JSON schema by which editors check and complete experiments."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml

from eagleray.experiment.discovery import installed_tasks, task_type
from eagleray.experiment.json_schema import any_experiment_schema, experiment_schema
from eagleray.task import BaseTask, SettingsError


@dataclass(frozen=True)
class SchemaFlags:
    """Write the JSON schema of experiments, for editors."""

    of: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """A task's name, or an experiment (.yaml) whose task is meant; by default all tasks."""
    output: Path | None = None
    """The file that is written; by default the schema is printed."""


def schema(arguments: list[str]) -> int:
    """Write the JSON schema of experiments, for editors."""
    flags = tyro.cli(SchemaFlags, args=arguments, prog="eagleray schema")
    if len(flags.of) > 1:
        raise SettingsError(f"eagleray schema takes one task or experiment, found {flags.of}")
    found = experiment_schema(task_type(_task_name(flags.of[0]))) if flags.of else _all_tasks()
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if flags.output is None:
        sys.stdout.write(text)
        return 0
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(text, encoding="utf-8")
    sys.stdout.write(
        f"{flags.output}: begin an experiment with this line, its path relative to the file\n"
        f"# yaml-language-server: $schema={flags.output}\n"
    )
    return 0


def _task_name(of: str) -> str:
    if not of.endswith((".yaml", ".yml")):
        return of
    try:
        raw = yaml.safe_load(Path(of).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{of} cannot be read as YAML: {error}") from error
    name = raw.get("task") if isinstance(raw, dict) else None
    if not isinstance(name, str):
        raise SettingsError(f"{of}: key 'task' must name an installed task, found {name!r}")
    return name


def _all_tasks() -> dict[str, Any]:
    tasks: list[type[BaseTask]] = []
    for name in installed_tasks():
        try:
            tasks.append(task_type(name))
        except SettingsError as error:
            sys.stderr.write(f"left out: {error}\n")
    return any_experiment_schema(tasks)
