"""Evaluating a checkpoint on benchmarks: rows by unit, metrics over all rows, one results JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from eagleray.evaluate.stage import EvaluationSettings, EvaluationStage
from eagleray.evaluate.units import unit_values
from eagleray.experiment.discovery import nearest
from eagleray.experiment.schema import Experiment
from eagleray.prepare import run_stage, stage_fingerprint
from eagleray.results.progress import Progress
from eagleray.results.run_folder import update_summary
from eagleray.storage import Store
from eagleray.task import Benchmark, Metrics, Rows, SettingsError, Task

INITIAL = "initial"
"""Name of the checkpoint before training."""


def choose_benchmarks(task: Task, names: tuple[str, ...]) -> list[Benchmark]:
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


def find_weights(run: Store, checkpoint: str, task: Task, seed: int) -> Path:
    """Return the local path of a checkpoint's weights.

    Args:
        run: The run's folder.
        checkpoint: ``best``, ``last``, ``initial``, or the path of a ``model.safetensors``.
        task: Builds the model for ``initial``.
        seed: Seed of the initial weights.

    Raises:
        SettingsError: There is no such checkpoint.
    """
    if checkpoint == INITIAL:
        return _initial_weights(run, task, seed)
    from eagleray.train import checkpoint_weights

    return checkpoint_weights(run, checkpoint)


def evaluate_benchmark(
    experiment: Experiment,
    task: Task,
    run: Store,
    rows: Mapping[str, Rows],
    benchmark: Benchmark,
    *,
    checkpoint: str | None = None,
    limit: int | None = None,
    inline: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate one checkpoint on one benchmark and store the results JSON.

    Args:
        experiment: The experiment.
        task: Its task.
        run: The run's folder.
        rows: Rows of the prepared stages by label.
        benchmark: What to evaluate on.
        checkpoint: Which one; by default ``experiment.evaluate.checkpoint``.
        limit: Evaluate the first units only.
        inline: Work in this process, without Ray.
        progress: Told about finished units.

    Returns:
        The results: values, values per class, published numbers, units and rejects.
    """
    which = checkpoint or experiment.evaluate.checkpoint
    weights = find_weights(run, which, task, experiment.seed)
    settings = EvaluationSettings(
        task=task.name,
        settings=experiment.settings.model_dump(mode="json"),
        benchmark=benchmark.name,
        prepared={label: _listing(r) for label, r in sorted(rows.items())},
        units=limit,
        pictures=experiment.evaluate.pictures,
    )
    on_gpu = experiment.device != "cpu" and torch.cuda.is_available()
    stage = EvaluationStage(
        task,
        benchmark,
        weights,
        settings,
        rows,
        batch_size=experiment.evaluate.batch_size,
        gpus=1.0 if on_gpu else 0.0,
    )
    folder = run.child(f"evaluation/{benchmark.name}/{stage_fingerprint(stage, {})}")
    summary, unit_rows = run_stage(
        stage,
        folder,
        {},
        items_per_shard=experiment.evaluate.units_per_shard,
        workers=experiment.evaluate.workers,
        device=experiment.device,
        inline=inline,
        progress=progress,
    )
    metrics = task.compute(benchmark.name, map(unit_rows.__getitem__, unit_rows.keys()))
    label = Path(which).stem if which.endswith(".safetensors") else which
    results = _results(benchmark, label, metrics, summary, folder.uri)
    pictured = list(unit_rows.keys()[: experiment.evaluate.pictures])
    units = unit_values(task, benchmark.name, unit_rows, pictured)
    run.write(f"evaluation/{benchmark.name}/units/{label}.json", _json(units))
    run.write(f"evaluation/{benchmark.name}/{label}.json", _json(results))
    short = {k: v for k, v in results.items() if k != "per_class"}
    update_summary(run, results={f"{benchmark.name}/{label}": short})
    return results


def _results(
    benchmark: Benchmark, checkpoint: str, metrics: Metrics, summary: Any, rows_uri: str
) -> dict[str, Any]:
    return {
        "benchmark": benchmark.name,
        "protocol": benchmark.protocol,
        "checkpoint": checkpoint,
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
        "rows": rows_uri.rstrip("/").rsplit("/", 1)[-1],
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _listing(rows: Rows) -> str:
    """Return a name that changes when any of the rows may have changed."""
    return str(getattr(rows, "digest", ""))


def _initial_weights(run: Store, task: Task, seed: int) -> Path:
    path = run.local_path("checkpoints/initial/model.safetensors")
    if not path.exists():
        torch.manual_seed(seed)
        state = {k: v.contiguous().clone() for k, v in task.build().state_dict().items()}
        temporary = path.with_suffix(".building")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, temporary)
        temporary.replace(path)
    return path


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
