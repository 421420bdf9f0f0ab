"""The verb ``new``: a package for a task of your own, copied from an installed template."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.resources import as_file, files
from keyword import iskeyword
from pathlib import Path

import tyro

from eagleray.cli.flags import NewFlags
from eagleray.cli.main import say
from eagleray.experiment.discovery import installed_tasks, nearest
from eagleray.task import SettingsError

TEMPLATE_GROUP = "eagleray.templates"
"""Entry points of packages that are copied."""
_PLACEHOLDERS = ("my_task", "MyTask")
_PROJECT = "project"
"""Folder of a template that becomes the folder around the package."""


def new(arguments: list[str]) -> int:
    """Make a package for a task of your own."""
    flags = tyro.cli(NewFlags, args=arguments, prog="eagleray new")
    folder = flags.to / flags.name
    _check_name(flags.name, folder)
    create(flags.name, flags.like, folder)
    say(
        f"{folder}: a task like {flags.like!r}; next\n"
        f"  pip install -e {folder}\n"
        f"  eagleray check {folder}/experiment.yaml\n"
        f"  eagleray run {folder}/experiment.yaml"
    )
    return 0


def create(name: str, like: str, folder: Path) -> None:
    """Copy a template under a new name.

    Args:
        name: Name of the task and its package.
        like: Name of the template.
        folder: The folder that is made; the package is the folder ``name`` in it.

    Raises:
        SettingsError: There is no such template.
    """
    templates = {point.name: point.value for point in entry_points(group=TEMPLATE_GROUP)}
    if like not in templates:
        raise SettingsError(f"there is no template {like!r}; {nearest(like, sorted(templates))}")
    with as_file(files(templates[like])) as template:
        for source in sorted(template.rglob("*")):
            relative = source.relative_to(template)
            if source.is_dir() or "__pycache__" in relative.parts:
                continue
            in_project = relative.parts[0] == _PROJECT
            target = relative.relative_to(_PROJECT) if in_project else Path(name) / relative
            path = folder / _renamed(target.as_posix().removesuffix(".txt"), name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_renamed(source.read_text(encoding="utf-8"), name), encoding="utf-8")


def _renamed(text: str, name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("_"))
    for placeholder, value in zip(_PLACEHOLDERS, (name, camel), strict=True):
        text = text.replace(placeholder, value)
    return text


def _check_name(name: str, folder: Path) -> None:
    lower = name.isascii() and name.isidentifier() and name == name.lower()
    if not lower or iskeyword(name) or name.startswith("_"):
        raise SettingsError(
            f"a task cannot be called {name!r}: use lower-case letters, digits and underscores, a "
            "letter first"
        )
    if name in installed_tasks():
        raise SettingsError(f"a task {name!r} is installed already; choose another name")
    if folder.exists():
        raise SettingsError(f"{folder} is there already and is not replaced; choose another name")
