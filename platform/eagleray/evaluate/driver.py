"""Evaluating checkpoints on benchmarks: rows by unit, metrics over all rows, results JSON each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eagleray.evaluate.stage import EvaluationSettings, EvaluationStage
from eagleray.evaluate.units import unit_values
from eagleray.evaluate.weights import checkpoint_labels, find_weights
from eagleray.experiment.discovery import nearest
from eagleray.experiment.schema import ExperimentSettings
from eagleray.prepare import StageSummary, StageTask, run_stages, stage_fingerprint
from eagleray.progress import Progress
from eagleray.runs.run_folder import update_summary
from eagleray.storage import Store
from eagleray.task import Benchmark, Evaluation, Metrics, Rows, SettingsError


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
        task: The evaluation as a stage with its folder; checkpoints with equal weights share it.
    """

    benchmark: Benchmark
    label: str
    task: StageTask


def evaluate_benchmark(
    experiment: ExperimentSettings,
    task: Evaluation,
    run: Store,
    rows: Mapping[str, Rows],
    benchmark: Benchmark,
    *,
    checkpoint: str | None = None,
    limit: int | None = None,
    inline: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate one checkpoint on one benchmark, as ``evaluate_checkpoints`` does."""
    checkpoints = (checkpoint,) if checkpoint else ()
    (result,) = evaluate_checkpoints(
        experiment,
        task,
        run,
        rows,
        [benchmark],
        checkpoints,
        limit=limit,
        inline=inline,
        progress=progress,
    )
    return result


def evaluate_checkpoints(
    experiment: ExperimentSettings,
    task: Evaluation,
    run: Store,
    rows: Mapping[str, Rows],
    benchmarks: Sequence[Benchmark],
    checkpoints: Sequence[str] = (),
    *,
    limit: int | None = None,
    inline: bool = False,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Evaluate every checkpoint on every benchmark and store a results JSON of each.

    All of them share the machine's workers; inline they go one after the other. What is evaluated
    already is not evaluated again.

    Args:
        experiment: The experiment.
        task: Its task.
        run: The run's folder.
        rows: Rows of the prepared stages by label.
        benchmarks: What to evaluate on.
        checkpoints: Which ones; by default ``experiment.evaluate.checkpoint``.
        limit: Evaluate the first units only.
        inline: Work in this process, without Ray.
        progress: Told about finished units, and about each result.

    Returns:
        The results, benchmark by benchmark: values, values per class, published numbers, units and
        rejects.

    Raises:
        SettingsError: There is no such checkpoint, or two would go by the same name.
    """
    labels = checkpoint_labels(checkpoints or (experiment.evaluate.checkpoint,))
    weights = {c: find_weights(run, c, task, experiment.seed) for c in labels}
    pairs = [
        _Pair(b, label, _stage_task(experiment, task, run, rows, b, weights[checkpoint], limit))
        for b in benchmarks
        for checkpoint, label in labels.items()
    ]
    stages = list({pair.task.folder.uri: pair.task for pair in pairs}.values())
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for position, summary, unit_rows in run_stages(
        stages,
        title=pairs[0].task.stage.label if len(pairs) == 1 else f"evaluate: {len(pairs)} results",
        items_per_shard=experiment.evaluate.units_per_shard,
        workers=experiment.evaluate.workers,
        device=experiment.device,
        inline=inline,
        progress=progress,
    ):
        for pair in pairs:
            if pair.task.folder.uri == stages[position].folder.uri:
                result = _store_result(experiment, task, run, pair, summary, unit_rows)
                results[pair.benchmark.name, pair.label] = result
                if len(pairs) > 1:
                    progress.note(_headline(result))
    return [results[pair.benchmark.name, pair.label] for pair in pairs]


def _stage_task(
    experiment: ExperimentSettings,
    task: Evaluation,
    run: Store,
    rows: Mapping[str, Rows],
    benchmark: Benchmark,
    weights: Path,
    limit: int | None,
) -> StageTask:
    settings = EvaluationSettings(
        task=task.name,
        settings=experiment.settings.model_dump(mode="json"),
        benchmark=benchmark.name,
        prepared={label: _listing(r) for label, r in sorted(rows.items())},
        units=limit,
        pictures=experiment.evaluate.pictures,
    )
    stage = EvaluationStage(
        task,
        benchmark,
        weights,
        settings,
        rows,
        batch_size=experiment.evaluate.batch_size,
        gpus=0.0 if experiment.device == "cpu" else 1.0,  # left out where no machine has any
    )
    folder = run.child(f"evaluation/{benchmark.name}/{stage_fingerprint(stage, {})}")
    return StageTask(stage, folder)


def _store_result(
    experiment: ExperimentSettings,
    task: Evaluation,
    run: Store,
    pair: _Pair,
    summary: StageSummary,
    unit_rows: Rows,
) -> dict[str, Any]:
    name, keys = pair.benchmark.name, unit_rows.keys()
    metrics = task.compute(name, map(unit_rows.__getitem__, keys))
    results = _results(pair, metrics, summary, units_digest(keys))
    units = unit_values(task, name, unit_rows, list(keys[: experiment.evaluate.pictures]))
    run.write(f"evaluation/{name}/units/{pair.label}.json", _json(units))
    run.write(f"evaluation/{name}/{pair.label}.json", _json(results))
    short = {k: v for k, v in results.items() if k != "per_class"}
    update_summary(run, results={f"{name}/{pair.label}": short})
    return results


def units_digest(keys: Iterable[str]) -> str:
    """Return a name of a set of units in its order, so that unequal splits can be told apart."""
    digest = hashlib.blake2b(digest_size=8)
    for key in keys:
        digest.update(key.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _headline(result: Mapping[str, Any]) -> str:
    value = result["values"].get(result["metric"])
    shown = "undefined" if value is None else f"{value:.4g}"
    return (
        f"{result['benchmark']}, {result['checkpoint']}: {result['metric']} {shown} "
        f"({result['units']} units)"
    )


def _results(pair: _Pair, metrics: Metrics, summary: StageSummary, digest: str) -> dict[str, Any]:
    benchmark = pair.benchmark
    return {
        "benchmark": benchmark.name,
        "protocol": benchmark.protocol,
        "checkpoint": pair.label,
        "metric": benchmark.metric,
        "higher_is_better": benchmark.higher_is_better,
        "values": {k: _finite(v) for k, v in metrics.values.items()},
        "per_class": {
            name: {k: _finite(v) for k, v in values.items()}
            for name, values in metrics.per_class.items()
        },
        "published": [dataclasses.asdict(p) for p in benchmark.published],
        "units": summary.done,
        "rejected": summary.rejected,
        "units_digest": digest,
        "rows": summary.fingerprint,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _listing(rows: Rows) -> str:
    """Return a name that changes when any of the rows may have changed."""
    return str(getattr(rows, "digest", ""))


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
