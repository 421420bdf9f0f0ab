"""The verb ``sweep``."""

from __future__ import annotations

import dataclasses
import sys

from eagleray.analysis.ablation import sweep_table, write_tables
from eagleray.analysis.table import plain_table
from eagleray.cli.arguments import Flags, parse
from eagleray.cli.main import VERBS
from eagleray.cli.work import REJECTS_STATUS
from eagleray.options import RunOptions
from eagleray.progress import terminal_progress
from eagleray.sweep.driver import SweepResult, run_sweep
from eagleray.sweep.plan import SweepPlan, plan_sweep

FAILED_STATUS = 1
"""Exit status of a sweep that ended, but not with a result for every trial."""

_ERROR_LINES = 3


@dataclasses.dataclass(frozen=True)
class SweepFlags(Flags):
    """Flags of ``sweep``."""

    dry_run: bool = False
    """Check everything and list the trials, without running any."""


def sweep(arguments: list[str]) -> int:
    """Run ablations, a grid or a search."""
    _, flags, experiment = parse("sweep", VERBS["sweep"].summary, SweepFlags, arguments)
    if flags.dry_run:
        options = RunOptions(inline=flags.inline, limit=flags.limit)
        _say(plan_text(plan_sweep(experiment, options, new=flags.new)))
        return 0
    options = RunOptions(inline=flags.inline, limit=flags.limit, progress=terminal_progress())
    return _report(run_sweep(experiment, options, new=flags.new))


def plan_text(plan: SweepPlan) -> str:
    """Return the trials of a sweep and what has become of them so far, as a table."""
    summary, records = plan.summary, plan.folder.readable_trials()[0]
    states = {record.id: record.state for record in records}
    points = [trial.point for trial in plan.trials.values()]
    paths = list(dict.fromkeys(path for point in points for path in point.overrides))
    if plan.trials:
        rows = [
            (
                trial.id,
                *(trial.point.overrides.get(path, "") for path in paths),
                trial.point.seed,
                trial.run,
                states.get(trial.id, "-"),
            )
            for trial in plan.trials.values()
        ]
        lines = [plain_table(("trial", *paths, "seed", "run", "state"), rows)]
    else:
        lines = [plain_table(("setting", "drawn from"), list(summary.space.items()))]
        lines.append(f"Optuna draws each trial from those before it (seed {summary.seeds[0]})")
    direction = "greatest" if summary.higher_is_better else "least"
    lines.append(
        f"{plan.num_trials} trials, {plan.trials_at_once} at a time; ranked by the {direction} "
        f"{summary.metric} on {summary.benchmark}"
    )
    lines += [summary.scheduler] if summary.scheduler else []
    return "\n".join([*lines, f"sweep folder: {plan.folder.uri}"])


def _report(result: SweepResult) -> int:
    _say(sweep_table(result.folder).formatted("text").rstrip("\n"))
    _say(f"sweep folder: {result.folder.uri}")
    if not result.finished:
        raise InterruptedError("the sweep was stopped; the same command goes on from there")
    write_tables(result.folder)
    for trial in result.failed:
        lines = (trial.error or "").strip().splitlines()
        shown = "\n  ".join([*lines[:1], *lines[1:][-_ERROR_LINES:]])
        sys.stderr.write(f"failed: {trial.id} (run {trial.run}): {shown}\n")
    if result.failed:
        sys.stderr.write(
            f"{len(result.failed)} of {len(result.trials)} trials of "
            f"{result.folder.name} failed; the same command tries them again\n"
        )
        return FAILED_STATUS
    return REJECTS_STATUS if result.rejected else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
