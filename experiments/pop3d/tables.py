"""The tables of POP-3D's README from a run's evaluations, ours beside the published numbers.

    python experiments/pop3d/tables.py RUN [--storage storage] [--checkpoint last]

Prints them, and writes ``results/<run>_occupancy.txt``, ``_retrieval.txt`` and ``_occ3d.txt``, each
as far as the run was evaluated on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from eagleray.analysis.table import plain_table
from eagleray.runs.evaluation import read_evaluations
from eagleray.runs.records import EvaluationResult
from eagleray.runs.run_folder import find_run
from eagleray_pop3d.benchmarks import RETRIEVAL_SPLITS

RESULTS = Path(__file__).parent / "results"
NOTHING = "-"


def published(result: EvaluationResult, metric: str, model: str = "POP-3D") -> str:
    """Return a published number of a benchmark's metric."""
    found = [p.value for p in result.published if p.metric == metric and p.model.startswith(model)]
    return f"{found[0]:g}" if found else NOTHING


def ours(result: EvaluationResult | None, metric: str) -> str:
    """Return a number of the run."""
    value = None if result is None else result.values.get(metric)
    return NOTHING if value is None else f"{value:.2f}"


def metrics_table(result: EvaluationResult) -> str:
    """Return all metrics of a benchmark, and what was published."""
    rows = [[name, ours(result, name), published(result, name)] for name in result.values]
    return plain_table(("metric", "ours", "published"), rows)


def retrieval_table(results: Mapping[str, EvaluationResult]) -> str:
    """Return the precisions of all splits, ours and published, with the target features' row."""
    rows = []
    for split in RETRIEVAL_SPLITS:
        own, targets = results.get(f"retrieval_{split}"), results.get(f"retrieval_{split}_targets")
        if own is not None:
            rows.append(
                [
                    f"{split} ({own.units})",
                    *(ours(own, metric) for metric in ("map", "map_visible")),
                    ours(targets, "map_visible"),
                    *(published(own, metric) for metric in ("map", "map_visible")),
                    published(own, "map_visible", "MaskCLIP+"),
                ]
            )
    heads = ("split (queries)", "mAP", "visible", "targets visible")
    return plain_table((*heads, *(f"published {name}" for name in heads[1:])), rows)


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--storage", default="storage")
    parser.add_argument("--checkpoint", default="last")
    arguments = parser.parse_args()
    run = find_run(arguments.storage, arguments.run)
    results = {
        one.benchmark: one.result
        for one in read_evaluations(run)
        if one.checkpoint == arguments.checkpoint and one.result is not None
    }
    tables = {
        name: metrics_table(results[name]) for name in ("occupancy", "occ3d") if name in results
    }
    if any(name.startswith("retrieval_") for name in results):
        tables["retrieval"] = retrieval_table(results)
    RESULTS.mkdir(exist_ok=True)
    for name, table in tables.items():
        print(f"{name}\n{table}\n")
        (RESULTS / f"{run.name.partition('/')[2]}_{name}.txt").write_text(table + "\n")


if __name__ == "__main__":
    main()
