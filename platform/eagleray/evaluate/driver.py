"""Evaluating checkpoints on benchmarks: rows by unit, metrics over all rows, one result each."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from eagleray.evaluate.arithmetic import Arithmetic
from eagleray.evaluate.stage import PICTURE_ERROR, EvaluationSettings, EvaluationStage
from eagleray.evaluate.weights import locate_weights, result_labels
from eagleray.experiment.discovery import nearest
from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import RunOptions
from eagleray.prepare import (
    StageFolder,
    StageRun,
    StageSummary,
    StoredRows,
    run_stages,
    stage_fingerprint,
    with_upstream,
)
from eagleray.prepare.streamed import StreamedRows
from eagleray.runs.diagnostics import write_diagnostics
from eagleray.runs.evaluation import write_result
from eagleray.runs.records import EvaluationResult
from eagleray.runs.run_folder import RunFolder
from eagleray.scheduling import LazySession, cluster_machine, fit_beside
from eagleray.storage import SharedFile
from eagleray.task import (
    Benchmark,
    Diagnostic,
    EaglerayError,
    Evaluation,
    Metrics,
    Resources,
    Rows,
    SettingsError,
)

_log = logging.getLogger(__name__)

_REJECTS_SHOWN = 5
"""Rejected units that are named; the run's report and dashboard have all."""


def choose_benchmarks(task: Evaluation, names: tuple[str, ...]) -> list[Benchmark]:
    """Return the named benchmarks of a task; ``all`` means every one, no name the first one.

    Raises:
        SettingsError: The task has no benchmark of that name, or none at all.
    """
    offered = {b.name: b for b in task.benchmarks()}
    if not offered:
        raise SettingsError(f"task {task.name!r} has no benchmarks with these settings")
    if names == ("all",):
        return list(offered.values())
    for name in names:
        if name not in offered:
            raise SettingsError(
                f"task {task.name!r} has no benchmark {name!r}; {nearest(name, list(offered))}"
            )
    return [offered[n] for n in names] or [next(iter(offered.values()))]


def with_parts(task: Evaluation, benchmark: Benchmark) -> list[Benchmark]:
    """Return the benchmarks whose units a benchmark needs: itself, or those it is the mean of.

    Raises:
        SettingsError: One of these is not there.
    """
    return choose_benchmarks(task, benchmark.mean_of) if benchmark.mean_of else [benchmark]


def mean_of_parts(parts: Sequence[Metrics]) -> Metrics:
    """Return the mean of what all parts have, each counting alike; a class counts where it is."""

    def mean(those: Sequence[Mapping[str, float]], name: str) -> float:
        return float(np.mean([one[name] for one in those if name in one]))

    shared = [name for name in parts[0].values if all(name in one.values for one in parts)]
    classes = dict.fromkeys(name for one in parts for name in one.per_class)
    per_class = {}
    for known in classes:
        those = [one.per_class[known] for one in parts if known in one.per_class]
        names = dict.fromkeys(name for one in those for name in one)
        per_class[known] = {name: mean(those, name) for name in names}
    return Metrics({name: mean([one.values for one in parts], name) for name in shared}, per_class)


@dataclass(frozen=True)
class _Part:
    """One checkpoint on the units of one benchmark, as a stage with its folder."""

    benchmark: Benchmark
    run: StageRun


@dataclass(frozen=True)
class _Pair:
    """One checkpoint on one benchmark.

    Args:
        benchmark: The benchmark.
        label: Name under which the checkpoint's results are kept.
        parts: What is evaluated for it: its own units, or those of each benchmark that it is the
            mean of. Whatever agrees in checkpoint and benchmark shares a folder.
    """

    benchmark: Benchmark
    label: str
    parts: tuple[_Part, ...]


_Done = Mapping[str, tuple[StageSummary, StoredRows]]
"""What became of a stage, by the URI of its folder."""


def evaluate_checkpoints(
    experiment: ExperimentSettings,
    task: Evaluation,
    run: RunFolder,
    rows: Mapping[str, Rows],
    benchmarks: Sequence[Benchmark],
    checkpoints: Sequence[str] = (),
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
) -> list[EvaluationResult]:
    """Evaluate every checkpoint on every benchmark and store a results JSON of each.

    All of them share the machine's workers; inline they go one after the other. What is evaluated
    already is not evaluated again.

    Args:
        experiment: The experiment; it says where and with how many workers.
        task: Its task.
        run: The run's folder.
        rows: Rows of the prepared stages by label.
        benchmarks: What to evaluate on.
        checkpoints: Which ones; by default ``experiment.evaluate.checkpoint``.
        options: How it runs; ``limit`` means units.

    Returns:
        The results, benchmark by benchmark.

    Raises:
        SettingsError: There is no such checkpoint, or two would go by the same name.
    """
    labels = result_labels(run, experiment, checkpoints)
    weights = {c: locate_weights(run, c, task, experiment.seed) for c in labels}
    how = replace(  # the limit is part of what is evaluated, and so of the stages
        options, device=experiment.device, workers=experiment.evaluate.workers, limit=None
    )
    with _streaming(experiment, rows, how) as (rows, how):
        return _evaluate(experiment, task, run, rows, benchmarks, labels, weights, options, how)


@contextmanager
def _streaming(
    experiment: ExperimentSettings, rows: Mapping[str, Rows], options: RunOptions
) -> Iterator[tuple[Mapping[str, Rows], RunOptions]]:
    """Have workers for streamed rows beside those that evaluate; yields the rows by them, and the
    options of the evaluation. Inline, rows are computed in this process.
    """
    if options.inline or not any(isinstance(own, StreamedRows) for own in rows.values()):
        yield rows, options
        return
    with nullcontext(options.session) if options.session else LazySession() as session:
        session.start()
        from eagleray.prepare.row_pool import row_pool

        gpus = 0.0 if experiment.device == "cpu" else 1.0
        fit = partial(
            fit_beside,
            cluster_machine(),
            Resources(gpus=gpus),
            device=experiment.device,
            what="evaluation",
            setting="evaluate.workers",
        )
        asked = options.workers
        readers = fit(None, asked=asked or 1)
        with row_pool(rows, options, workers=experiment.prepare.workers, beside=readers) as pool:
            workers = asked or fit(pool.group, asked=None).num_workers
            yield pool.rows, replace(options, session=session, workers=workers)


def _evaluate(
    experiment: ExperimentSettings,
    task: Evaluation,
    run: RunFolder,
    rows: Mapping[str, Rows],
    benchmarks: Sequence[Benchmark],
    labels: Mapping[str, str],
    weights: Mapping[str, SharedFile],
    options: RunOptions,
    how: RunOptions,
) -> list[EvaluationResult]:
    """Evaluate each checkpoint (by its label and weights) on each benchmark, as in
    ``evaluate_checkpoints``.
    """
    pairs = [
        _Pair(
            b,
            label,
            tuple(
                _Part(one, _stage(experiment, task, run, rows, one, weights[c], options.limit))
                for one in with_parts(task, b)
            ),
        )
        for b in benchmarks
        for c, label in labels.items()
    ]
    # Equal weights (best = last) have one folder, so that they are computed once for all labels;
    # so have a fold and the mean of all folds.
    every = [part.run for pair in pairs for part in pair.parts]
    stages = list({stage.folder.uri: stage for stage in every}.values())
    done: dict[str, tuple[StageSummary, StoredRows]] = {}
    results: dict[tuple[str, str], EvaluationResult] = {}
    for position, summary, unit_rows in run_stages(
        stages,
        how,
        title=every[0].stage.label if len(every) == 1 else f"evaluate: {len(pairs)} results",
        items_per_shard=experiment.evaluate.units_per_shard,
    ):
        done[stages[position].folder.uri] = summary, unit_rows
        for pair in pairs:
            key = pair.benchmark.name, pair.label
            if key not in results and all(part.run.folder.uri in done for part in pair.parts):
                results[key] = _finished(experiment, task, run, pair, done, options)
                if len(pairs) > 1:
                    options.progress.note(_headline(results[key]))
    return [results[pair.benchmark.name, pair.label] for pair in pairs]


def _finished(
    experiment: ExperimentSettings,
    task: Evaluation,
    run: RunFolder,
    pair: _Pair,
    done: _Done,
    options: RunOptions,
) -> EvaluationResult:
    """Compute and store the results of a pair whose units are done, and tell what is amiss."""
    result, units = _computed(experiment, task, pair, done)
    write_result(run, result, units)
    diagnostics, problem = _diagnosed(task, pair, done)
    write_diagnostics(run, pair.benchmark.name, pair.label, diagnostics)
    if problem:
        options.progress.note(problem)
    told = [
        remark
        for part in pair.parts
        for remark in remarks(result, *done[part.run.folder.uri], experiment.evaluate.pictures)
    ]
    for remark in dict.fromkeys(told):
        options.progress.note(remark)
    return result


def _stage(
    experiment: ExperimentSettings,
    task: Evaluation,
    run: RunFolder,
    rows: Mapping[str, Rows],
    benchmark: Benchmark,
    weights: SharedFile,
    limit: int | None,
) -> StageRun:
    # Only what the benchmark reads, so that the results go by the same name where a training split
    # is there and where it is not.
    labels = with_upstream(task.stages(), task.stages_of(benchmark.source))
    read = {label: own for label, own in rows.items() if label in labels}
    asked = task.on_benchmark(benchmark)
    settings = EvaluationSettings(
        task=task.name,
        settings=(asked.settings if benchmark.use else experiment.settings).model_dump(mode="json"),
        benchmark=benchmark.name,
        prepared={label: _listing(r) for label, r in sorted(read.items())},
        units=limit,
        pictures=experiment.evaluate.pictures,
        precision=experiment.evaluate.precision,
    )
    stage = EvaluationStage(
        asked,
        benchmark,
        weights,
        settings,
        read,
        batch_size=experiment.evaluate.batch_size,
        gpus=0.0 if experiment.device == "cpu" else 1.0,  # left out where no machine has any
        arithmetic=Arithmetic.of(experiment.evaluate),
        ahead=experiment.prepare.ahead,
    )
    folder = run.child(run.rows_path(benchmark.name, stage_fingerprint(stage, {})))
    return StageRun(stage, StageFolder(folder), also_read=read)


def _computed(
    experiment: ExperimentSettings, task: Evaluation, pair: _Pair, done: _Done
) -> tuple[EvaluationResult, dict[str, dict[str, float]]]:
    """Return the metrics over all units, and those of the first units alone; a mean has none."""
    benchmark = pair.benchmark
    those = [(part.benchmark, *done[part.run.folder.uri]) for part in pair.parts]
    summaries = [summary for _, summary, _ in those]
    each = [_metrics(task, *one) for one in those]
    units: dict[str, dict[str, float]] = {}
    if benchmark.mean_of:
        metrics = mean_of_parts(each)
        keys = [f"{one.source}/{key}" for one, _, rows in those for key in rows.keys()]  # noqa: SIM118
    else:
        (metrics,), rows = each, those[0][2]
        keys = list(rows.keys())
        pictured = keys[: experiment.evaluate.pictures]
        units = unit_values(task.on_benchmark(benchmark), benchmark.name, rows, pictured)
    result = EvaluationResult(
        benchmark=benchmark.name,
        checkpoint=pair.label,
        metric=benchmark.metric,
        values=_finite(metrics.values),
        protocol=benchmark.protocol,
        higher_is_better=benchmark.higher_is_better,
        per_class={name: _finite(values) for name, values in metrics.per_class.items()},
        published=tuple(benchmark.published),
        units=sum(summary.done for summary in summaries),
        rejected=sum(summary.rejected for summary in summaries),
        units_digest=units_digest(keys),
        rows="" if benchmark.mean_of else summaries[0].fingerprint,
    )
    return result, units


def _metrics(
    task: Evaluation, benchmark: Benchmark, summary: StageSummary, rows: StoredRows
) -> Metrics:
    """Return the metrics over all units of a benchmark.

    Raises:
        EaglerayError: It has no units, and the task cannot say what that means.
    """
    keys = rows.keys()
    try:
        return task.on_benchmark(benchmark).compute(benchmark.name, map(rows.__getitem__, keys))
    except Exception as error:
        if len(keys):
            raise
        raise EaglerayError(
            f"benchmark {benchmark.name!r} has no units to compute a metric of "
            f"({_counts(summary)})" + "".join(_reasons(summary))
        ) from error


def _diagnosed(task: Evaluation, pair: _Pair, done: _Done) -> tuple[Sequence[Diagnostic], str]:
    """Return what is drawn beside the metrics, or why there is nothing: it touches no number."""
    name = pair.benchmark.name
    every = (done[part.run.folder.uri][1] for part in pair.parts)
    read = (rows[key] for rows in every for key in rows.keys())  # noqa: SIM118
    try:
        return tuple(task.on_benchmark(pair.benchmark).diagnostics(name, read)), ""
    except Exception as error:
        _log.exception("the diagnostics of %s failed", name)
        return (), f"{name}, {pair.label}: its diagnostics failed, no metric is touched: {error!r}"


def remarks(
    result: EvaluationResult, summary: StageSummary, rows: StoredRows, pictures: int
) -> list[str]:
    """Return what a reader of the results must know: no units, rejected ones, a metric that is no
    number, pictures that failed.

    Args:
        result: The results.
        summary: What became of the units.
        rows: Their rows.
        pictures: Number of first units whose pictures are kept.
    """
    name = f"{result.benchmark}, {result.checkpoint}"
    lines = []
    if not result.units:
        lines.append(f"{name}: 0 units, so its metrics mean nothing ({_counts(summary)})")
    elif result.value is None:
        lines.append(f"{name}: {result.metric} is no number (NaN) over {result.units} units")
    lines += [f"{name}: {reason}" for reason in _reasons(summary)]
    failed = [k for k in rows.keys()[:pictures] if PICTURE_ERROR in rows.files(k)]
    if failed:
        trace = rows.read_file(failed[0], PICTURE_ERROR).decode("utf-8", "replace")
        lines.append(
            f"{name}: the pictures of {len(failed)} units failed, which changes no metric; the "
            f"first one, {failed[0]!r}:\n{trace.rstrip()}"
        )
    return lines


def _counts(summary: StageSummary) -> str:
    return f"{summary.items} items, {summary.rejected} of them rejected"


def _reasons(summary: StageSummary) -> list[str]:
    """Return the first rejects with their errors, one line each."""
    rejects = summary.rejects
    lines = [f"rejected {key!r}: {error}" for key, error in rejects[:_REJECTS_SHOWN]]
    more = len(rejects) - len(lines)
    return [*lines, f"and {more} more rejected"] if more else lines


def unit_values(
    task: Evaluation, benchmark: str, rows: Rows, keys: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Return what ``Evaluation.compute`` gives for each unit alone, as far as it is finite; by it a
    gallery can show the worst first.

    A metric that means nothing for one unit is no error: it is left out, and so is a unit that the
    task refuses.

    Args:
        task: The task.
        benchmark: Name of the benchmark.
        rows: The rows of all its units.
        keys: The units that are asked for.
    """
    units: dict[str, dict[str, float]] = {}
    for key in keys:
        try:
            values = task.compute(benchmark, iter([rows[key]])).values
        except Exception as error:
            _log.info("benchmark %s has no metrics of the unit %s alone: %r", benchmark, key, error)
            continue
        units[key] = {k: float(v) for k, v in values.items() if math.isfinite(v)}
    return units


def units_digest(keys: Iterable[str]) -> str:
    """Return a name of a set of units in its order, so that unequal splits can be told apart."""
    digest = hashlib.blake2b(digest_size=8)
    for key in keys:
        digest.update(key.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _headline(result: EvaluationResult) -> str:
    shown = "undefined" if result.value is None else f"{result.value:.4g}"
    return (
        f"{result.benchmark}, {result.checkpoint}: {result.metric} {shown} ({result.units} units)"
    )


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return values as JSON knows them, which has no NaN."""
    return {name: float(v) if math.isfinite(v) else None for name, v in values.items()}


def _listing(rows: Rows) -> str:
    """Return a name that changes when any of the rows may have changed."""
    return str(getattr(rows, "digest", ""))
