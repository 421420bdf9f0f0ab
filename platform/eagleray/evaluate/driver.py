"""Evaluating checkpoints on benchmarks: rows by unit, metrics over all rows, one result each."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

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


@dataclass(frozen=True)
class _Pair:
    """One checkpoint on one benchmark.

    Args:
        benchmark: The benchmark.
        label: Name under which the checkpoint's results are kept.
        run: The evaluation as a stage with its folder; checkpoints with equal weights share it.
    """

    benchmark: Benchmark
    label: str
    run: StageRun


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
        _Pair(b, label, _stage(experiment, task, run, rows, b, weights[c], options.limit))
        for b in benchmarks
        for c, label in labels.items()
    ]
    # Equal weights (best = last) have one folder, so that they are computed once for all labels.
    stages = list({pair.run.folder.uri: pair.run for pair in pairs}.values())
    results: dict[tuple[str, str], EvaluationResult] = {}
    for position, summary, unit_rows in run_stages(
        stages,
        how,
        title=pairs[0].run.stage.label if len(pairs) == 1 else f"evaluate: {len(pairs)} results",
        items_per_shard=experiment.evaluate.units_per_shard,
    ):
        for pair in pairs:
            if pair.run.folder.uri == stages[position].folder.uri:
                result, units = _computed(experiment, task, pair, summary, unit_rows)
                write_result(run, result, units)
                diagnostics, problem = _diagnosed(task, pair, unit_rows)
                write_diagnostics(run, pair.benchmark.name, pair.label, diagnostics)
                if problem:
                    options.progress.note(problem)
                for remark in remarks(result, summary, unit_rows, experiment.evaluate.pictures):
                    options.progress.note(remark)
                results[pair.benchmark.name, pair.label] = result
                if len(pairs) > 1:
                    options.progress.note(_headline(result))
    return [results[pair.benchmark.name, pair.label] for pair in pairs]


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
    experiment: ExperimentSettings,
    task: Evaluation,
    pair: _Pair,
    summary: StageSummary,
    unit_rows: StoredRows,
) -> tuple[EvaluationResult, dict[str, dict[str, float]]]:
    """Return the metrics over all units, and those of the first units alone."""
    benchmark, keys = pair.benchmark, unit_rows.keys()
    task = task.on_benchmark(benchmark)
    try:
        metrics = task.compute(benchmark.name, map(unit_rows.__getitem__, keys))
    except Exception as error:
        if len(keys):
            raise
        raise EaglerayError(
            f"benchmark {benchmark.name!r} has no units to compute a metric of "
            f"({_counts(summary)})" + "".join(_reasons(summary))
        ) from error
    pictured = list(keys[: experiment.evaluate.pictures])
    result = EvaluationResult(
        benchmark=benchmark.name,
        checkpoint=pair.label,
        metric=benchmark.metric,
        values=_finite(metrics.values),
        protocol=benchmark.protocol,
        higher_is_better=benchmark.higher_is_better,
        per_class={name: _finite(values) for name, values in metrics.per_class.items()},
        published=tuple(benchmark.published),
        units=summary.done,
        rejected=summary.rejected,
        units_digest=units_digest(keys),
        rows=summary.fingerprint,
    )
    return result, unit_values(task, benchmark.name, unit_rows, pictured)


def _diagnosed(task: Evaluation, pair: _Pair, rows: StoredRows) -> tuple[Sequence[Diagnostic], str]:
    """Return what is drawn beside the metrics, or why there is nothing: it touches no number."""
    name = pair.benchmark.name
    try:
        asked, read = task.on_benchmark(pair.benchmark), map(rows.__getitem__, rows.keys())
        return tuple(asked.diagnostics(name, read)), ""
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
