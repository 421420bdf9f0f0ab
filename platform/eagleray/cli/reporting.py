"""Verbs that show results outside of the terminal: report, dashboard."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eagleray.runs.run_folder import list_runs
from eagleray.sweep.folder import SweepFolder, list_sweeps
from eagleray.task import SettingsError


@dataclass(frozen=True)
class ReportFlags:
    """Write results of runs as one HTML file that needs no network."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Runs as EXPERIMENT/RUN, RUN, or EXPERIMENT (all of its runs); sweeps as EXPERIMENT/SWEEP,
    SWEEP, or their folder."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    output: Path = Path("report.html")
    """The file that is written."""
    pictures: int = 12
    """Units shown with pictures per evaluation, the worst first."""


def report(arguments: list[str]) -> int:
    """Write results of runs as one HTML file."""
    flags = tyro.cli(ReportFlags, args=arguments, prog="eagleray report")
    sweeps = named_sweeps(flags.storage, flags.runs)
    others = tuple(name for name in flags.runs if name not in sweeps)
    names = named_runs(flags.storage, others) if others or not sweeps else []
    from eagleray.report import report_html

    folders = list(sweeps.values())
    text = report_html(flags.storage, names, sweeps=folders, pictures=flags.pictures)
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(text, encoding="utf-8")
    runs = "1 run" if len(names) == 1 else f"{len(names)} runs"
    swept = f"{len(sweeps)} sweep{'s' * (len(sweeps) > 1)}, " if sweeps else ""
    sys.stdout.write(f"{flags.output}: {swept}{runs}, {len(text.encode()) / 1e6:.1f} MB\n")
    return 0


def named_sweeps(storage: str, names: tuple[str, ...]) -> dict[str, SweepFolder]:
    """Return the sweeps among the names, each with its folder; other names are left out.

    A sweep is named by ``experiment/sweep``, its own name, or the path of its folder.
    """
    known = {sweep.name: sweep for sweep in list_sweeps(storage)}
    found: dict[str, SweepFolder] = {}
    for name in names:
        fitting = [key for key in known if name in (key, key.partition("/")[2])]
        if len(fitting) == 1:
            found[name] = known[fitting[0]]
        elif Path(name, SweepFolder.SUMMARY).is_file():
            found[name] = SweepFolder(name)
    return found


def named_runs(storage: str, names: tuple[str, ...]) -> list[str]:
    """Return the runs that are meant, each as ``experiment/run``, in the order of the names.

    Raises:
        SettingsError: A name fits no run, or nothing is named.
    """
    known = [run.name for run in list_runs(storage)]
    listing = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    if not names:
        raise SettingsError(f"name one run at least; runs in {storage}: {listing or 'none'}")
    found: list[str] = []
    for name in names:
        fitting = [run for run in known if name in (run, *run.split("/"))]
        if not fitting:
            raise SettingsError(
                f"no run called {name!r} in {storage}; runs there: {listing or 'none'}"
            )
        found += fitting
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class DashboardFlags:
    """Show all runs of a store in the browser; nothing in the store is changed."""

    storage: str = "storage"
    """Folder or URI that holds the runs."""
    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs a token."""
    port: int = 8050
    """Port; 0 takes a free one."""
    token: str = ""
    """Token that visitors need; by default one is made where it is needed, and printed."""


def dashboard(arguments: list[str]) -> int:
    """Show all runs of a store in the browser."""
    flags = tyro.cli(DashboardFlags, args=arguments, prog="eagleray dashboard")
    from eagleray.dashboard import serve

    serve(flags.storage, host=flags.host, port=flags.port, token=flags.token)
    return 0
