"""Verbs that look at many runs or at one that works: list and tail."""

from __future__ import annotations

import time

import tyro

from eagleray.analysis.table import plain_table
from eagleray.browse.index import RunEntry, RunIndex
from eagleray.cli.flags import ListFlags, TailFlags
from eagleray.cli.main import FAILED_STATUS, say
from eagleray.runs.lease import is_held
from eagleray.runs.metrics import LIVE, parse_segments
from eagleray.runs.run_folder import RunFolder, find_run
from eagleray.sweep.folder import list_sweeps

_LOOK_EVERY_S = 1.0
_SHOWN = 6
"""Metrics in a line of ``tail``."""
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def list_all(arguments: list[str]) -> int:
    """List runs and sweeps, the newest first."""
    flags = tyro.cli(ListFlags, args=arguments, prog="eagleray list")
    index = RunIndex(flags.storage)
    known = [run for run in index.runs() if not run.marks.archived]
    runs = sorted(known, key=lambda run: run.changed_s, reverse=True)
    index.close()
    sweeps = [sweep.name for sweep in list_sweeps(flags.storage)]
    if not runs and not sweeps:
        say(f"there are no runs in {flags.storage}; --storage names another folder or URI")
        return 0
    shown = runs[: flags.limit or None]
    headings = ("run", "task", "state", "step", "changed", "result")
    say(plain_table(headings, [_row(run) for run in shown]))
    if len(shown) < len(runs):
        say(f"{len(runs) - len(shown)} older ones: --limit 0 lists all")
    if sweeps:
        say("\n".join(["sweeps (eagleray show --sweep NAME):", *(f"  {s}" for s in sweeps)]))
    return 0


def _row(run: RunEntry) -> tuple[object, ...]:
    summary = run.summary
    newest = summary.results[-1] if summary.results else None
    value = None if newest is None else newest.value
    result = "" if newest is None or value is None else f"{newest.metric} {value:.4g}"
    step = "" if summary.step is None else summary.step
    return (run.name, summary.task or "?", run.state, step, _ago(run.changed_s), result)


def _ago(changed_s: float) -> str:
    if not changed_s:
        return ""
    seconds = max(time.time() - changed_s, 0.0)
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def tail(arguments: list[str]) -> int:
    """Follow a run until it ends: exit status 1 where it failed."""
    flags = tyro.cli(TailFlags, args=arguments, prog="eagleray tail")
    run = find_run(flags.storage, flags.run)
    follower = Follower(run, flags.lines)
    follower.look()
    while flags.follow and is_held(run):
        time.sleep(_LOOK_EVERY_S)
        follower.look()
    follower.look()
    summary = run.summary()
    why = f": {summary.error}" if summary.error else ""
    say(f"{run.name}: {summary.state or 'not trained yet'}{why}")
    return FAILED_STATUS if summary.state == "failed" else 0


class Follower:
    """Says what is new in a run's logs and metrics since the last look.

    Args:
        run: The run.
        lines: Lines of each log that are said at the first look.
    """

    def __init__(self, run: RunFolder, lines: int) -> None:
        self._run, self._lines = run, max(lines, 0)
        self._read: dict[str, int] = {}
        self._step = -1

    def look(self) -> None:
        """Say the lines that came to the logs, and the newest metrics."""
        for path in self._run.log_files():
            self._say_new(path)
        history = parse_segments({}, self._run.read_many([LIVE]).get(LIVE, b""))
        if not len(history) or int(history.steps[-1]) <= self._step:
            return
        self._step = int(history.steps[-1])
        values = list(history.last().items())[:_SHOWN]
        say(" ".join([f"step {self._step}:", *(f"{name}={value:.4g}" for name, value in values)]))

    def _say_new(self, path: str) -> None:
        content = self._run.read(path)
        whole = content[: content.rfind(b"\n") + 1]
        new = whole[self._read.get(path, 0) :].decode("utf-8", "replace").splitlines()
        if path not in self._read:
            new = new[max(len(new) - self._lines, 0) :]
        self._read[path] = len(whole)
        for line in new:
            say(f"{path.rpartition('/')[2]}: {line}")
