"""Pages of the site that are made from the types: the command line and all settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

from eagleray.cli.help import verb_help
from eagleray.cli.verbs import GROUPS
from eagleray.experiment.discovery import installed_tasks, task_type
from eagleray.experiment.schema import ExperimentSettings

_LONGEST = 60


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "reference/cli.md": cli_page(),
        "reference/yaml.md": yaml_page(),
        "reference/tasks.md": tasks_page(),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def cli_page() -> str:
    """Return a page with the help of every verb."""
    lines = ["# Command line", "What `eagleray VERB --help` says of each verb.", ""]
    for title, verbs in GROUPS.items():
        lines += [f"## {title.capitalize()}", ""]
        for verb in verbs:
            lines += [f"### {verb.name}", "", "```text", verb_help(verb).rstrip(), "```", ""]
    return "\n".join(lines)


def yaml_page() -> str:
    """Return a page with the engine's settings, section by section."""
    lines = [
        "# What a YAML may say",
        "One file is one experiment. It says what is particular; everything else has the default "
        "below. Any of these is also a flag: `--train.num_workers 2`. `${NAME}` stands for an "
        "environment variable. Relative paths mean the folder in which the command is given. "
        "Below `settings` stand those of [the task](tasks.md).",
        "",
        *_sections(ExperimentSettings, ""),
    ]
    return "\n".join(lines)


def tasks_page() -> str:
    """Return a page with the settings of every installed task."""
    lines = ["# Settings of the tasks", "What may stand below `settings`, by task.", ""]
    for name in installed_tasks():
        task = task_type(name)
        lines += [f"## {name}", "", task.summary, "", *_sections(task.settings_type, "", level=3)]
    return "\n".join(lines)


def _sections(model: type[BaseModel], path: str, level: int = 2) -> list[str]:
    """Return a table of a model's own settings, then its sections."""
    rows, inner = [], []
    for name, field in model.model_fields.items():
        full = f"{path}.{name}" if path else name
        models = list(_models(field.annotation))
        if models:
            inner += [(full, one) for one in models]
        default = (
            ""
            if field.is_required() or models
            else f"`{_cut(field.get_default(call_default_factory=True)) or repr('')}`"
        )
        cells = (f"`{name}`", f"`{_kind(field.annotation)}`", default, field.description or "")
        rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    for full, one in inner:
        heading = "#" * min(level + full.count("."), 6)
        told = " ".join((one.__doc__ or "").split("\n\n")[0].split())
        lines += [f"{heading} {full}", "", told, "", *_sections(one, full, level)]
    return lines


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _kind(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "none"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    if str(get_origin(annotation)).endswith("Literal"):
        return ", ".join(map(str, get_args(annotation)))
    return str(annotation).replace("typing.", "").replace("NoneType", "none")


def _cut(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")
