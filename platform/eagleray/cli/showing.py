"""Verbs that show results: show, report, dashboard, view."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from eagleray.analysis.table import results_listing, run_tables, runs_listing
from eagleray.cli.flags import DashboardFlags, ReportFlags, ShowFlags, ViewFlags
from eagleray.cli.main import say
from eagleray.experiment.discovery import nearest
from eagleray.runs.run_folder import RunFolder, list_runs, run_below, runs_store
from eagleray.sweep.folder import SweepFolder, find_sweep, list_sweeps
from eagleray.sweep.results import read_results
from eagleray.task import SettingsError


def show(arguments: list[str]) -> int:
    """Show results of runs, or the table of a sweep."""
    flags = tyro.cli(ShowFlags, args=arguments, prog="eagleray show")
    if flags.sweep:
        say(_sweep_text(flags).rstrip("\n"))
        return 0
    if flags.runs:
        say(_runs_text(flags).rstrip("\n"))
        return 0
    runs = [(run.name, run.summary()) for run in list_runs(flags.storage)]
    if runs or flags.format != "text":
        say(runs_listing(runs).formatted(flags.format).rstrip("\n"))
    else:
        say(f"there are no runs in {flags.storage}")
    if flags.format != "text":
        return 0
    sweeps = [sweep.name for sweep in list_sweeps(flags.storage)]
    if sweeps:
        say("\n".join(["sweeps (--sweep NAME shows one):", *sweeps]))
    return 0


def _runs_text(flags: ShowFlags) -> str:
    """Return the results of the named runs in the format that was asked for."""
    if flags.metric:
        raise SettingsError("--metric chooses what ranks a sweep: name one with --sweep")
    store = runs_store(flags.storage)
    runs = [run_below(store, name) for name in named_runs(flags.storage, flags.runs)]
    if flags.format == "text":
        return "\n".join("\n".join([run.uri, *_tables(run)]) for run in runs)
    return results_listing([(run.name, run.summary()) for run in runs]).formatted(flags.format)


def _tables(run: RunFolder) -> list[str]:
    return run_tables(run.summary()) or ["no results yet: eagleray evaluate writes some"]


def _sweep_text(flags: ShowFlags) -> str:
    """Return a sweep's table in the format that was asked for."""
    if flags.runs:
        raise SettingsError(
            f"show --sweep shows one sweep, but runs are named too: {', '.join(flags.runs)}"
        )
    from eagleray.analysis.ablation import make_table

    results = read_results(find_sweep(flags.storage, flags.sweep))
    known = results.metrics()
    if flags.metric and flags.metric not in known:
        raise SettingsError(
            f"sweep {flags.sweep!r} has no metric {flags.metric!r}; {nearest(flags.metric, known)}"
        )
    return make_table(results.by(flags.metric)).formatted(flags.format)


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
    sweeps: dict[str, SweepFolder] = {}
    for name in names:
        fitting = [key for key in known if name in (key, key.partition("/")[2])]
        if len(fitting) == 1:
            sweeps[name] = known[fitting[0]]
        elif Path(name, SweepFolder.SUMMARY).is_file():
            sweeps[name] = SweepFolder(name)
    return sweeps


def named_runs(storage: str, names: tuple[str, ...]) -> list[str]:
    """Return the runs that are meant, each as ``experiment/run``, in the order of the names.

    Raises:
        SettingsError: A name fits no run, or nothing is named.
    """
    known = [run.name for run in list_runs(storage)]
    listing = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    if not names:
        raise SettingsError(f"name one run at least; runs in {storage}: {listing or 'none'}")
    runs: list[str] = []
    for name in names:
        fitting = [run for run in known if name in (run, *run.split("/"))]
        if not fitting:
            raise SettingsError(
                f"no run called {name!r} in {storage}; runs there: {listing or 'none'}"
            )
        runs += fitting
    return list(dict.fromkeys(runs))


def dashboard(arguments: list[str]) -> int:
    """Show all runs of a store in the browser."""
    flags = tyro.cli(DashboardFlags, args=arguments, prog="eagleray dashboard")
    from eagleray.dashboard import serve

    serve(flags.storage, host=flags.host, port=flags.port, token=flags.token)
    return 0


def view(arguments: list[str]) -> int:
    """Open a run in the viewer until it is interrupted."""
    flags = tyro.cli(ViewFlags, args=arguments, prog="eagleray view")
    from eagleray.view.server import serve_forever, view_run

    viewer = view_run(
        flags.storage,
        flags.run,
        checkpoint=flags.checkpoint,
        host=flags.host,
        port=flags.port,
        max_side_px=flags.max_side_px,
        device=flags.device,
        token=flags.token,
    )
    say(f"{viewer.address}  (Ctrl-C ends it)")
    serve_forever(viewer)
    return 0
