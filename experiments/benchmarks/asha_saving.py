"""What ASHA saves: the grid of a sweep to the end, and the same grid with weak trials ended early.

    python experiments/benchmarks/asha_saving.py [EXPERIMENT.yaml]

Both are trained from nothing, each in a storage of its own. ASHA's goal is a best value
within 2 % of the full grid's with at most half of its optimizer steps.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import write_record

from eagleray.analysis.table import plain_table
from eagleray.experiment.load import load_experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.experiment.sweep import SchedulerSettings
from eagleray.options import RunOptions
from eagleray.progress import PlainLines
from eagleray.sweep.driver import run_sweep
from eagleray.sweep.folder import TrialRecord

LARGEST_LOSS = 0.02
LARGEST_SHARE_OF_STEPS = 0.5
DEFAULT = Path(__file__).parents[1] / "sweeps/asha_toyworld.yaml"


def main() -> None:
    """Measure, print and record."""
    experiment = load_experiment(sys.argv[1] if len(sys.argv) > 1 else DEFAULT)
    if experiment.sweep.scheduler.kind != "asha" or not experiment.sweep.grid:
        raise SystemExit("the experiment's sweep section needs a grid and scheduler.kind asha")
    without = experiment.sweep.model_copy(update={"scheduler": SchedulerSettings()})
    with tempfile.TemporaryDirectory(prefix="eagleray-asha-") as folder:
        grid = measure(experiment.model_copy(update={"sweep": without}), f"{folder}/grid")
        asha = measure(experiment, f"{folder}/asha")
    is_higher = grid.pop("higher_is_better")
    asha.pop("higher_is_better")
    sign = 1.0 if is_higher else -1.0
    loss = sign * (grid["best_value"] - asha["best_value"]) / abs(grid["best_value"])
    share = asha["steps"] / grid["steps"]
    results = {
        "experiment": experiment.name,
        "metric": experiment.sweep.metric,
        "grid": grid,
        "asha": asha,
        "share_of_steps": round(share, 4),
        "loss_of_best_value": round(loss, 4),
        "goal_reached": loss <= LARGEST_LOSS and share <= LARGEST_SHARE_OF_STEPS,
    }
    rows = [(n, *(r[k] for k in ("best_value", "best_trial", "steps", "stopped", "wall_s")))
            for n, r in (("grid", grid), ("ASHA", asha))]  # fmt: skip
    columns = ("", f"best {experiment.sweep.metric}", "trial", "steps", "stopped", "seconds")
    print(plain_table(columns, rows))
    print(f"ASHA: {share:.1%} of the grid's steps, best value {loss:.2%} below the grid's")
    print(write_record("asha_saving", results, packages=["ray", "torch"]))


def measure(experiment: ExperimentSettings, storage: str) -> dict[str, Any]:
    """Run a sweep in a storage of its own; return its best trial and what it took."""
    begin = time.monotonic()
    options = RunOptions(progress=PlainLines())
    result = run_sweep(experiment.model_copy(update={"storage": storage}), options)
    if result.failed:
        raise SystemExit(f"{len(result.failed)} trials failed: {result.failed[0].error}")
    sign = 1.0 if result.summary.higher_is_better else -1.0

    def rank(trial: TrialRecord) -> float:
        return -float("inf") if trial.value is None else sign * trial.value

    best = max(result.trials, key=rank)
    return {
        "higher_is_better": result.summary.higher_is_better,
        "best_value": best.value,
        "best_trial": best.id,
        "steps": sum(trial.steps for trial in result.trials),
        "trials": len(result.trials),
        "stopped": sum(trial.state == "stopped" for trial in result.trials),
        "device_s": round(sum(trial.device_seconds for trial in result.trials), 1),
        "wall_s": round(time.monotonic() - begin, 1),
        "values": {t.id: {"value": t.value, "steps": t.steps} for t in result.trials},
    }


if __name__ == "__main__":
    main()
