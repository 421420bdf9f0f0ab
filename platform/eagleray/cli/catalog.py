"""Verbs that say what there is to use: tasks, schema, download."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tyro
import yaml

from eagleray.analysis.table import RECALLED, plain_table
from eagleray.cli.flags import DownloadFlags, SchemaFlags, TasksFlags
from eagleray.cli.main import say
from eagleray.download import catalog, fetch, find_download, place
from eagleray.experiment.discovery import asking_task, default_task, installed_tasks, task_type
from eagleray.experiment.json_schema import any_experiment_schema, experiment_schema
from eagleray.progress import terminal_progress
from eagleray.task import BaseTask, Download, EaglerayError, Evaluation, SettingsError

_DIGITS_SHOWN = 8


def tasks(arguments: list[str]) -> int:
    """List installed tasks with their benchmarks and published numbers."""
    tyro.cli(TasksFlags, args=arguments, prog="eagleray tasks")
    rows: list[tuple[object, ...]] = []
    for name in installed_tasks():
        try:
            rows += _task_rows(name)
        except EaglerayError as error:
            rows.append((name, f"not usable: {error}", "", "", ""))
    say(plain_table(("task", "what it is", "benchmark", "metric", "published"), rows))
    say(f"{RECALLED} quoted from memory, to be checked")
    return 0


def _task_rows(name: str) -> list[tuple[object, ...]]:
    task, summary = default_task(name), task_type(name).summary
    if task is None:
        return [(name, summary, "(depends on the experiment)", "", "")]
    rows: list[tuple[object, ...]] = []
    first = (name, summary)
    with asking_task(name, "benchmarks()"):
        benchmarks = tuple(task.benchmarks()) if isinstance(task, Evaluation) else ()
    for benchmark in benchmarks:
        published = [
            f"{p.metric} {p.value:g}{RECALLED * p.recalled} ({p.model or p.source})"
            for p in benchmark.published
        ]
        rows.append((*first, benchmark.name, benchmark.metric, "\n".join(published)))
        first = ("", "")
    return rows or [(*first, "", "", "")]


def schema(arguments: list[str]) -> int:
    """Write the JSON schema of experiments, for editors."""
    flags = tyro.cli(SchemaFlags, args=arguments, prog="eagleray schema")
    if len(flags.of) > 1:
        raise SettingsError(f"eagleray schema takes one task or experiment, found {flags.of}")
    written = experiment_schema(task_type(_task_name(flags.of[0]))) if flags.of else _all_tasks()
    text = json.dumps(written, indent=2, ensure_ascii=False) + "\n"
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
            task = task_type(name)
            with asking_task(name, "the JSON schema of its settings"):
                task.settings_type.model_json_schema()
            tasks.append(task)
        except SettingsError as error:
            sys.stderr.write(f"left out: {error}\n")
    return any_experiment_schema(tasks)


def download(arguments: list[str]) -> int:
    """Fetch named weights and data files."""
    flags = tyro.cli(DownloadFlags, args=arguments, prog="eagleray download")
    if flags.list or not flags.names:
        sys.stdout.write(_listing() + "\n")
        return 0
    records = [find_download(name) for name in flags.names]
    if flags.from_file is not None and len(records) != 1:
        raise SettingsError("--from FILE belongs to one name: eagleray download NAME --from FILE")
    for record in records:
        sys.stdout.write(f"{record.name}: {record.summary}; license: {record.license}\n")
        sys.stdout.flush()
        if flags.from_file is not None:
            path = place(record, flags.from_file, flags.to)
        else:
            path = fetch(record, flags.to, terminal_progress())
        known = "checksum verified" if record.checksum else "no checksum is published: not verified"
        sys.stdout.write(f"{path.absolute()} ({known})\n")
    return 0


def _listing() -> str:
    rows = [
        (
            record.name,
            record.summary,
            _size(record),
            record.license,
            _short(record.checksum),
            "by hand" if record.by_hand else "direct",
        )
        for record in catalog().values()
    ]
    return plain_table(("name", "what it is", "size", "license", "checksum", "how"), rows)


def _short(checksum: str) -> str:
    kind, _, digits = checksum.partition(":")
    if not digits:
        return "none published"
    return f"{kind} {digits[:_DIGITS_SHOWN]}{'...' * (len(digits) > _DIGITS_SHOWN)}"


def _size(record: Download) -> str:
    return f"{record.num_bytes / 1e6:.0f} MB" if record.num_bytes else "?"
