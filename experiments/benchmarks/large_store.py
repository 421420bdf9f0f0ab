"""Measures the dashboard on a large store: 2,000 runs, 1,000 points each, 20,000 pictures, and
sweeps of 1,000 trials over them.

    python experiments/benchmarks/large_store.py [--runs 2000] [--storage FOLDER]

Every start is a process of its own. *Cold* is a start without an index, *warm* one with it; the
first page is timed from the request for the address until its content is there (frame, layout and
content), the time to start the process is given beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from fake_store import large_runs, write_run
from fake_sweep import FakeSweep, write_sweep_of
from prettytable import PrettyTable
from record import write_record

from eagleray.browse.index import RunIndex
from eagleray.browse.sweep_index import SweepIndex
from eagleray.runs.evaluation import read_evaluations, read_units

_SERVER = """
import sys
from pathlib import Path
from werkzeug.serving import make_server
from eagleray.dashboard import make_app
app = make_app(sys.argv[1], cache=Path(sys.argv[2]))
server = make_server("127.0.0.1", 0, app.server, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""
BUDGET_S = {"first page cold": 5.0, "first page warm": 1.0, "page": 2.0}
BUDGET_BYTES = 1e9
ABLATIONS, SEARCH = "seamseg-00/ablations-0", "seamseg-00/search-0"
SWEEPS = {"ablations": 20, "search": 400}
"""Seeds of each of five variants, and trials of each search; two sweeps of each kind."""


class Dashboard:
    """A dashboard in a process of its own."""

    def __init__(self, storage: Path, cache: Path) -> None:
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(storage), str(cache)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.start_s = time.perf_counter() - began

    def get(self, path: str) -> bytes:
        """Return an answer."""
        with urllib.request.urlopen(self.url + path) as answer:
            content: bytes = answer.read()
        return content

    def page_s(self, path: str, search: str = "") -> float:
        """Return the seconds until a page is there, from the frame to its content."""
        body = {
            "output": "..page.children...version.data..",
            "outputs": [
                {"id": "page", "property": "children"},
                {"id": "version", "property": "data"},
            ],
            "inputs": [
                {"id": "route", "property": "data", "value": {"path": path, "search": search}}
            ],
            "changedPropIds": ["route.data"],
        }
        began = time.perf_counter()
        self.get("/")
        self.get("/_dash-layout")
        request = urllib.request.Request(
            f"{self.url}/_dash-update-component",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            content = answer.read()
        if b"could not be made" in content:
            raise RuntimeError(f"the page {path}{search} failed")
        return time.perf_counter() - began

    def peak_bytes(self) -> int:
        """Return the largest resident size so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


def measure(storage: Path, cache: Path) -> dict[str, Any]:
    """Return all figures of one store."""
    found: dict[str, Any] = {}
    cold = Dashboard(storage, cache)
    found["start cold"], found["first page cold"] = cold.start_s, cold.page_s("/")
    cold.stop()
    warm = Dashboard(storage, cache)
    found["start warm"], found["first page warm"] = warm.start_s, warm.page_s("/")
    names = [run.name for run in RunIndex(str(storage), cache / "runs.sqlite").runs()]
    several = "&".join(f"run={name}" for name in names[:: max(1, len(names) // 10)][:10])
    pages = {
        "runs, again": ("/", ""),
        "runs, filtered and sorted": ("/", "?q=miou>0.7&sort=-best"),
        "run: curves": (f"/run/{names[0]}", ""),
        "run: results": (f"/run/{names[0]}", "?tab=results"),
        "run: settings, difference": (f"/run/{names[0]}", f"?tab=settings&against={names[-1]}"),
        "compare ten runs": ("/compare", f"?{several}"),
        "sweeps": ("/sweeps", ""),
        "sweep: ablations, 100 trials": (f"/sweep/{ABLATIONS}", ""),
        "sweep: search, 400 trials": (f"/sweep/{SEARCH}", ""),
        "sweep: search, filtered": (f"/sweep/{SEARCH}", "?q=miou>0.6+lr<0.01&sort=-last"),
        "benchmarks": ("/benchmarks", ""),
        "gallery": ("/gallery", f"?run={names[0]}"),
    }
    found["pages"] = {name: warm.page_s(*address) for name, address in pages.items()}
    found["thumbnails first"], found["thumbnails again"], found["thumbnails"] = _thumbnails(
        warm, storage, names[0]
    )
    found["peak bytes"] = warm.peak_bytes()
    warm.stop()
    return found


def _thumbnails(dashboard: Dashboard, storage: Path, name: str) -> tuple[float, float, int]:
    """Return seconds to fetch a run's thumbnails for the first time and again, and their number."""
    from eagleray.dashboard.pictures import picture_link

    run = RunIndex(str(storage), Path(tempfile.mkdtemp()) / "i.sqlite").store.child(name)
    units = read_units(run, read_evaluations(run)[0]).units
    links = [picture_link(name, p, is_thumbnail=True) for u in units for p in u.pictures.values()]
    times = []
    for _ in range(2):
        began = time.perf_counter()
        for address in links:
            dashboard.get(address)
        times.append(time.perf_counter() - began)
    return times[0], times[1], len(links)


def write_sweeps(storage: Path, names: list[str]) -> int:
    """Write the store's sweeps, whose trials are its runs; return the number of trials."""
    trials = 0
    for number in range(2):
        for kind, count in SWEEPS.items():
            runs = names[1000 * number :]
            fake = FakeSweep("seamseg-00", f"{kind}-{number}", kind, count, number, runs)
            folder = write_sweep_of(str(storage), fake)
            trials += len(folder.files("trials"))
    return trials


def show(found: dict[str, Any]) -> bool:
    """Print the figures beside their budgets; return whether all are kept."""
    table = PrettyTable(["what", "measured", "budget"], align="l")
    is_kept = True
    for name in ("start cold", "first page cold", "start warm", "first page warm"):
        budget = BUDGET_S.get(name)
        is_kept &= budget is None or found[name] < budget
        table.add_row([name, f"{found[name]:.2f} s", f"{budget} s" if budget else ""])
    for name, seconds in found["pages"].items():
        is_kept &= seconds < BUDGET_S["page"]
        table.add_row([name, f"{seconds:.2f} s", f"{BUDGET_S['page']} s"])
    count = found["thumbnails"]
    table.add_row([f"{count} thumbnails, made", f"{found['thumbnails first']:.2f} s", ""])
    table.add_row([f"{count} thumbnails, again", f"{found['thumbnails again']:.2f} s", ""])
    is_kept &= found["peak bytes"] < BUDGET_BYTES
    table.add_row(["peak memory", f"{found['peak bytes'] / 1e6:.0f} MB", "1000 MB"])
    print(table)
    return is_kept


def _with_units(found: dict[str, Any]) -> dict[str, Any]:
    """Return the figures under names that say their unit."""
    times = {name: value for name, value in found.items() if isinstance(value, float)}
    times |= {f"page: {name}": value for name, value in found["pages"].items()}
    named = {
        f"{name.replace(': ', '_').replace(',', '').replace(' ', '_')}_s": round(s, 3)
        for name, s in times.items()
    }
    return named | {"thumbnails": found["thumbnails"], "peak_bytes": found["peak bytes"]}


def main() -> None:
    """Write the store, measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description="Measure the dashboard on a large store.")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--storage", type=Path, help="an existing or new store; default: temporary")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        storage = given.storage or Path(temporary) / "store"
        if not storage.exists():
            began = time.perf_counter()
            fakes = large_runs(given.runs, given.points, given.pictures)
            for fake in fakes:
                write_run(str(storage), fake, side_px=64)
            write_sweeps(storage, [f"{fake.experiment}/{fake.run}" for fake in fakes])
            print(f"{given.runs} runs written in {time.perf_counter() - began:.0f} s")
        found = measure(storage, Path(temporary) / "cache")
        entries = SweepIndex(str(storage)).sweeps()
    is_kept = show(found)
    sizes = {"runs": given.runs, "points": given.points, "pictures": given.pictures}
    sizes["trials"] = sum(len(entry.results.trials) for entry in entries if entry.results)
    results = sizes | _with_units(found) | {"budgets_kept": is_kept}
    print(write_record("large_store", results, packages=["dash", "plotly", "eagleray"]))
    raise SystemExit(0 if is_kept else 1)


if __name__ == "__main__":
    main()
