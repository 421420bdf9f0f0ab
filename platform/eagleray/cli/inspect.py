"""Verbs that only look: tasks, show."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from eagleray.analysis.ablation import make_table
from eagleray.analysis.table import RECALLED, plain_table, run_tables, runs_table
from eagleray.experiment.discovery import installed_tasks, nearest, task_type
from eagleray.runs.run_folder import find_run, list_runs
from eagleray.sweep.folder import find_sweep, list_sweeps
from eagleray.sweep.results import read_results
from eagleray.task import BaseTask, EaglerayError, Evaluation, SettingsError


@dataclass(frozen=True)
class ShowFlags:
    """Show results of runs: all of them, or some in full; or the table of a sweep."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Runs as EXPERIMENT/RUN, RUN, or EXPERIMENT."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    sweep: str = ""
    """Show the table of a sweep: EXPERIMENT/SWEEP, SWEEP, or EXPERIMENT."""
    metric: str = ""
    """Another metric than the sweep's own."""
    format: Literal["text", "markdown", "latex", "csv"] = "text"
    """Format of a sweep's table; CSV has every digit."""


def tasks(arguments: list[str]) -> int:
    """List installed tasks with their benchmarks and published numbers."""
    tyro.cli(_NoFlags, args=arguments, prog="eagleray tasks")
    rows: list[tuple[object, ...]] = []
    for name in installed_tasks():
        try:
            rows += _task_rows(name, task_type(name))
        except EaglerayError as error:
            rows.append((name, f"not usable: {error}", "", "", ""))
    _say(plain_table(("task", "what it is", "benchmark", "metric", "published"), rows))
    _say(f"{RECALLED} quoted from memory, to be checked")
    return 0


def show(arguments: list[str]) -> int:
    """Show results of runs, or the table of a sweep."""
    flags = tyro.cli(ShowFlags, args=arguments, prog="eagleray show")
    if flags.sweep:
        _say(_sweep_text(flags).rstrip("\n"))
        return 0
    if flags.runs:
        for name in flags.runs:
            run = find_run(flags.storage, name)
            _say("\n".join([run.uri, *run_tables(run.summary())]))
        return 0
    runs = [(run.name, run.summary()) for run in list_runs(flags.storage)]
    _say(runs_table(runs) if runs else f"there are no runs in {flags.storage}")
    sweeps = [sweep.name for sweep in list_sweeps(flags.storage)]
    if sweeps:
        _say("\n".join(["sweeps (--sweep NAME shows one):", *sweeps]))
    return 0


@dataclass(frozen=True)
class _NoFlags:
    """List installed tasks with their benchmarks and published numbers."""


def _sweep_text(flags: ShowFlags) -> str:
    """Return a sweep's table in the format that was asked for."""
    if flags.runs:
        raise SettingsError(
            f"show --sweep shows one sweep, but runs are named too: {', '.join(flags.runs)}"
        )
    results = read_results(find_sweep(flags.storage, flags.sweep))
    known = results.metrics()
    if flags.metric and flags.metric not in known:
        raise SettingsError(
            f"sweep {flags.sweep!r} has no metric {flags.metric!r}; {nearest(flags.metric, known)}"
        )
    return make_table(results.by(flags.metric)).formatted(flags.format)


def _task_rows(name: str, task_cls: type[BaseTask]) -> list[tuple[object, ...]]:
    required = any(f.is_required() for f in task_cls.settings_type.model_fields.values())
    if required:
        return [(name, task_cls.summary, "(depends on the experiment)", "", "")]
    rows: list[tuple[object, ...]] = []
    first = (name, task_cls.summary)
    task = task_cls(task_cls.settings_type())
    for benchmark in task.benchmarks() if isinstance(task, Evaluation) else ():
        published = [
            f"{p.metric} {p.value:g}{RECALLED * p.recalled} ({p.model or p.source})"
            for p in benchmark.published
        ]
        rows.append((*first, benchmark.name, benchmark.metric, "\n".join(published)))
        first = ("", "")
    return rows or [(*first, "", "", "")]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
