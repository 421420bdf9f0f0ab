"""The verb ``sweep``."""

from __future__ import annotations

import dataclasses
import sys

from eagleray.analysis.ablation import sweep_table, write_tables
from eagleray.analysis.table import plain_table
from eagleray.cli.arguments import Flags, parse
from eagleray.cli.main import VERBS
from eagleray.cli.work import REJECTS_STATUS
from eagleray.progress import terminal_progress
from eagleray.sweep.driver import SweepResult, run_sweep
from eagleray.sweep.plan import SweepPlan, plan_sweep
from eagleray.sweep.records import usable_records
from eagleray.sweep.sweep_folder import sweep_name
from eagleray.sweep.trials import seeds

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
        plan = plan_sweep(experiment, new=flags.new, limit=flags.limit, inline=flags.inline)
        _say(plan_text(plan))
        return 0
    result = run_sweep(
        experiment,
        new=flags.new,
        limit=flags.limit,
        inline=flags.inline,
        progress=terminal_progress(),
    )
    return _report(result)


def plan_text(plan: SweepPlan) -> str:
    """Return the trials of a sweep and what has become of them so far, as a table."""
    states = {record.id: record.state for record in usable_records(plan.folder)}
    paths = list(dict.fromkeys(p for job in plan.jobs.values() for p in job.trial.overrides))
    rows = [
        (
            job.trial.id,
            *(job.trial.overrides.get(path, "") for path in paths),
            job.trial.seed,
            job.first_record().run,
            states.get(job.trial.id, "-"),
        )
        for job in plan.jobs.values()
    ]
    lines = [plain_table(("trial", *paths, "seed", "run", "state"), rows)] if rows else []
    if not rows:
        drawn = [(path, text) for path, text in plan.record.space.items()]
        lines.append(plain_table(("setting", "drawn from"), drawn))
        lines.append(f"Optuna draws each trial from those before it (seed {seeds(plan.base)[0]})")
    direction = "greatest" if plan.record.higher_is_better else "least"
    lines.append(
        f"{plan.num_trials} trials, {plan.trials_at_once} at a time; ranked by the {direction} "
        f"{plan.record.metric} on {plan.record.benchmark}"
    )
    lines += [plan.record.scheduler] if plan.record.scheduler else []
    lines.append(f"sweep folder: {plan.folder.uri}")
    return "\n".join(lines)


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
            f"{sweep_name(result.folder)} failed; the same command tries them again\n"
        )
        return FAILED_STATUS
    return REJECTS_STATUS if result.rejected else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
