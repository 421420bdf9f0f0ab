"""The verb ``check``: a task's hooks on a few items."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import tyro

from eagleray.analysis.table import plain_table
from eagleray.check import CheckOptions, CheckReport, check
from eagleray.cli.arguments import parse
from eagleray.cli.flags import CheckFlags, TaskFlags
from eagleray.cli.main import FAILED_STATUS, say
from eagleray.experiment.discovery import task_type
from eagleray.task import BaseTask, Phase, SettingsError

_SUMMARY = "Try a task's hooks on a few items as the engine would, and name what breaks."
_WIDTH = 90
"""Characters of a line of the table's last column."""


def check_task(arguments: list[str]) -> int:
    """Check a task: exit status 1 where something breaks the contract."""
    task, phases, flags = _asked(arguments)
    if flags.items < 1:
        raise SettingsError(f"--items is {flags.items}, allowed is 1 or more")
    report = check(task, phases, CheckOptions(flags.items, flags.inputs, flags.published))
    _say(task, report)
    return FAILED_STATUS if report.findings else 0


def _asked(
    arguments: Sequence[str],
) -> tuple[BaseTask, Sequence[Phase] | None, CheckFlags]:
    if any(a.endswith((".yaml", ".yml")) and not a.startswith("-") for a in arguments):
        _, given, experiment = parse("check", _SUMMARY, CheckFlags, arguments)
        task = task_type(experiment.task)(experiment.settings)
        return task, experiment.train.phases, given
    flags = tyro.cli(TaskFlags, args=arguments, prog="eagleray check", description=_SUMMARY)
    if not flags.task:
        raise SettingsError("eagleray check needs a task or an experiment (.yaml)")
    task_cls = task_type(flags.task)
    settings = task_cls.settings_type
    required = [name for name, field in settings.model_fields.items() if field.is_required()]
    if required:
        raise SettingsError(
            f"task {flags.task!r} has no default for {', '.join(required)}: name an experiment "
            "(.yaml) that sets it"
        )
    return task_cls(settings()), None, flags


def _say(task: BaseTask, report: CheckReport) -> None:
    for what, reason in report.skipped:
        say(f"not checked: {what}: {reason}")
    if report.findings:
        rows = [(f.check, f.where, textwrap.fill(f.problem, _WIDTH)) for f in report.findings]
        say(plain_table(("check", "where", "what was found"), rows))
    made = len(report.passed)
    say(f"{task.name}: {made} checks, {len(report.findings)} findings")
