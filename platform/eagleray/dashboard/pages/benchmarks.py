"""All benchmarks of all tasks: the published numbers beside the best run of ours."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html

from eagleray.analysis.table import RECALLED, comparisons
from eagleray.browse.figures import reached_figure
from eagleray.browse.index import RunEntry
from eagleray.dashboard.address import Address, run_link
from eagleray.dashboard.elements import (
    Content,
    Control,
    choice_control,
    figure_panel,
    note,
    number_text,
    signed,
    table,
)
from eagleray.dashboard.source import Source
from eagleray.experiment.discovery import asking_task, default_task, installed_tasks
from eagleray.runs.records import EvaluationResult
from eagleray.task import Benchmark, EaglerayError, Evaluation


@dataclass(frozen=True)
class Standing:
    """The best run of ours on one benchmark with one checkpoint; no run where there is none yet."""

    task: str
    benchmark: str
    checkpoint: str
    run: str
    result: EvaluationResult
    runs: int

    def reached(self) -> float | None:
        """Return which share of the published primary metric ours reaches, above 1 where better."""
        for row in comparisons(self.result):
            if row.metric == self.result.metric and row.paper and row.ours:
                ratio = row.ours / row.paper
                return ratio if self.result.higher_is_better else 1 / ratio
        return None


class BenchmarksPage:
    """Published numbers beside the best runs of ours."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._published = PublishedBenchmarks()

    def title(self, address: Address) -> str:
        """Name the page."""
        return "Benchmarks"

    def heading(self, address: Address) -> Content:
        """Return nothing: each benchmark has its own heading."""
        return []

    def controls(self, address: Address) -> Sequence[Control]:
        """Return the choice of task and checkpoint."""
        found = standings(self._source.runs(), self._published.found())
        tasks = sorted({s.task for s in found})
        checkpoints = sorted({s.checkpoint for s in found if s.checkpoint})
        chosen = address.one("checkpoint")
        return [
            choice_control("task", "Task", _any(tasks), address.one("task")),
            choice_control("checkpoint", "Checkpoint", _any(checkpoints), chosen),
        ]

    def content(self, address: Address) -> Content:
        """Return one table per benchmark, below what share of the papers is reached."""
        task, checkpoint = address.one("task"), address.one("checkpoint")
        chosen = [
            one
            for one in standings(self._source.runs(), self._published.found())
            if task in ("", one.task) and checkpoint in ("", one.checkpoint)
        ]
        parts = _overview(chosen)
        shown = ""
        for one in chosen:
            if one.task != shown:
                shown = one.task
                parts.append(html.H2(one.task))
            parts += _part(one)
        return parts or [note("Nothing has been evaluated yet.")]

    def version(self, address: Address) -> str:
        """Return a text that changes with any run, and as published numbers come in."""
        runs = tuple((r.name, r.changed_s) for r in self._source.runs())
        return f"{hash(runs)}{len(self._published.found())}"


class PublishedBenchmarks:
    """The benchmarks of the installed tasks at their default settings.

    Tasks that cannot be built without settings have none until a run of theirs was evaluated.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Sequence[Benchmark]] = {}
        self._thread: threading.Thread | None = None

    def found(self) -> dict[str, Sequence[Benchmark]]:
        """Return what has been read so far, by task; the first call begins reading."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, daemon=True)
                self._thread.start()
            return dict(self._found)

    def _read(self) -> None:
        for name in installed_tasks():
            benchmarks = _benchmarks(name)
            with self._lock:
                self._found[name] = benchmarks


def _benchmarks(name: str) -> Sequence[Benchmark]:
    try:
        task = default_task(name)
        with asking_task(name, "benchmarks()"):
            return tuple(task.benchmarks()) if isinstance(task, Evaluation) else ()
    except (EaglerayError, OSError):
        return ()


def standings(
    runs: Sequence[RunEntry], published: Mapping[str, Sequence[Benchmark]]
) -> list[Standing]:
    """Return the best run per task, benchmark and checkpoint, and the benchmarks without a run.

    Args:
        runs: All runs.
        published: Benchmarks of the installed tasks by task.
    """
    groups: dict[tuple[str, str, str], list[tuple[str, EvaluationResult]]] = {}
    for run in runs:
        for result in run.summary.results:
            key = (run.summary.task, result.benchmark, result.checkpoint)
            groups.setdefault(key, []).append((run.name, result))
    found = [
        Standing(*key, *max(group, key=lambda one: _rank(one[1])), len(group))
        for key, group in groups.items()
    ]
    known = {(one.task, one.benchmark) for one in found}
    found += [
        Standing(task, benchmark.name, "", "", _without_run(benchmark), 0)
        for task, benchmarks in published.items()
        for benchmark in benchmarks
        if (task, benchmark.name) not in known
    ]
    return sorted(found, key=lambda one: (one.task, one.benchmark, one.checkpoint))


def _without_run(benchmark: Benchmark) -> EvaluationResult:
    names = [benchmark.metric, *(p.metric for p in benchmark.published)]
    return EvaluationResult(
        benchmark=benchmark.name,
        checkpoint="",
        metric=benchmark.metric,
        values=dict.fromkeys(names),
        protocol=benchmark.protocol,
        higher_is_better=benchmark.higher_is_better,
        published=tuple(benchmark.published),
    )


def _rank(result: EvaluationResult) -> float:
    if result.value is None:
        return -math.inf
    return result.value if result.higher_is_better else -result.value


def _overview(chosen: Sequence[Standing]) -> Content:
    reached = {
        f"{one.task} {one.benchmark} ({one.checkpoint}): {one.result.metric}": share
        for one in chosen
        if (share := one.reached()) is not None
    }
    return [figure_panel(reached_figure(reached), "reached")] if reached else []


def _part(one: Standing) -> Content:
    rows = [
        (
            row.metric,
            html.Span(row.source, className="dim"),
            number_text(row.paper) + RECALLED * row.is_recalled,
            number_text(row.ours),
            signed(row.difference, higher_is_better=one.result.is_higher_better(row.metric)),
        )
        for row in comparisons(one.result)
    ]
    is_recalled = any(row.is_recalled for row in comparisons(one.result))
    checkpoint = f" ({one.checkpoint} checkpoint)" if one.checkpoint else ""
    return [
        html.H3(f"{one.benchmark}{checkpoint}"),
        note(one.result.protocol),
        _whose(one),
        table(("metric", "published", "paper", "ours", "difference"), rows, numbers=(2, 3, 4)),
        *([note(f"{RECALLED} quoted from memory, to be checked")] if is_recalled else []),
    ]


def _whose(one: Standing) -> Any:
    if not one.run:
        return note("Not evaluated yet.")
    count = "the only run" if one.runs == 1 else f"the best of {one.runs} runs"
    return html.P([dcc.Link(one.run, href=run_link(one.run, tab="results")), f", {count}"])


def _any(values: Sequence[str]) -> list[tuple[str, str]]:
    return [("", "any"), *((value, value) for value in values)]
